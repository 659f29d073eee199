/* access.c - reading a loaded configuration. */
#include "config/store.h"

#include "base/log.h"

#include <string.h>

/* NULL, and a line in the log: the caller asks for what the schema lacks. */
static const kiln_setting *look(const kiln_config *config, const char *title, const char *key,
                                uint32_t type)
{
    const kiln_config_section *section = kiln_store_look(config, title);
    const kiln_setting *setting = section == NULL ? NULL : kiln_section_setting(section, key);
    if (setting == NULL) {
        kiln_log(KILN_LOG_ERROR, "config", "bug: [%s] %s was asked for and is no key", title,
                 key);
        return NULL;
    }
    if (type != 0 && setting->key->type != type) {
        kiln_log(KILN_LOG_ERROR, "config", "bug: [%s] %s was asked for as a %s and is a %s",
                 title, key, kiln_schema_type_name(type),
                 kiln_schema_type_name(setting->key->type));
        return NULL;
    }
    return setting;
}

const char *kiln_config_string(const kiln_config *config, const char *section, const char *key)
{
    const kiln_setting *setting = look(config, section, key, 0);
    return setting == NULL || setting->value.text[0] == '\0' ? NULL : setting->value.text;
}

bool kiln_config_bool(const kiln_config *config, const char *section, const char *key)
{
    const kiln_setting *setting = look(config, section, key, KILN_OPTION_BOOL);
    return setting != NULL && setting->value.number != 0;
}

int64_t kiln_config_integer(const kiln_config *config, const char *section, const char *key)
{
    const kiln_setting *setting = look(config, section, key, KILN_OPTION_INTEGER);
    return setting == NULL ? 0 : setting->value.number;
}

uint64_t kiln_config_duration(const kiln_config *config, const char *section, const char *key)
{
    const kiln_setting *setting = look(config, section, key, KILN_OPTION_DURATION);
    return setting == NULL ? 0 : (uint64_t)setting->value.number;
}

uint64_t kiln_config_size(const kiln_config *config, const char *section, const char *key)
{
    const kiln_setting *setting = look(config, section, key, KILN_OPTION_SIZE);
    return setting == NULL ? 0 : (uint64_t)setting->value.number;
}

const char *const *kiln_config_list(const kiln_config *config, const char *section,
                                    const char *key)
{
    static const char *const none[] = {NULL};
    const kiln_setting *setting = look(config, section, key, KILN_OPTION_LIST);
    return setting == NULL ? none : setting->value.words;
}

const char *const *kiln_config_words(const kiln_config *config, const char *section,
                                     const char *key)
{
    const kiln_setting *setting = look(config, section, key, KILN_TYPE_COMMAND);
    return setting == NULL || setting->value.words == NULL || setting->value.words[0] == NULL
               ? NULL
               : setting->value.words;
}

int kiln_config_uid_range(const kiln_config *config, uint32_t *first, uint32_t *count)
{
    const kiln_setting *setting = look(config, "sandbox", "uids", KILN_TYPE_UID_RANGE);
    if (setting == NULL || setting->value.text[0] == '\0') {
        *first = *count = 0;
        return 0;
    }
    *first = (uint32_t)setting->value.number;
    *count = (uint32_t)(setting->value.last - setting->value.number + 1);
    return 1;
}

const char *const *kiln_config_names(const kiln_config *config, const char *family)
{
    static const char *const none[] = {NULL};
    const kiln_section_spec *spec = kiln_schema_section(family, strlen(family));
    if (spec == NULL || spec->placeholder == NULL) {
        kiln_log(KILN_LOG_ERROR, "config", "bug: [%s NAME] was asked for and is no family",
                 family);
        return none;
    }
    return config->names[spec - kiln_schema];
}

static uint64_t thousandths(const kiln_config *config, const char *section, const char *key)
{
    const kiln_setting *setting = look(config, section, key, KILN_TYPE_DECIMAL);
    return setting == NULL ? 0 : (uint64_t)setting->value.number;
}

kiln_limits kiln_config_limits(const kiln_config *config)
{
    return (kiln_limits){
        .size = sizeof(kiln_limits),
        .timeout_ms = kiln_config_duration(config, "limits", "timeout"),
        .cpu_ms = kiln_config_duration(config, "limits", "cpu"),
        .memory = kiln_config_size(config, "limits", "memory"),
        .processes = (uint64_t)kiln_config_integer(config, "limits", "processes"),
        .output = kiln_config_size(config, "limits", "output"),
        .disk = kiln_config_size(config, "limits", "disk"),
        .files = (uint64_t)kiln_config_integer(config, "limits", "files"),
        .open_files = (uint64_t)kiln_config_integer(config, "limits", "open_files"),
        .file_size = kiln_config_size(config, "limits", "file_size"),
        .cpus = thousandths(config, "limits", "cpus"),
    };
}
