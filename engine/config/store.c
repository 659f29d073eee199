#include "config/store.h"

#include "config/reader.h"
#include "native/signature.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int out_of_memory(kiln_error *err)
{
    return kiln_error_set(err, ENOMEM, "out of memory for the configuration");
}

static size_t key_count(const kiln_key *keys)
{
    size_t count = 0;
    while (keys[count].name != NULL) {
        count++;
    }
    return count;
}

/* A section at its defaults, not yet among the others; NULL: an error. */
static kiln_config_section *make_section(kiln_config *config, const kiln_section_spec *spec,
                                         const char *name, kiln_error *err)
{
    char title[KILN_INI_SECTION_MAX + 2];
    size_t length = (size_t)snprintf(title, sizeof(title), "%s%s%s", spec->name,
                                     name[0] != '\0' ? " " : "", name);
    kiln_config_section *section = kiln_arena_alloc(&config->arena, sizeof(*section));
    size_t count = key_count(spec->keys);
    kiln_setting *settings = kiln_arena_alloc(&config->arena, count * sizeof(*settings));
    char *own_title = kiln_arena_text(&config->arena, title, length);
    if (section == NULL || settings == NULL || own_title == NULL) {
        out_of_memory(err);
        return NULL;
    }
    section->spec = spec;
    section->title = own_title;
    section->name = name[0] != '\0' ? own_title + strlen(spec->name) + 1 : "";
    section->settings = settings;
    section->count = section->schema_count = count;
    const bool builtin = kiln_section_builtin(spec, name);
    for (size_t i = 0; i < count; i++) {
        const kiln_key *key = &spec->keys[i];
        settings[i].key = key;
        settings[i].place.layer = KILN_FROM_DEFAULT;
        const char *text = kiln_key_default(key, builtin);
        int rc = kiln_value_parse(key, text, NULL, &config->arena, &settings[i].value, err);
        if (rc < 0) {
            kiln_error_wrap(err, "default of [%s]", own_title);
            return NULL;
        }
    }
    return section;
}

int kiln_store_new(kiln_config **config, kiln_error *err)
{
    kiln_config *fresh = calloc(1, sizeof(*fresh));
    if (fresh == NULL) {
        return out_of_memory(err);
    }
    for (size_t i = 0; i < KILN_SECTION_SPECS; i++) {
        const kiln_section_spec *spec = &kiln_schema[i];
        kiln_config_section *section = make_section(fresh, spec, "", err);
        fresh->templates[i] = section;
        if (section != NULL && spec->builtin != NULL) {
            section = make_section(fresh, spec, spec->builtin, err);
        }
        if (section == NULL) {
            kiln_config_free(fresh);
            return err->code;
        }
        if (spec->placeholder == NULL || spec->builtin != NULL) {
            fresh->sections[fresh->section_count++] = section;
        }
    }
    *config = fresh;
    return 0;
}

void kiln_config_free(kiln_config *config)
{
    if (config != NULL) {
        kiln_arena_free(&config->arena);
        free(config);
    }
}

kiln_config_section *kiln_store_find(const kiln_config *config, const char *title)
{
    for (size_t i = 0; i < config->section_count; i++) {
        if (strcmp(config->sections[i]->title, title) == 0) {
            return config->sections[i];
        }
    }
    return NULL;
}

const kiln_config_section *kiln_store_look(const kiln_config *config, const char *title)
{
    const kiln_config_section *section = kiln_store_find(config, title);
    const char *space = strchr(title, ' ');
    if (section != NULL || space == NULL) {
        return section;
    }
    const kiln_section_spec *spec = kiln_schema_section(title, (size_t)(space - title));
    return spec != NULL && spec->placeholder != NULL ? config->templates[spec - kiln_schema]
                                                     : NULL;
}

kiln_setting *kiln_section_setting(const kiln_config_section *section, const char *key)
{
    for (size_t i = 0; i < section->count; i++) {
        if (strcmp(section->settings[i].key->name, key) == 0) {
            return &section->settings[i];
        }
    }
    return NULL;
}

