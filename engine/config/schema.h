/* schema.h - every section and key that Kiln itself knows. Errors, `kiln config` and
 * conf/kiln.ini are all made of this one table. Constant; thread: any. */
#ifndef KILN_CONFIG_SCHEMA_H
#define KILN_CONFIG_SCHEMA_H

#include <kiln/plugin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Types beyond kiln_option_type, which plugins and scripts may declare. */
enum kiln_schema_type {
    KILN_TYPE_PATH = 64, /* relative to the file that says it, else to the working
                            directory; read as absolute */
    KILN_TYPE_CHOICE,    /* one of `choices` */
    KILN_TYPE_COMMAND,   /* argv words with quotes */
    KILN_TYPE_UID_RANGE, /* "FIRST-LAST" */
    KILN_TYPE_DECIMAL,   /* "1.5": up to three decimals; read as thousandths */
    KILN_TYPE_ARN,       /* of a connection to a Git host */
    KILN_TYPE_ENDPOINT,  /* http(s) address of a folder of repositories */
    KILN_TYPE_SIGNATURE, /* of a native function (native/signature.h) */
    KILN_TYPE_LIBRARY,   /* a name for the dynamic linker, or with a / a path */
};

enum kiln_key_flag {
    KILN_KEY_EMPTY = 1 << 0,       /* may be empty */
    KILN_KEY_REQUIRED = 1 << 1,    /* a section that is not built in must give it, be it
                                      empty; only the built-in one has the default */
    KILN_KEY_NAMES = 1 << 2,       /* it is, or is a list of, names of sections */
    KILN_KEY_UNIQUE = 1 << 3,      /* no word twice */
    KILN_KEY_ASSIGNMENTS = 1 << 4, /* a list of NAME=value */
    KILN_KEY_EXTENSIONS = 1 << 5,  /* a list of .ext */
};

typedef struct kiln_key {
    const char *name; /* NULL ends the list */
    uint32_t type;    /* kiln_option_type or kiln_schema_type */
    unsigned flags;
    const char *default_value;  /* as it would stand in the file */
    const char *help;           /* lines apart by \n */
    uint64_t least, most;       /* of integers, durations (ms) and sizes; most 0: none */
    const char *const *choices; /* NULL-terminated: of CHOICE, and of each word of a LIST */
} kiln_key;

typedef struct kiln_section_spec {
    const char *name;        /* "limits", or the family's: "runtime" */
    const char *placeholder; /* "NAME" of [policy NAME]; NULL: no family */
    const char *builtin;     /* the member of a family that is there unasked, or NULL */
    bool open;               /* others declare further keys */
    const kiln_key *keys;
    const char *help;
} kiln_section_spec;

enum { KILN_SECTION_SPECS = 10 };
extern const kiln_section_spec kiln_schema[KILN_SECTION_SPECS];

/* By name, or NULL. */
const kiln_section_spec *kiln_schema_section(const char *name, size_t length);
const char *kiln_schema_type_name(uint32_t type);
/* "ms", "bytes" or "". */
const char *kiln_schema_unit(uint32_t type);

/* The text of a key's default, in a section that is built in or not. */
const char *kiln_key_default(const kiln_key *key, bool builtin);
/* Is this member of the family, or this fixed section, there unasked? */
bool kiln_section_builtin(const kiln_section_spec *spec, const char *name);

/* Text at the front of conf/kiln.ini, before the keys. */
extern const char kiln_schema_preamble[];

#endif
