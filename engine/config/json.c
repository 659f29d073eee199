/* json.c - the effective configuration, value by value, for `kiln config`. */
#include "base/cleanup.h"
#include "config/store.h"

#include <string.h>

static json_t *source_of(const kiln_place *place)
{
    char text[KILN_PLACE_MAX];
    return kiln_text_to_json(
        place->layer == KILN_FROM_SET ? "--set" : kiln_place_text(place, text, sizeof(text)));
}

/* The default, typed as the value is. */
static json_t *default_of(const kiln_config_section *section, const kiln_key *key)
{
    auto_arena kiln_arena arena = KILN_ARENA_INIT;
    kiln_error err = KILN_ERROR_INIT;
    kiln_value value;
    const char *text =
        kiln_key_default(key, kiln_section_builtin(section->spec, section->name));
    if (kiln_value_parse(key, text, NULL, &arena, &value, &err) < 0) {
        return NULL; /* every default was parsed once already: no memory */
    }
    return kiln_value_to_json(key, &value);
}

static int add_setting(json_t *all, const kiln_config_section *section,
                       const kiln_setting *setting)
{
    const kiln_key *key = setting->key;
    return json_array_append_new(
        all, json_pack(
                 "{s:s, s:s, s:o, s:o, s:s, s:s, s:o, s:o, s:o}", "section", section->title,
                 "key", key->name, "value", kiln_value_to_json(key, &setting->value), "default",
                 default_of(section, key), "type", kiln_schema_type_name(key->type), "unit",
                 kiln_schema_unit(key->type), "source", source_of(&setting->place), "help",
                 kiln_text_to_json(key->help), "text", kiln_text_to_json(setting->value.text)));
}

static int add_undeclared(json_t *all, const char *section, const char *key, const char *text,
                          const kiln_place *place)
{
    return json_array_append_new(
        all,
        json_pack("{s:s, s:s, s:s, s:n, s:s, s:s, s:o, s:s, s:s}", "section", section, "key",
                  key, "value", text, "default", "type", "undeclared", "unit", "", "source",
                  source_of(place), "help",
                  "Checked when what declares it is loaded: see `kiln check`.", "text", text));
}

static int add_section(json_t *all, const kiln_config_section *section)
{
    for (size_t i = 0; i < section->count; i++) {
        if (add_setting(all, section, &section->settings[i]) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; section->declared == NULL && i < section->loose_count; i++) {
        const kiln_loose *loose = &section->loose[i];
        if (add_undeclared(all, section->title, loose->name, loose->text, &loose->place) < 0) {
            return -1;
        }
    }
    return 0;
}

json_t *kiln_config_to_json(const kiln_config *config)
{
    auto_json json_t *all = json_array();
    if (all == NULL) {
        return NULL;
    }
    /* In the schema's order, and within a family in that of the files. */
    for (size_t i = 0; i < KILN_SECTION_SPECS; i++) {
        for (size_t j = 0; j < config->section_count; j++) {
            if (config->sections[j]->spec == &kiln_schema[i] &&
                add_section(all, config->sections[j]) < 0) {
                return NULL;
            }
        }
        for (size_t j = 0; j < config->pending_count; j++) {
            const kiln_pending *pending = &config->pending[j];
            const kiln_place place = {KILN_FROM_ENVIRONMENT, pending->variable, 0, NULL};
            if (pending->spec == &kiln_schema[i] && !pending->used &&
                add_undeclared(all, pending->spec->name, pending->variable, pending->text,
                               &place) < 0) {
                return NULL;
            }
        }
    }
    return kiln_steal(all);
}