static int unknown_section(const char *title, const kiln_place *place, kiln_error *err)
{
    const char *names[KILN_SECTION_SPECS + 1] = {NULL};
    char word[KILN_INI_SECTION_MAX + 1];
    for (size_t i = 0; i < KILN_SECTION_SPECS; i++) {
        names[i] = kiln_schema[i].name;
    }
    size_t length = strcspn(title, " ");
    length = length < sizeof(word) ? length : sizeof(word) - 1;
    memcpy(word, title, length);
    word[length] = '\0';
    const char *near = kiln_near_match(word, names);
    if (near == NULL) {
        return kiln_place_error(err, place,
                                "unknown section [%.*s]; there are engine, limits, sandbox, "
                                "chain NAME, policy NAME, backend NAME, runtime LANGUAGE, "
                                "connection NAME, native NAME",
                                KILN_SHOWN(title));
    }
    const char *placeholder = kiln_schema_section(near, strlen(near))->placeholder;
    const char *rest = title + strcspn(title, " ");
    return kiln_place_error(err, place, "unknown section [%.*s], did you mean [%s%s%s]?",
                            KILN_SHOWN(title), near, placeholder == NULL ? "" : " ",
                            placeholder == NULL ? ""
                            : *rest == ' '      ? rest + 1
                                                : placeholder);
}

int kiln_store_section(kiln_config *config, const char *title, const kiln_place *place,
                       kiln_config_section **section, kiln_error *err)
{
    *section = kiln_store_find(config, title);
    if (*section != NULL) {
        if (!(*section)->given) {
            (*section)->given = true;
            (*section)->place = *place;
        }
        return 0;
    }
    const char *space = strchr(title, ' ');
    size_t length = space == NULL ? strlen(title) : (size_t)(space - title);
    const kiln_section_spec *spec = kiln_schema_section(title, length);
    if (spec == NULL) {
        return unknown_section(title, place, err);
    }
    if (spec->placeholder == NULL) {
        return kiln_place_error(err, place, "[%s] takes no name, write [%s]", title,
                                spec->name);
    }
    if (space == NULL) {
        return kiln_place_error(err, place, "[%s] needs a name, write [%s %s]", title,
                                spec->name, spec->placeholder);
    }
    if (strcmp(spec->name, "native") == 0) {
        if (!kiln_native_name_valid(space + 1)) {
            return kiln_place_error(err, place,
                                    "\"%.*s\" is no name for a native function: a word of "
                                    "letters, digits and _, or two with a dot between",
                                    KILN_SHOWN(space + 1));
        }
    } else if (!kiln_ini_name_valid(space + 1, strlen(space + 1))) {
        return kiln_place_error(err, place,
                                "\"%.*s\" is no name for a %s: letters, digits, _ - + #",
                                KILN_SHOWN(space + 1), spec->name);
    }
    if (strlen(title) > KILN_INI_SECTION_MAX) {
        return kiln_place_error(
            err, place, "the section's name is longer than %d bytes, choose a shorter one",
            KILN_INI_SECTION_MAX);
    }
    if (config->section_count == KILN_CONFIG_SECTIONS_MAX) {
        return kiln_place_error(err, place, "more than %d sections; take some out",
                                KILN_CONFIG_SECTIONS_MAX);
    }
    kiln_config_section *made = make_section(config, spec, space + 1, err);
    if (made == NULL) {
        return err->code;
    }
    made->given = true;
    made->place = *place;
    config->sections[config->section_count++] = made;
    *section = made;
    return 0;
}

static bool from_file(kiln_config_layer layer)
{
    return layer == KILN_FROM_RUNTIMES || layer == KILN_FROM_FILE;
}

/* -EINVAL when a file gives the key that `before` already gave. */
static int check_duplicate(const char *title, const char *key, const kiln_place *before,
                           const kiln_place *place, kiln_error *err)
{
    if (before->layer != place->layer || !from_file(place->layer)) {
        return 0;
    }
    char first[KILN_PLACE_MAX];
    return kiln_place_error(err, place, "\"%s\" in [%s] again, it is set at %s; keep one", key,
                            title, kiln_place_text(before, first, sizeof(first)));
}

