/* standalone_main.c - main() of a NAME.worker: the zygote with the worker half linked
 * in, instead of loaded from a NAME.so. In no other program. */
#include "worker/supervisor.h"

const kiln_worker *kiln_worker_entry(void); /* KILN_WORKER's */

static const kiln_worker *linked(const char *plugin, kiln_error *err)
{
    (void)plugin, (void)err;
    return kiln_worker_entry();
}

/* The arguments, as of `kiln worker PLUGIN.so`, only tell a person what this is. */
int main(int argc, char **argv)
{
    return kiln_spawner_run(linked, argc > 0 ? argv[argc - 1] : "");
}
