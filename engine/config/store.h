/* store.h - what a kiln_config is made of: sections with their settings, each with the
 * place that it came from. Filled by load.c, which hands it out whole or not at all. */
#ifndef KILN_CONFIG_STORE_H
#define KILN_CONFIG_STORE_H

#include "config/arena.h"
#include "config/config.h"
#include "config/place.h"
#include "config/schema.h"
#include "config/value.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    KILN_CONFIG_SECTIONS_MAX = 512,
    KILN_CONFIG_LOOSE_MAX = 256, /* keys of one section that the schema lacks */
};

typedef struct kiln_setting {
    const kiln_key *key;
    kiln_value value;
    kiln_place place;
} kiln_setting;

/* A key that a plugin or a script may yet declare. */
typedef struct kiln_loose {
    const char *name;
    const char *text;
    kiln_place place;
} kiln_loose;

typedef struct kiln_config_section {
    const kiln_section_spec *spec;
    const char *title;      /* "policy route" */
    const char *name;       /* "route"; "" where there is no family */
    kiln_setting *settings; /* the schema's, then the declared ones */
    size_t count;
    size_t schema_count; /* how many of them are the schema's */
    kiln_loose *loose;   /* of an open section */
    size_t loose_count, loose_capacity;
    const kiln_option *declared; /* copy; NULL until kiln_config_declare */
    bool given;                  /* some layer names it; false: built in, or only declared */
    kiln_place place;            /* of the first header or key that named it */
    unsigned file_id;            /* the file that opened it last, so that it opens it once */
    unsigned file_line;
} kiln_config_section;

/* KILN_POLICY_... or KILN_BACKEND_...: whose key it is shows when keys are declared. */
typedef struct kiln_pending {
    const kiln_section_spec *spec;
    const char *variable; /* KILN_POLICY_ROUTE_HEADER */
    const char *text;
    bool used;
} kiln_pending;

struct kiln_config {
    kiln_arena arena;
    kiln_config_section *sections[KILN_CONFIG_SECTIONS_MAX];
    size_t section_count;
    /* What a member of a family has that no layer names. */
    kiln_config_section *templates[KILN_SECTION_SPECS];
    const char **names[KILN_SECTION_SPECS]; /* kiln_config_names */
    kiln_pending *pending;
    size_t pending_count;
};

/* An empty configuration: fixed and built-in sections at their defaults. */
int kiln_store_new(kiln_config **config, kiln_error *err);

/* "limits", "runtime python". Makes the section when it is not there yet. -EINVAL at `place`:
 * unknown, with a near match. */
int kiln_store_section(kiln_config *config, const char *title, const kiln_place *place,
                       kiln_config_section **section, kiln_error *err);
/* By title, or NULL. */
kiln_config_section *kiln_store_find(const kiln_config *config, const char *title);
/* By title; for the unnamed member of a family its template. NULL: no such section. */
const kiln_config_section *kiln_store_look(const kiln_config *config, const char *title);
kiln_setting *kiln_section_setting(const kiln_config_section *section, const char *key);

/* Sets a key. A value that a later layer has set stays; within the layers that are files,
 * a second one is refused. Everything is copied but place->where and ->base. */
int kiln_store_put(kiln_config *config, kiln_config_section *section, const char *key,
                   const char *text, const kiln_place *place, kiln_error *err);

/* KILN_LIMITS_MEMORY of "limits", "memory": letters upper case, all else "_". */
void kiln_store_variable(const char *title, const char *key, char *out, size_t size);
enum { KILN_VARIABLE_MAX = 160 };

/* What only the whole shows: chains and backends that are named and not there, ... */
int kiln_store_check(kiln_config *config, kiln_error *err);

/* environment.c */
int kiln_environment_read(kiln_config *config, const char *const *environ_, kiln_error *err);
/* After --set: gives pending variables to keys of the schema. */
int kiln_environment_settle(kiln_config *config, kiln_error *err);

/* file.c: reads a file and what it includes into the store. */
int kiln_file_read(kiln_config *config, const char *path, kiln_config_layer layer,
                   kiln_error *err);
int kiln_file_read_memory(kiln_config *config, const char *label, const char *data,
                          size_t length, kiln_error *err);

/* As kiln_config_load, of one file in memory that may not include others. For tests and
 * fuzzing. */
int kiln_config_load_memory(const char *label, const char *data, size_t length,
                            kiln_config **config, kiln_error *err);

#endif
