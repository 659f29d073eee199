/* main.c - `kiln SUBCOMMAND ...`: finds the subcommand and hands over. */
#include "cli/command.h"

#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const kiln_command *const commands[] = {
    &kiln_command_repl,   &kiln_command_run,        &kiln_command_check,
    &kiln_command_config, &kiln_command_plugins,    &kiln_command_test,
    &kiln_command_trace,  &kiln_command_new_plugin, &kiln_command_plugin_check,
    &kiln_command_eval,   &kiln_command_archive,    &kiln_command_worker,
};
enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static void print_help(FILE *to)
{
    fputs("usage: kiln SUBCOMMAND [OPTIONS] [ARGUMENTS]\n\n"
          "Runs code for programs: confined, under policies, with an honest result.\n\n"
          "subcommands:\n",
          to);
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (commands[i]->summary != NULL) {
            fprintf(to, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
        }
    }
    fputs("\n"
          "`kiln help SUBCOMMAND` or `kiln SUBCOMMAND --help` tells its options.\n"
          "`kiln --version` tells the version.\n\n"
          "exit status: the code's own; 124 timeout, 125 the engine failed, 126 denied,\n"
          "137 over a limit, 128+N died of signal N, 2 usage or configuration.\n",
          to);
}

static const kiln_command *find(const char *name)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

static int unknown(const char *name)
{
    const char *visible[COMMAND_COUNT + 2];
    int count = 0;
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (commands[i]->summary != NULL) {
            visible[count++] = commands[i]->name;
        }
    }
    visible[count++] = "help";
    visible[count] = NULL;
    const char *near = kiln_near_match(name, visible);
    kiln_error err;
    if (near != NULL) {
        kiln_error_set(&err, -EINVAL, "unknown subcommand \"%s\", did you mean \"%s\"?", name,
                       near);
    } else {
        kiln_error_set(&err, -EINVAL, "unknown subcommand \"%s\", see kiln --help", name);
    }
    fprintf(stderr, "kiln: %s\n", err.text);
    return KILN_EXIT_USAGE;
}

/* A descriptor 0, 1 or 2 that is closed would be given to the next file or socket that
 * we open, and output would go into it. */
static int fill_standard_descriptors(void)
{
    for (;;) {
        int fd = open("/dev/null", O_RDWR);
        if (fd < 0) {
            return -1;
        }
        if (fd > STDERR_FILENO) {
            close(fd);
            return 0;
        }
    }
}

int main(int argc, char **argv)
{
    if (fill_standard_descriptors() < 0) {
        return KILN_EXIT_ENGINE;
    }
    if (argc < 2) {
        print_help(stderr);
        return KILN_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        puts("kiln " KILN_VERSION);
        return fflush(stdout) == 0 ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        if (name[0] == '-' || argc < 3) {
            print_help(stdout);
            return fflush(stdout) == 0 ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
        }
        const kiln_command *command = find(argv[2]);
        if (command == NULL) {
            return unknown(argv[2]);
        }
        char help[] = "--help";
        char *ask[] = {argv[2], help, NULL};
        return command->run(2, ask);
    }
    const kiln_command *command = find(name);
    if (command == NULL) {
        return unknown(name);
    }
    return command->run(argc - 1, argv + 1);
}
