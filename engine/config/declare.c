/* declare.c - keys that plugins and scripts add to their own sections. */
#include "config/reader.h"
#include "config/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int out_of_memory(kiln_error *err)
{
    return kiln_error_set(err, ENOMEM, "out of memory for the configuration");
}

static size_t option_count(const kiln_option *options)
{
    size_t count = 0;
    while (options != NULL && options[count].name != NULL) {
        count++;
    }
    return count;
}

static bool same(const char *a, const char *b)
{
    return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0;
}

/* A policy may stand in two chains, each with a Lua state that declares it. */
static int check_again(const kiln_config_section *section, const kiln_option *options,
                       kiln_error *err)
{
    size_t count = option_count(options);
    bool equal = count == option_count(section->declared);
    for (size_t i = 0; equal && i < count; i++) {
        const kiln_option *before = &section->declared[i];
        equal = same(before->name, options[i].name) && before->type == options[i].type &&
                same(before->default_value, options[i].default_value);
    }
    return equal ? 0
                 : kiln_error_set(err, EEXIST,
                                  "[%s] has its options declared twice, and differently",
                                  section->title);
}

static int check_option(const kiln_config_section *section, const kiln_option *options,
                        size_t at, kiln_error *err)
{
    const kiln_option *option = &options[at];
    if (!kiln_ini_key_valid(option->name, strlen(option->name))) {
        return kiln_error_set(err, EINVAL, "[%s] declares \"%.*s\", which is no key",
                              section->title, KILN_SHOWN(option->name));
    }
    if (option->type < KILN_OPTION_STRING || option->type > KILN_OPTION_LIST) {
        return kiln_error_set(err, EINVAL,
                              "[%s] declares \"%s\" of a type %" PRIu32 " that there is not",
                              section->title, option->name, option->type);
    }
    for (size_t i = 0; i < section->schema_count; i++) {
        if (strcmp(section->settings[i].key->name, option->name) == 0) {
            return kiln_error_set(err, EINVAL, "[%s] declares \"%s\", which is Kiln's own key",
                                  section->title, option->name);
        }
    }
    for (size_t i = 0; i < at; i++) {
        if (strcmp(options[i].name, option->name) == 0) {
            return kiln_error_set(err, EINVAL, "[%s] declares \"%s\" twice", section->title,
                                  option->name);
        }
    }
    return 0;
}

/* The schema's word for the option, and its default, in *setting. */
static int make_setting(kiln_config *config, const kiln_config_section *section,
                        const kiln_option *option, kiln_setting *setting, kiln_error *err)
{
    const char *text = option->default_value == NULL ? "" : option->default_value;
    const char *help = option->help == NULL ? "" : option->help;
    kiln_key *key = kiln_arena_alloc(&config->arena, sizeof(*key));
    if (key == NULL) {
        return out_of_memory(err);
    }
    key->name = kiln_arena_text(&config->arena, option->name, strlen(option->name));
    key->type = option->type;
    key->default_value = kiln_arena_text(&config->arena, text, strlen(text));
    key->help = kiln_arena_text(&config->arena, help, strlen(help));
    if (text[0] == '\0' || option->type == KILN_OPTION_LIST ||
        option->type == KILN_OPTION_STRING) {
        key->flags = KILN_KEY_EMPTY;
    }
    if (key->name == NULL || key->default_value == NULL || key->help == NULL) {
        return out_of_memory(err);
    }
    setting->key = key;
    setting->place.layer = KILN_FROM_DEFAULT;
    if (kiln_value_parse(key, key->default_value, NULL, &config->arena, &setting->value, err) <
        0) {
        return kiln_error_wrap(err, "[%s] declares a default that is no %s", section->title,
                               kiln_schema_type_name(key->type));
    }
    return 0;
}

static kiln_setting *declared_setting(const kiln_config_section *section, const char *name)
{
    kiln_setting *setting = kiln_section_setting(section, name);
    return setting == NULL || setting < section->settings + section->schema_count ? NULL
                                                                                  : setting;
}

