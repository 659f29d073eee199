/* load.c - the layers, one upon the other, into a configuration that nobody sees until
 * all of it was found good. */
#include "config/reader.h"
#include "config/store.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static char *trimmed(kiln_arena *arena, const char *text, size_t length)
{
    while (length > 0 && blank(*text)) {
        text++;
        length--;
    }
    while (length > 0 && blank(text[length - 1])) {
        length--;
    }
    return kiln_arena_text(arena, text, length);
}

static int bad_assignment(const char *text, kiln_error *err)
{
    size_t length = strcspn(text, "=");
    for (size_t i = 0; i < KILN_SECTION_SPECS; i++) {
        for (const kiln_key *key = kiln_schema[i].keys; key->name != NULL; key++) {
            if (strlen(key->name) == length && strncmp(key->name, text, length) == 0 &&
                kiln_schema[i].placeholder == NULL) {
                return kiln_error_set(err, EINVAL, "--set %.*s: write --set %s.%s=VALUE",
                                      KILN_SHOWN(text), kiln_schema[i].name, key->name);
            }
        }
    }
    return kiln_error_set(err, EINVAL,
                          "--set %.*s: write --set SECTION.KEY=VALUE, as in limits.memory=1G",
                          KILN_SHOWN(text));
}

/* "limits.memory=1G", "runtime.python.run=python3 {file}", "runtime python.run=..." */
static int set_one(kiln_config *config, const char *text, kiln_error *err)
{
    const char *equals = strchr(text, '=');
    const char *dot = equals;
    while (dot != NULL && dot > text && *dot != '.') {
        dot--;
    }
    if (dot == NULL || dot <= text) {
        return bad_assignment(text, err);
    }
    if (kiln_ini_value_check(text, (size_t)(equals - text), err) < 0) {
        return kiln_error_wrap(err, "--set");
    }
    char *title = trimmed(&config->arena, text, (size_t)(dot - text));
    char *key = trimmed(&config->arena, dot + 1, (size_t)(equals - dot - 1));
    char *value = trimmed(&config->arena, equals + 1, strlen(equals + 1));
    char *where = kiln_arena_text(&config->arena, text, (size_t)(equals - text));
    if (title == NULL || key == NULL || value == NULL || where == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory for the configuration");
    }
    char *family_end = strchr(title, '.');
    if (family_end != NULL && strchr(title, ' ') == NULL) {
        *family_end = ' ';
    }
    kiln_place place = {KILN_FROM_SET, where, 0, NULL};
    if (!kiln_ini_key_valid(key, strlen(key))) {
        return bad_assignment(text, err);
    }
    char sentence[sizeof(err->text)];
    if (kiln_ini_value_check(value, strlen(value), err) < 0) {
        memcpy(sentence, err->text, sizeof(sentence));
        return kiln_place_error(err, &place, "%s", sentence);
    }
    kiln_config_section *section;
    int rc = kiln_store_section(config, title, &place, &section, err);
    return rc < 0 ? rc : kiln_store_put(config, section, key, value, &place, err);
}

/* Names of each family, once, because a loaded configuration does not change. A language
 * that is switched off is none. */
static int collect_names(kiln_config *config, kiln_error *err)
{
    for (size_t i = 0; i < KILN_SECTION_SPECS; i++) {
        const char **names =
            kiln_arena_alloc(&config->arena, (config->section_count + 1) * sizeof(*names));
        if (names == NULL) {
            return kiln_error_set(err, ENOMEM, "out of memory for the configuration");
        }
        size_t count = 0;
        for (size_t j = 0; j < config->section_count; j++) {
            const kiln_config_section *section = config->sections[j];
            const kiln_setting *run = kiln_section_setting(section, "run");
            if (section->spec == &kiln_schema[i] && section->name[0] != '\0' &&
                (run == NULL || run->value.text[0] != '\0')) {
                names[count++] = section->name;
            }
        }
        config->names[i] = names;
    }
    return 0;
}

static int finish(kiln_config *config, kiln_error *err)
{
    int rc = kiln_environment_settle(config, err);
    rc = rc < 0 ? rc : kiln_store_check(config, err);
    return rc < 0 ? rc : collect_names(config, err);
}

static int load(kiln_config *config, const kiln_config_sources *sources, const char *file,
                kiln_error *err)
{
    int rc = 0;
    if (sources->runtimes != NULL) {
        rc = kiln_file_read(config, sources->runtimes, KILN_FROM_RUNTIMES, err);
    }
    if (rc == 0 && file != NULL && file[0] != '\0') {
        rc = kiln_file_read(config, file, KILN_FROM_FILE, err);
    }
    if (rc == 0) {
        rc = kiln_environment_read(config, sources->environ_, err);
    }
    for (size_t i = 0; rc == 0 && sources->set != NULL && sources->set[i] != NULL; i++) {
        rc = set_one(config, sources->set[i], err);
    }
    return rc < 0 ? rc : finish(config, err);
}

int kiln_config_load(const kiln_config_sources *sources, kiln_config **config, kiln_error *err)
{
    kiln_config *fresh;
    int rc = kiln_store_new(&fresh, err);
    if (rc < 0) {
        return rc;
    }
    char *found = sources->file == NULL ? kiln_config_find_file(NULL) : NULL;
    rc = load(fresh, sources, sources->file != NULL ? sources->file : found, err);
    free(found);
    if (rc < 0) {
        kiln_config_free(fresh);
        return rc;
    }
    *config = fresh;
    return 0;
}

int kiln_config_load_memory(const char *label, const char *data, size_t length,
                            kiln_config **config, kiln_error *err)
{
    kiln_config *fresh;
    int rc = kiln_store_new(&fresh, err);
    if (rc < 0) {
        return rc;
    }
    rc = kiln_file_read_memory(fresh, label, data, length, err);
    if (rc == 0) {
        rc = finish(fresh, err);
    }
    if (rc < 0) {
        kiln_config_free(fresh);
        return rc;
    }
    *config = fresh;
    return 0;
}

/* Only what is surely not there is passed over: a file that may not be read must be
 * heard of, not replaced by the next in line. */
static bool absent(const char *path)
{
    return access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

char *kiln_config_find_file(const char *shipped)
{
    const char *named = getenv("KILN_CONFIG");
    if (named != NULL && named[0] != '\0') {
        return strdup(named);
    }
    char path[PATH_MAX];
    const char *folder = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    path[0] = '\0';
    if (folder != NULL && folder[0] == '/') {
        snprintf(path, sizeof(path), "%s/kiln/kiln.ini", folder);
    } else if (home != NULL && home[0] == '/') {
        snprintf(path, sizeof(path), "%s/.config/kiln/kiln.ini", home);
    }
    if (path[0] != '\0' && !absent(path)) {
        return strdup(path);
    }
    if (!absent("/etc/kiln/kiln.ini")) {
        return strdup("/etc/kiln/kiln.ini");
    }
    return shipped != NULL && !absent(shipped) ? strdup(shipped) : NULL;
}
