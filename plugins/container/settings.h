/* settings.h - [backend container], read and checked once. */
#ifndef KILN_CONTAINER_SETTINGS_H
#define KILN_CONTAINER_SETTINGS_H

#include <kiln/plugin.h>
#include <stdbool.h>

typedef enum files_way { FILES_AUTO, FILES_DIRECT, FILES_ARCHIVE } files_way;
typedef enum pull_policy { PULL_MISSING, PULL_NEVER, PULL_ALWAYS } pull_policy;

struct settings {
    char socket[108];    /* "" : there is none */
    char no_socket[400]; /* why, and where it was looked for */
    const char *image;   /* for a language that has none of its own */
    char **images;       /* "language=image" */
    pull_policy pull;
    files_way files;
    char *auth_file; /* NULL: none was found */
    unsigned uid, gid;
    char **mounts;  /* "source:target[:rw]" */
    char **env;     /* "NAME=value" */
    char **devices; /* "path" or "path:inside" */
    const char *runtime, *network;
    const char
        *python; /* the interpreter that sessions run in; "" : Python is a runtime, too */
    const char *preload, *matplotlib, *dpi;
    bool init;
    unsigned pool;
};

extern const kiln_option container_options[];

/* 0; negative with *error set to one line that lives as long as the process. */
int settings_read(const kiln_host *host, struct settings *out, const char **error);
void settings_free(struct settings *settings);

/* The image that a language runs in. */
const char *settings_image(const struct settings *settings, const char *language);
/* Whether the language's sessions keep their state, in the agent. */
bool settings_has_agent(const struct settings *settings, const char *language);

/* socket.c: the engine's socket: `configured`, DOCKER_HOST, or the first of the usual
 * places where one is. Fills socket and no_socket. -EINVAL: what was given is no Unix
 * socket, no_socket says so. */
int settings_find_socket(struct settings *settings, const char *configured);

#endif
