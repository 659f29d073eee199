/* kiln worker PLUGIN.so|- : the zygote. Only the engine starts it. */
#include "cli/command.h"

#include "worker/sandboxed.h"

#include <stdio.h>
#include <string.h>

static int run(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        puts("usage: kiln worker PLUGIN.so|-\n\n"
             "The process that confined workers and programs are forked from. The engine\n"
             "starts it, with its control socket as descriptor 3; it is of no use by hand.");
        return KILN_EXIT_OK;
    }
    return kiln_spawner_main(argc, argv);
}

const kiln_command kiln_command_worker = {.name = "worker", .summary = NULL, .run = run};
