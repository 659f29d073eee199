/* options.h - the arguments of `kiln run`. */
#ifndef KILN_CLI_OPTIONS_H
#define KILN_CLI_OPTIONS_H

#include "base/error.h"

#include <kiln/plugin.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct kiln_run_options {
    const char *file;     /* FILE, "-", or NULL when code is set */
    const char *code;     /* of -c */
    const char *backend;  /* a wish, or NULL */
    const char *language; /* or NULL: found out */
    const char *config;
    const char *chain;
    const char *client;     /* who asks, or NULL: the user */
    const char *out;        /* folder for output files, or NULL */
    const char *stdin_path; /* "-": our own standard input; or NULL: empty */
    kiln_limits limits;     /* timeout_ms included; 0: not asked */
    const char **set;       /* "section.key=value", NULL-terminated */
    const char **inputs;    /* "FILE", "NAME=FILE", "FOLDER/", an origin; NULL-terminated */
    char **args;            /* after "--", NULL-terminated */
    bool json;
    bool transaction;
    bool keep_going;
    bool decisions;
    bool help;
} kiln_run_options;

/* Points into argv. 0, or -EINVAL: one line that says what is wrong. */
int kiln_run_options_parse(int argc, char **argv, kiln_run_options *options, kiln_error *err);
void kiln_run_options_free(kiln_run_options *options);
extern const char kiln_run_help[];

#endif
