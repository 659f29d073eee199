/* config.h - one INI, checked whole before any of it counts.
 *
 * Layers, later wins: the schema's defaults, the shipped conf/runtimes.ini, the
 * file (with its includes), KILN_SECTION_KEY in the environment, --set. A
 * config is immutable once loaded. Thread: any, after loading. */
#ifndef KILN_CONFIG_CONFIG_H
#define KILN_CONFIG_CONFIG_H

#include "base/error.h"

#include <jansson.h>
#include <kiln/plugin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct kiln_config kiln_config;

typedef struct kiln_config_sources {
    const char *file;            /* NULL: kiln_config_find_file's answer; "": none */
    const char *runtimes;        /* path of the shipped runtimes.ini, NULL: none */
    const char *const *environ_; /* "KILN_LIMITS_MEMORY=1G"; NULL: none */
    const char *const *set;      /* "limits.memory=1G"; NULL-terminated or NULL */
} kiln_config_sources;

/* 0, or -EINVAL/-errno with "FILE:LINE: what, what to do" (every fault of the
 * INI is an error: unknown section or key with a near match, duplicate,
 * over-long or malformed line, NUL, bad UTF-8, bad value, include loop ...). */
int kiln_config_load(const kiln_config_sources *sources, kiln_config **config, kiln_error *err);
void kiln_config_free(kiln_config *config);

/* --config, else KILN_CONFIG, else $XDG_CONFIG_HOME/kiln/kiln.ini (or
 * ~/.config), else /etc/kiln/kiln.ini, else the shipped conf/kiln.ini, else
 * NULL. Never the working directory's. Caller frees. */
char *kiln_config_find_file(const char *shipped);

/* Values of keys that the schema knows. `section` is "limits" or "runtime python".
 * Asking for a key that the schema lacks is a bug: logged, and the neutral value. */
const char *kiln_config_string(const kiln_config *config, const char *section,
                               const char *key); /* NULL: empty */
bool kiln_config_bool(const kiln_config *config, const char *section, const char *key);
int64_t kiln_config_integer(const kiln_config *config, const char *section, const char *key);
uint64_t kiln_config_duration(const kiln_config *config, const char *section,
                              const char *key); /* milliseconds */
uint64_t kiln_config_size(const kiln_config *config, const char *section,
                          const char *key); /* bytes */
/* Words, NULL-terminated, the config's own; never NULL. */
const char *const *kiln_config_list(const kiln_config *config, const char *section,
                                    const char *key);
/* argv-like words of a command ("cc -o {out} \"a b\""): quotes and backslash
 * keep spaces, nothing is expanded. NULL when empty. */
const char *const *kiln_config_words(const kiln_config *config, const char *section,
                                     const char *key);
/* Names of the sections of a family: "runtime" -> {"python","bash",NULL}; without the
 * languages that an empty `run` switches off. */
const char *const *kiln_config_names(const kiln_config *config, const char *family);

/* [sandbox] uids. 1, or 0 and zeroes when it is empty. */
int kiln_config_uid_range(const kiln_config *config, uint32_t *first, uint32_t *count);

/* [limits] as a struct. */
kiln_limits kiln_config_limits(const kiln_config *config);

/* Sections [backend NAME] and [policy NAME] hold, beside the schema's keys, those
 * that a plugin or a script declares. Checks and adds them: every key of the
 * section that is neither is -EINVAL with its line and a near match. To be called
 * once a section, or again with the same options; the declarations are copied. Types,
 * units and errors are the schema's own. The environment and --set count here too. Not
 * thread-safe. */
int kiln_config_declare(kiln_config *config, const char *section, const kiln_option *options,
                        kiln_error *err);
/* When all that is loaded has declared its options: -EINVAL when a [policy NAME] or
 * [backend NAME] holds further keys and nobody of that name declared any, or a
 * KILN_POLICY_... or KILN_BACKEND_... variable is nobody's key. */
int kiln_config_check_undeclared(const kiln_config *config, kiln_error *err);
/* The effective text of a declared option as kiln_host.option gives it, or NULL. */
const char *kiln_config_option(const kiln_config *config, const char *section,
                               const char *name);

/* Everything, for `kiln config`: [{"section","key","value","default","type","unit",
 * "source":"default"|"FILE:LINE"|"environment NAME"|"--set","help","text"}]. "value" is a
 * number, boolean, string, array or (empty) null; "text" as it would stand in the file.
 * Keys that are not declared yet are of type "undeclared". New reference. */
json_t *kiln_config_to_json(const kiln_config *config);
/* conf/kiln.ini's reference text: every key of the schema with help, commented out
 * at its default. Caller frees. */
char *kiln_config_reference(void);

/* "30s", "512M" outside a file (command line): 0 or -EINVAL. */
int kiln_parse_duration(const char *text, uint64_t *milliseconds, kiln_error *err);
int kiln_parse_size(const char *text, uint64_t *bytes, kiln_error *err);
/* The candidate nearest to `word` when it is near enough to suggest, or NULL. */
const char *kiln_near_match(const char *word, const char *const *candidates);

#endif
