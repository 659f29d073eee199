/* check.c - faults that show only when all layers are there. */
#include "config/store.h"

#include <errno.h>
#include <string.h>

static bool has_word(const char *const *words, const char *word)
{
    for (; words != NULL && *words != NULL; words++) {
        if (strcmp(*words, word) == 0) {
            return true;
        }
    }
    return false;
}

/* Is `part` within a word of the command? */
static bool mentions(const char *const *words, const char *part)
{
    for (; words != NULL && *words != NULL; words++) {
        if (strstr(*words, part) != NULL) {
            return true;
        }
    }
    return false;
}

static int check_backend(const kiln_config *config, kiln_error *err)
{
    const kiln_config_section *engine = kiln_store_find(config, "engine");
    const kiln_setting *backend = kiln_section_setting(engine, "backend");
    const kiln_setting *backends = kiln_section_setting(engine, "backends");
    if (has_word(backends->value.words, backend->value.text)) {
        return 0;
    }
    const bool own = backend->place.layer >= backends->place.layer;
    const char *near = kiln_near_match(backend->value.text, backends->value.words);
    return kiln_place_error(err, own ? &backend->place : &backends->place,
                            "[engine] backend \"%s\"%s is not among its backends (%s)%s%s%s",
                            backend->value.text, own ? "" : ", the default,",
                            backends->value.text,
                            near == NULL ? "; add it or name another" : ", did you mean \"",
                            near == NULL ? "" : near, near == NULL ? "" : "\"?");
}

static int check_chain(const kiln_config *config, kiln_error *err)
{
    const kiln_setting *chain =
        kiln_section_setting(kiln_store_find(config, "engine"), "chain");
    const char *names[KILN_CONFIG_SECTIONS_MAX + 1];
    size_t count = 0;
    for (size_t i = 0; i < config->section_count; i++) {
        const kiln_config_section *section = config->sections[i];
        if (strcmp(section->spec->name, "chain") != 0) {
            continue;
        }
        if (strcmp(section->name, chain->value.text) == 0) {
            return 0;
        }
        names[count++] = section->name;
    }
    names[count] = NULL;
    const char *near = kiln_near_match(chain->value.text, names);
    return kiln_place_error(err, &chain->place,
                            "[engine] chain = \"%s\": there is no [chain %s]%s%s%s",
                            chain->value.text, chain->value.text,
                            near == NULL ? "; add it or name another" : ", did you mean \"",
                            near == NULL ? "" : near, near == NULL ? "" : "\"?");
}

static int check_required(const kiln_config_section *section, kiln_error *err)
{
    const bool builtin = kiln_section_builtin(section->spec, section->name);
    for (size_t i = 0; i < section->schema_count && !builtin; i++) {
        const kiln_setting *setting = &section->settings[i];
        if ((setting->key->flags & KILN_KEY_REQUIRED) != 0 &&
            setting->place.layer == KILN_FROM_DEFAULT) {
            return kiln_place_error(err, &section->place, "[%s] lacks \"%s\"; add it",
                                    section->title, setting->key->name);
        }
    }
    return 0;
}

/* A command that never sees the code would run something else, and say "ok". */
static int check_runtime(const kiln_config_section *section, kiln_error *err)
{
    const kiln_setting *compile = kiln_section_setting(section, "compile");
    const kiln_setting *run = kiln_section_setting(section, "run");
    const kiln_setting *extensions = kiln_section_setting(section, "extensions");
    if (run->value.text[0] == '\0') {
        return 0; /* switched off */
    }
    if (extensions->value.words[0] == NULL) {
        return kiln_place_error(err, &extensions->place,
                                "[%s] has no extension; the code's file needs one, like .py",
                                section->title);
    }
    const bool compiles = compile->value.text[0] != '\0';
    if (compiles && !mentions(compile->value.words, "{file}")) {
        return kiln_place_error(err, &compile->place,
                                "[%s] compile does not mention {file}, the code; add it",
                                section->title);
    }
    if (!compiles && !mentions(run->value.words, "{file}")) {
        return kiln_place_error(err, &run->place,
                                "[%s] run does not mention {file}, the code; add it",
                                section->title);
    }
    if (!compiles && mentions(run->value.words, "{out}")) {
        return kiln_place_error(err, &run->place,
                                "[%s] run mentions {out}, which only compile makes; use {file}",
                                section->title);
    }
    return 0;
}