/* What the file and --set said of keys that were not known then. */
static int take_loose(kiln_config *config, kiln_config_section *section, kiln_error *err)
{
    for (size_t i = 0; i < section->loose_count; i++) {
        const kiln_loose *loose = &section->loose[i];
        kiln_setting *setting = declared_setting(section, loose->name);
        if (setting == NULL) {
            const char **names =
                kiln_arena_alloc(&config->arena, (section->count + 1) * sizeof(*names));
            if (names == NULL) {
                return out_of_memory(err);
            }
            for (size_t j = 0; j < section->count; j++) {
                names[j] = section->settings[j].key->name;
            }
            const char *near = kiln_near_match(loose->name, names);
            return kiln_place_error(err, &loose->place, "unknown key \"%s\" in [%s]%s%s%s",
                                    loose->name, section->title,
                                    near == NULL ? ", see `kiln plugins` and `kiln check`"
                                                 : ", did you mean \"",
                                    near == NULL ? "" : near, near == NULL ? "" : "\"?");
        }
        int rc = kiln_store_put(config, section, loose->name, loose->text, &loose->place, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* What the environment said of them. */
static int take_pending(kiln_config *config, kiln_config_section *section, kiln_error *err)
{
    for (size_t i = 0; i < config->pending_count; i++) {
        kiln_pending *pending = &config->pending[i];
        for (size_t j = section->schema_count; j < section->count; j++) {
            char wanted[KILN_VARIABLE_MAX];
            const char *key = section->settings[j].key->name;
            kiln_store_variable(section->title, key, wanted, sizeof(wanted));
            if (strcmp(wanted, pending->variable) != 0) {
                continue;
            }
            if (pending->used) {
                return kiln_error_set(
                    err, EINVAL, "environment %s: more than one key could be meant; use --set",
                    pending->variable);
            }
            kiln_place place = {KILN_FROM_ENVIRONMENT, pending->variable, 0, NULL};
            pending->used = true;
            int rc = kiln_store_put(config, section, key, pending->text, &place, err);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

static int add_settings(kiln_config *config, kiln_config_section *section,
                        const kiln_option *options, size_t count, kiln_error *err)
{
    kiln_setting *settings =
        kiln_arena_alloc(&config->arena, (section->schema_count + count) * sizeof(*settings));
    kiln_option *copy = kiln_arena_alloc(&config->arena, (count + 1) * sizeof(*copy));
    if (settings == NULL || copy == NULL) {
        return out_of_memory(err);
    }
    memcpy(settings, section->settings, section->schema_count * sizeof(*settings));
    for (size_t i = 0; i < count; i++) {
        kiln_setting *setting = &settings[section->schema_count + i];
        int rc = check_option(section, options, i, err);
        rc = rc < 0 ? rc : make_setting(config, section, &options[i], setting, err);
        if (rc < 0) {
            return rc;
        }
        copy[i] = (kiln_option){setting->key->name, setting->key->type,
                                setting->key->default_value, setting->key->help};
    }
    section->settings = settings;
    section->count = section->schema_count + count;
    section->declared = copy;
    return 0;
}

/* The section, made when no layer named it: then it is not `given`. */
static int find_or_make(kiln_config *config, const char *title, kiln_config_section **section,
                        kiln_error *err)
{
    *section = kiln_store_find(config, title);
    if (*section == NULL) {
        const kiln_place nowhere = {KILN_FROM_DEFAULT, NULL, 0, NULL};
        int rc = kiln_store_section(config, title, &nowhere, section, err);
        if (rc < 0) {
            return rc;
        }
        (*section)->given = false;
    }
    if (!(*section)->spec->open) {
        return kiln_error_set(err, EINVAL, "[%s] takes no further keys", title);
    }
    return 0;
}

int kiln_config_declare(kiln_config *config, const char *title, const kiln_option *options,
                        kiln_error *err)
{
    kiln_config_section *section;
    int rc = find_or_make(config, title, &section, err);
    if (rc < 0) {
        return rc;
    }
    if (section->declared != NULL) {
        return check_again(section, options, err);
    }
    rc = add_settings(config, section, options, option_count(options), err);
    rc = rc < 0 ? rc : take_loose(config, section, err);
    return rc < 0 ? rc : take_pending(config, section, err);
}

/* Names of the family's declared sections, for a suggestion; the arena is not touched. */
static int check_section(const kiln_config *config, const kiln_config_section *section,
                         kiln_error *err)
{
    if (section->declared != NULL || section->loose_count == 0) {
        return 0;
    }
    const char *names[KILN_CONFIG_SECTIONS_MAX + 1];
    size_t count = 0;
    for (size_t i = 0; i < config->section_count; i++) {
        if (config->sections[i]->spec == section->spec &&
            config->sections[i]->declared != NULL) {
            names[count++] = config->sections[i]->name;
        }
    }
    names[count] = NULL;
    const char *near = kiln_near_match(section->name, names);
    const bool policy = strcmp(section->spec->name, "policy") == 0;
    char hint[128];
    if (near != NULL) {
        snprintf(hint, sizeof(hint), ", did you mean [%s %s]?", section->spec->name, near);
    } else {
        snprintf(hint, sizeof(hint), "; add it to %s or take its keys out",
                 policy ? "a chain" : "[engine] backends");
    }
    return kiln_place_error(err, &section->loose[0].place,
                            "key \"%s\" of [%s], but no such %s is %s%s",
                            section->loose[0].name, section->title, section->spec->name,
                            policy ? "in a chain" : "loaded", hint);
}

static int check_pending(const kiln_config *config, const kiln_pending *pending,
                         kiln_error *err)
{
    enum { MOST = 256 };
    char names[MOST][KILN_VARIABLE_MAX];
    const char *list[MOST + 1];
    size_t count = 0;
    if (pending->used) {
        return 0;
    }
    for (size_t i = 0; i < config->section_count; i++) {
        const kiln_config_section *section = config->sections[i];
        for (size_t j = 0; section->spec == pending->spec && j < section->count; j++) {
            if (count < MOST) {
                kiln_store_variable(section->title, section->settings[j].key->name,
                                    names[count], KILN_VARIABLE_MAX);
                list[count] = names[count];
                count++;
            }
        }
    }
    list[count] = NULL;
    const char *near = kiln_near_match(pending->variable, list);
    if (near != NULL) {
        return kiln_error_set(err, EINVAL, "environment %s: no such key, did you mean %s?",
                              pending->variable, near);
    }
    return kiln_error_set(err, EINVAL,
                          "environment %s: no loaded %s has such a key; correct or unset it",
                          pending->variable, pending->spec->name);
}

int kiln_config_check_undeclared(const kiln_config *config, kiln_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < config->section_count; i++) {
        rc = check_section(config, config->sections[i], err);
    }
    for (size_t i = 0; rc == 0 && i < config->pending_count; i++) {
        rc = check_pending(config, &config->pending[i], err);
    }
    return rc;
}

const char *kiln_config_option(const kiln_config *config, const char *title, const char *name)
{
    const kiln_config_section *section = kiln_store_find(config, title);
    const kiln_setting *setting = section == NULL ? NULL : declared_setting(section, name);
    return setting == NULL ? NULL : setting->value.plain;
}
