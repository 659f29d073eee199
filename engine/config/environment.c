/* environment.c - KILN_SECTION_KEY variables.
 *
 * A variable of a fixed section, a chain or a runtime is known by the schema alone. One of
 * a policy or a backend is kept until it shows whose it is: KILN_POLICY_A_B_C may be key
 * b_c of [policy a] or key c of [policy a_b]. A variable that is not ours but nearly is
 * (KILN_LIMIT_MEMORY) is refused: it would be a limit that somebody believes in. Any other
 * KILN_... is somebody else's and left alone. */
#include "config/reader.h"
#include "config/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Read elsewhere, or by our own build and tests. */
static const char *const reserved[] = {"KILN_CONFIG", "KILN_DEBUG", "KILN_BUILD",
                                       "KILN_SANITIZE", NULL};

enum { PREFIX = sizeof("KILN_") - 1, CANDIDATES_MAX = 64 };

typedef struct variable {
    char name[KILN_VARIABLE_MAX]; /* KILN_LIMITS_MEMORY */
    const char *value;
} variable;

static bool listed(const char *name, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strcmp(*list, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Every variable of the fixed sections, for suggestions. Static storage, so that the
 * rare caller need not care. */
typedef struct candidates {
    char text[CANDIDATES_MAX][KILN_VARIABLE_MAX];
    const char *list[CANDIDATES_MAX + 1];
} candidates;

static void collect(candidates *all, const kiln_section_spec *only)
{
    size_t count = 0;
    for (size_t i = 0; i < KILN_SECTION_SPECS; i++) {
        const kiln_section_spec *spec = &kiln_schema[i];
        if (spec->placeholder != NULL || (only != NULL && only != spec)) {
            continue;
        }
        for (const kiln_key *key = spec->keys; key->name != NULL; key++) {
            if (count < CANDIDATES_MAX) {
                kiln_store_variable(spec->name, key->name, all->text[count], KILN_VARIABLE_MAX);
                all->list[count] = all->text[count];
                count++;
            }
        }
    }
    all->list[count] = NULL;
}

static int unknown_variable(const variable *v, const kiln_section_spec *only, kiln_error *err)
{
    candidates all;
    collect(&all, only);
    const char *near = kiln_near_match(v->name, all.list);
    if (near != NULL) {
        return kiln_error_set(err, EINVAL, "environment %s: no such key, did you mean %s?",
                              v->name, near);
    }
    return kiln_error_set(
        err, EINVAL,
        "environment %s: [%s] has no such key, see `kiln config --reference`; "
        "unset it",
        v->name, only->name);
}

static int put(kiln_config *config, const char *title, const char *key, const variable *v,
               kiln_error *err)
{
    kiln_place place = {KILN_FROM_ENVIRONMENT, NULL, 0, NULL};
    place.where = kiln_arena_text(&config->arena, v->name, strlen(v->name));
    kiln_config_section *section;
    if (place.where == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory for the configuration");
    }
    int rc = kiln_store_section(config, title, &place, &section, err);
    return rc < 0 ? rc : kiln_store_put(config, section, key, v->value, &place, err);
}

static int put_fixed(kiln_config *config, const kiln_section_spec *spec, const variable *v,
                     kiln_error *err)
{
    for (const kiln_key *key = spec->keys; key->name != NULL; key++) {
        char name[KILN_VARIABLE_MAX];
        kiln_store_variable(spec->name, key->name, name, sizeof(name));
        if (strcmp(name, v->name) == 0) {
            return put(config, spec->name, key->name, v, err);
        }
    }
    return unknown_variable(v, spec, err);
}

/* The member of the family whose variable this is, or NULL; -EINVAL when it is two's. */
static int find_member(const kiln_config *config, const kiln_section_spec *spec,
                       const char *key, const variable *v, const char **title, kiln_error *err)
{
    *title = NULL;
    for (size_t i = 0; i < config->section_count; i++) {
        char name[KILN_VARIABLE_MAX];
        if (config->sections[i]->spec != spec) {
            continue;
        }
        kiln_store_variable(config->sections[i]->title, key, name, sizeof(name));
        if (strcmp(name, v->name) != 0) {
            continue;
        }
        if (*title != NULL) {
            return kiln_error_set(
                err, EINVAL, "environment %s: both [%s] and [%s] could be meant; use --set",
                v->name, *title, config->sections[i]->title);
        }
        *title = config->sections[i]->title;
    }
    return 0;
}

/* KILN_RUNTIME_PYTHON_RUN, KILN_CHAIN_FAST_POLICIES: the end tells the key, and what lies
 * between is a section that is there, or a new one. */
static int put_member(kiln_config *config, const kiln_section_spec *spec, const variable *v,
                      kiln_error *err)
{
    const char *rest = v->name + PREFIX + strlen(spec->name) + 1;
    for (const kiln_key *key = spec->keys; key->name != NULL; key++) {
        char suffix[KILN_VARIABLE_MAX], title[KILN_VARIABLE_MAX];
        kiln_store_variable("", key->name, suffix, sizeof(suffix)); /* "KILN__RUN" */
        const char *end = suffix + PREFIX;
        size_t length = strlen(rest), end_length = strlen(end);
        if (length <= end_length || strcmp(rest + length - end_length, end) != 0) {
            continue;
        }
        const char *known;
        int rc = find_member(config, spec, key->name, v, &known, err);
        if (rc < 0) {
            return rc;
        }
        if (known == NULL) {
            snprintf(title, sizeof(title), "%s %.*s", spec->name, (int)(length - end_length),
                     rest);
            for (char *p = title; *p != '\0'; p++) {
                *p = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
            }
            known = title;
        }
        return put(config, known, key->name, v, err);
    }
    char keys[128] = "";
    for (const kiln_key *key = spec->keys; key->name != NULL; key++) {
        size_t used = strlen(keys);
        snprintf(keys + used, sizeof(keys) - used, "%s%s", used > 0 ? ", " : "", key->name);
    }
    return kiln_error_set(err, EINVAL,
                          "environment %s: names no key of [%s %s] (%s); correct or unset it",
                          v->name, spec->name, spec->placeholder, keys);
}

static int keep(kiln_config *config, const kiln_section_spec *spec, const variable *v,
                kiln_error *err)
{
    if (kiln_ini_value_check(v->name, strlen(v->name), err) < 0) {
        return kiln_error_wrap(err, "environment %s_...", spec->name);
    }
    if (kiln_ini_value_check(v->value, strlen(v->value), err) < 0) {
        return kiln_error_wrap(err, "environment %s", v->name);
    }
    kiln_pending *grown =
        kiln_arena_alloc(&config->arena, (config->pending_count + 1) * sizeof(*grown));
    const char *name = kiln_arena_text(&config->arena, v->name, strlen(v->name));
    const char *text = kiln_arena_text(&config->arena, v->value, strlen(v->value));
    if (grown == NULL || name == NULL || text == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory for the configuration");
    }
    if (config->pending_count > 0) {
        memcpy(grown, config->pending, config->pending_count * sizeof(*grown));
    }
    grown[config->pending_count++] = (kiln_pending){spec, name, text, false};
    config->pending = grown;
    return 0;
}

/* KILN_MEMORY, KILN_LIMIT_MEMORY: not ours, but meant for us. */
static int check_stranger(const variable *v, kiln_error *err)
{
    candidates all;
    collect(&all, NULL);
    const char *near = kiln_near_match(v->name, all.list);
    for (size_t i = 0; near == NULL && all.list[i] != NULL; i++) {
        const char *key = strchr(all.list[i] + PREFIX, '_');
        if (key != NULL && strcmp(key + 1, v->name + PREFIX) == 0) {
            near = all.list[i];
        }
    }
    if (near == NULL) {
        return 0;
    }
    return kiln_error_set(err, EINVAL,
                          "environment %s: no such key, did you mean %s? Correct or unset it",
                          v->name, near);
}

static int read_variable(kiln_config *config, const variable *v, kiln_error *err)
{
    if (listed(v->name, reserved)) {
        return 0;
    }
    for (size_t i = 0; i < KILN_SECTION_SPECS; i++) {
        const kiln_section_spec *spec = &kiln_schema[i];
        char prefix[32];
        kiln_store_variable(spec->name, "", prefix, sizeof(prefix)); /* "KILN_LIMITS_" */
        if (strncmp(v->name, prefix, strlen(prefix)) == 0) {
            return spec->placeholder == NULL ? put_fixed(config, spec, v, err)
                   : spec->open              ? keep(config, spec, v, err)
                                             : put_member(config, spec, v, err);
        }
    }
    return check_stranger(v, err);
}

int kiln_environment_read(kiln_config *config, const char *const *environ_, kiln_error *err)
{
    for (; environ_ != NULL && *environ_ != NULL; environ_++) {
        const char *equals;
        if (strncmp(*environ_, "KILN_", PREFIX) != 0 ||
            (equals = strchr(*environ_, '=')) == NULL) {
            continue;
        }
        variable v = {.value = equals + 1};
        size_t length = (size_t)(equals - *environ_);
        if (length >= sizeof(v.name)) {
            continue; /* longer than any of ours, and than any near one */
        }
        memcpy(v.name, *environ_, length);
        int rc = read_variable(config, &v, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* Is this member's `key` what the pending variable sets? Then puts it there. */
static int settle_member(kiln_config *config, kiln_pending *pending, const char *name,
                         kiln_error *err)
{
    char title[KILN_VARIABLE_MAX], wanted[KILN_VARIABLE_MAX];
    snprintf(title, sizeof(title), "%s %s", pending->spec->name, name);
    for (const kiln_key *key = pending->spec->keys; key->name != NULL; key++) {
        kiln_store_variable(title, key->name, wanted, sizeof(wanted));
        if (strcmp(wanted, pending->variable) != 0) {
            continue;
        }
        variable v = {.value = pending->text};
        snprintf(v.name, sizeof(v.name), "%s", pending->variable);
        pending->used = true;
        return put(config, title, key->name, &v, err);
    }
    return 0;
}

static int settle_list(kiln_config *config, kiln_pending *pending, const char *const *names,
                       kiln_error *err)
{
    for (; names != NULL && *names != NULL && !pending->used; names++) {
        int rc = settle_member(config, pending, *names, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int kiln_environment_settle(kiln_config *config, kiln_error *err)
{
    for (size_t i = 0; i < config->pending_count; i++) {
        kiln_pending *pending = &config->pending[i];
        const size_t sections = config->section_count; /* put may add one, of this name */
        int rc = 0;
        for (size_t j = 0; j < sections && rc == 0 && !pending->used; j++) {
            const kiln_config_section *section = config->sections[j];
            if (section->spec == pending->spec) {
                rc = settle_member(config, pending, section->name, err);
            } else if (strcmp(section->spec->name, "chain") == 0 &&
                       strcmp(pending->spec->name, "policy") == 0) {
                rc = settle_list(config, pending,
                                 kiln_section_setting(section, "policies")->value.words, err);
            }
        }
        if (rc == 0 && !pending->used && strcmp(pending->spec->name, "backend") == 0) {
            rc = settle_list(config, pending, kiln_config_list(config, "engine", "backends"),
                             err);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}
