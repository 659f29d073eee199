/* command.h - the subcommands of `kiln`: one file each, listed in main.c. */
#ifndef KILN_CLI_COMMAND_H
#define KILN_CLI_COMMAND_H

#define KILN_VERSION "0.1.0"

typedef struct kiln_command {
    const char *name;
    const char *summary; /* one line for `kiln --help`; NULL hides the command */
    /* argv[0] is the subcommand's name. Returns the exit status of the process;
     * must itself answer --help, on stdout. */
    int (*run)(int argc, char **argv);
} kiln_command;

extern const kiln_command kiln_command_run;
extern const kiln_command kiln_command_repl;
extern const kiln_command kiln_command_check;
extern const kiln_command kiln_command_config;
extern const kiln_command kiln_command_plugins;
extern const kiln_command kiln_command_test;
extern const kiln_command kiln_command_eval;
extern const kiln_command kiln_command_trace;
extern const kiln_command kiln_command_archive;
extern const kiln_command kiln_command_new_plugin;
extern const kiln_command kiln_command_plugin_check;
extern const kiln_command kiln_command_worker;

/* Exit statuses that are Kiln's own; all others are the code's. */
enum {
    KILN_EXIT_OK = 0,
    KILN_EXIT_FAILURE = 1, /* a test failed; code raised */
    KILN_EXIT_USAGE = 2,   /* usage or configuration */
    KILN_EXIT_TIMEOUT = 124,
    KILN_EXIT_ENGINE = 125, /* the engine or a backend could not do it */
    KILN_EXIT_DENIED = 126,
    KILN_EXIT_SIGNAL = 128, /* + the signal's number */
    KILN_EXIT_LIMIT = 137,
};

#endif