/* A file's language must not depend on the order of sections. */
static int check_extensions(const kiln_config *config, const kiln_config_section *section,
                            kiln_error *err)
{
    const kiln_setting *mine = kiln_section_setting(section, "extensions");
    for (size_t i = 0; config->sections[i] != section; i++) {
        const kiln_config_section *other = config->sections[i];
        if (other->spec != section->spec ||
            kiln_section_setting(other, "run")->value.text[0] == '\0') {
            continue;
        }
        const kiln_setting *theirs = kiln_section_setting(other, "extensions");
        for (const char *const *word = mine->value.words; *word != NULL; word++) {
            if (has_word(theirs->value.words, *word)) {
                return kiln_place_error(
                    err, &mine->place,
                    "[%s] extensions: \"%s\" is [%s]'s already; take one out", section->title,
                    *word, other->title);
            }
        }
    }
    return 0;
}

static bool is_loopback(const char *url)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]"};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        size_t length = strlen(hosts[i]);
        if (strncmp(url, hosts[i], length) == 0 && strchr("/:", url[length]) != NULL) {
            return true; /* its end, too */
        }
    }
    return false;
}

static int check_connection(const kiln_config_section *section, kiln_error *err)
{
    const kiln_setting *arn = kiln_section_setting(section, "arn");
    const kiln_setting *endpoint = kiln_section_setting(section, "endpoint");
    const kiln_setting *helper = kiln_section_setting(section, "credential_helper");
    if (arn->value.text[0] == '\0' && endpoint->value.text[0] == '\0') {
        return kiln_place_error(err, &section->place,
                                "[%s] has neither arn nor endpoint; add one", section->title);
    }
    if (helper->value.text[0] != '\0' && strncmp(endpoint->value.text, "http://", 7) == 0 &&
        !is_loopback(endpoint->value.text + 7)) {
        return kiln_place_error(err, &helper->place,
                                "[%s] credential_helper: its secret would go over http:// in "
                                "the clear; use an endpoint with https://",
                                section->title);
    }
    return 0;
}

static int check_native(const kiln_config_section *section, kiln_error *err)
{
    const kiln_setting *signature = kiln_section_setting(section, "signature");
    if (signature->value.text[0] == '\0' &&
        kiln_section_setting(section, "library")->value.text[0] != '\0') {
        return kiln_place_error(err, &section->place,
                                "[%s] has a library and no signature; say what it takes and "
                                "gives, as in uint64(uint64, bytes)",
                                section->title);
    }
    return 0;
}

int kiln_store_check(kiln_config *config, kiln_error *err)
{
    int rc = check_backend(config, err);
    rc = rc < 0 ? rc : check_chain(config, err);
    for (size_t i = 0; rc == 0 && i < config->section_count; i++) {
        const kiln_config_section *section = config->sections[i];
        rc = check_required(section, err);
        if (rc == 0 && strcmp(section->spec->name, "connection") == 0) {
            rc = check_connection(section, err);
        }
        if (rc == 0 && strcmp(section->spec->name, "native") == 0) {
            rc = check_native(section, err);
        }
        if (rc == 0 && strcmp(section->spec->name, "runtime") == 0) {
            rc = check_runtime(section, err);
            if (rc == 0 && kiln_section_setting(section, "run")->value.text[0] != '\0') {
                rc = check_extensions(config, section, err);
            }
        }
    }
    return rc;
}
