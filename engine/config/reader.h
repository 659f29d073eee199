/* reader.h - the lines of an INI, by inih, without inih's traps.
 *
 * inih as Debian packages it goes on after a bad line, cuts lines at 200 bytes and
 * section names at 49, ends a value at " ;", ignores what follows a "]", takes an
 * indented line for more of the value above, and a ':' for a '='. So a reader of our own
 * checks each line first, hands it over alone and in its plainest form, and holds
 * what comes back against it. */
#ifndef KILN_CONFIG_READER_H
#define KILN_CONFIG_READER_H

#include "base/error.h"

#include <stddef.h>

enum {
    KILN_INI_LINE_MAX = 4096,  /* bytes of a line, its end not counted */
    KILN_INI_SECTION_MAX = 49, /* bytes of a section's name: inih's own limit */
    KILN_INI_KEY_MAX = 64,
    KILN_INI_VALUE_MAX = 4000,
    KILN_INI_FILE_MAX = 1 << 20, /* bytes of a file */
};

typedef struct kiln_ini_handler {
    /* `name` without brackets, one space between its words. */
    int (*section)(void *user, const char *name, unsigned line, kiln_error *err);
    /* Before the first section, that is still unnamed. Strings are borrowed. */
    int (*entry)(void *user, const char *key, const char *value, unsigned line,
                 kiln_error *err);
    void *user;
} kiln_ini_handler;

/* Reads `data` to its end or to the first fault. `file` is the name for errors. The
 * handler's own errors come back as they are. 0, or -EINVAL "FILE:LINE: what, what to do".
 * Thread: one at a time, because inih keeps its settings in globals. Re-entrant: the
 * handler may read another file. */
int kiln_ini_parse(const char *file, const char *data, size_t length,
                   const kiln_ini_handler *handler, kiln_error *err);

/* A key's name: letters, digits, _ and -. A section's name: + and # too. */
int kiln_ini_key_valid(const char *name, size_t length);
int kiln_ini_name_valid(const char *name, size_t length);
/* What a value may hold wherever it comes from: UTF-8 without control characters but tab,
 * KILN_INI_VALUE_MAX bytes. The error has no place in it. */
int kiln_ini_value_check(const char *value, size_t length, kiln_error *err);

#endif
