/* interpreter.c - the engine half: Python sessions in an embedded libpython.
 *
 * It is empty but for this: zygote, sessions, confinement and frames are the
 * engine's. The worker half, worker.c, is the program interpreter.worker, which links
 * libpython statically: as in Debian's own python3 there is then nothing to relocate,
 * which saves some 800 page faults at each start of a `kiln run` (of 2,300). */
#include <kiln/plugin.h>

static const char *const languages[] = {"python", NULL};

static const kiln_option options[] = {
    {"preload", KILN_OPTION_LIST, "",
     "modules that the zygote imports once for all sessions, such as: numpy pandas "
     "matplotlib.pyplot"},
    {"rehearse", KILN_OPTION_LIST, "numpy pandas",
     "libraries among the preloaded ones whose first use is behind a worker of the pool when a "
     "session gets it: numpy pandas matplotlib.pyplot; some megabytes of memory each"},
    {"matplotlib", KILN_OPTION_BOOL, "true",
     "show open matplotlib figures as image/png at the end of each cell"},
    {"dpi", KILN_OPTION_INTEGER, "0",
     "resolution of displayed matplotlib figures, 0: each figure's own"},
    {"seed", KILN_OPTION_STRING, "",
     "hash seed, and start of random and a preloaded numpy.random in each session, for runs "
     "that "
     "can be repeated; empty: from the kernel"},
    {NULL, 0, NULL, NULL},
};

static const kiln_plugin plugin = {
    .size = sizeof(kiln_plugin),
    .abi_major = KILN_ABI_MAJOR,
    .abi_minor = KILN_ABI_MINOR,
    .capabilities = KILN_CAP_SESSIONS | KILN_CAP_INTERRUPT | KILN_CAP_WORKER |
                    KILN_CAP_ANALYZE | KILN_CAP_QUERY | KILN_CAP_BRANCH,
    .name = "interpreter",
    .version = "1.0",
    .summary = "Python sessions that keep their state, with Jupyter's rich output",
    .languages = languages,
    .options = options,
};

KILN_PLUGIN(plugin)