static int put_loose(kiln_config *config, kiln_config_section *section, const char *key,
                     const char *text, const kiln_place *place, kiln_error *err)
{
    kiln_loose *loose = section->loose;
    size_t at = 0;
    while (at < section->loose_count && strcmp(loose[at].name, key) != 0) {
        at++;
    }
    if (at < section->loose_count) {
        int rc = check_duplicate(section->title, key, &loose[at].place, place, err);
        if (rc < 0 || loose[at].place.layer > place->layer) {
            return rc;
        }
    } else if (at == KILN_CONFIG_LOOSE_MAX) {
        return kiln_place_error(err, place, "more than %d keys in [%s]; take some out",
                                KILN_CONFIG_LOOSE_MAX, section->title);
    } else if (at == section->loose_capacity) {
        size_t capacity = at == 0 ? 8 : at * 2;
        loose = kiln_arena_alloc(&config->arena, capacity * sizeof(*loose));
        if (loose == NULL) {
            return out_of_memory(err);
        }
        if (at > 0) {
            memcpy(loose, section->loose, at * sizeof(*loose));
        }
        section->loose = loose;
        section->loose_capacity = capacity;
    }
    const char *own_key = kiln_arena_text(&config->arena, key, strlen(key));
    const char *own_text = kiln_arena_text(&config->arena, text, strlen(text));
    if (own_key == NULL || own_text == NULL) {
        return out_of_memory(err);
    }
    loose[at] = (kiln_loose){own_key, own_text, *place};
    if (at == section->loose_count) {
        section->loose_count++;
    }
    return 0;
}

static int unknown_key(const kiln_config_section *section, const char *key,
                       const kiln_place *place, kiln_error *err)
{
    const char *names[32] = {NULL};
    for (size_t i = 0; i < section->schema_count && i < 31; i++) {
        names[i] = section->settings[i].key->name;
    }
    const char *near = kiln_near_match(key, names);
    if (near != NULL) {
        return kiln_place_error(err, place, "unknown key \"%s\" in [%s], did you mean \"%s\"?",
                                key, section->title, near);
    }
    for (size_t i = 0; i < KILN_SECTION_SPECS; i++) {
        for (const kiln_key *k = kiln_schema[i].keys; k->name != NULL; k++) {
            if (strcmp(k->name, key) == 0) {
                return kiln_place_error(
                    err, place, "unknown key \"%s\" in [%s], it belongs in [%s%s%s]", key,
                    section->title, kiln_schema[i].name,
                    kiln_schema[i].placeholder == NULL ? "" : " ",
                    kiln_schema[i].placeholder == NULL ? "" : kiln_schema[i].placeholder);
            }
        }
    }
    return kiln_place_error(err, place,
                            "unknown key \"%s\" in [%s], see `kiln config --reference`", key,
                            section->title);
}

int kiln_store_put(kiln_config *config, kiln_config_section *section, const char *key,
                   const char *text, const kiln_place *place, kiln_error *err)
{
    kiln_setting *setting = kiln_section_setting(section, key);
    if (setting == NULL) {
        return section->spec->open ? put_loose(config, section, key, text, place, err)
                                   : unknown_key(section, key, place, err);
    }
    int rc = check_duplicate(section->title, key, &setting->place, place, err);
    if (rc < 0 || setting->place.layer > place->layer) {
        return rc;
    }
    kiln_value value;
    rc = kiln_value_parse(setting->key, text, place->base, &config->arena, &value, err);
    if (rc < 0) {
        char sentence[sizeof(err->text)];
        memcpy(sentence, err->text, sizeof(sentence));
        return rc == -ENOMEM ? rc : kiln_place_error(err, place, "%s", sentence);
    }
    setting->value = value;
    setting->place = *place;
    return 0;
}

void kiln_store_variable(const char *title, const char *key, char *out, size_t size)
{
    snprintf(out, size, "KILN_%s_%s", title, key);
    for (char *p = out; *p != '\0'; p++) {
        if (*p >= 'a' && *p <= 'z') {
            *p = (char)(*p - 'a' + 'A');
        } else if (!((*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9'))) {
            *p = '_';
        }
    }
}
