/* The functions that there are. */
#include "native/native-t.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

static void free_function(kiln_native_function *function)
{
    if (function != NULL) {
        free(function->name);
        free(function->group);
        free(function->library);
        free(function->symbol);
        free(function->text);
        free(function);
    }
}

static void free_functions(kiln_native_function **functions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free_function(functions[i]);
    }
    free(functions);
}

static kiln_native_function *find(kiln_native_function *const *functions, size_t count,
                                  const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(functions[i]->name, name) == 0) {
            return functions[i];
        }
    }
    return NULL;
}

/* NULL and err: out of memory, or what is wrong with the signature. */
static kiln_native_function *new_function(const char *name, const char *library,
                                          const char *symbol, const char *signature,
                                          kiln_error *err)
{
    kiln_native_function *function = calloc(1, sizeof(*function));
    const char *dot = strchr(name, '.');
    if (function != NULL) {
        function->name = strdup(name);
        function->group = strndup(name, strcspn(name, "."));
        function->library = strdup(library);
        function->symbol = strdup(symbol != NULL && symbol[0] != '\0' ? symbol
                                  : dot != NULL                       ? dot + 1
                                                                      : name);
        function->text = strdup(signature);
    }
    if (function == NULL || function->name == NULL || function->group == NULL ||
        function->library == NULL || function->symbol == NULL || function->text == NULL) {
        kiln_error_set(err, ENOMEM, "out of memory");
    } else if (kiln_native_signature_parse(signature, &function->signature, err) == 0) {
        return function;
    }
    free_function(function);
    return NULL;
}

static kiln_native_function *from_section(const kiln_config *config, const char *name,
                                          kiln_error *err)
{
    char section[128];
    snprintf(section, sizeof(section), "native %s", name);
    const char *signature = kiln_config_string(config, section, "signature");
    kiln_native_function *function = new_function(
        name, kiln_config_string(config, section, "library"),
        kiln_config_string(config, section, "symbol"), signature != NULL ? signature : "", err);
    if (function == NULL) {
        kiln_error_wrap(err, "[%s] signature", section);
        return NULL;
    }
    for (const char *const *word = kiln_config_list(config, section, "expose"); *word != NULL;
         word++) {
        function->exposure |=
            strcmp(*word, "code") == 0 ? KILN_NATIVE_TO_CODE : KILN_NATIVE_TO_POLICY;
    }
    function->timeout_ms = kiln_config_duration(config, section, "timeout");
    function->memory = kiln_config_size(config, section, "memory");
    return function;
}

/* kiln.native.zlib cannot be a function and have functions. */
static int check_group(kiln_native_function *const *functions, size_t count,
                       const kiln_native_function *function, kiln_error *err)
{
    for (size_t i = 0; i < count; i++) {
        bool same = strcmp(functions[i]->group, function->group) == 0;
        bool dotted = strchr(functions[i]->name, '.') != NULL;
        if (strcmp(functions[i]->name, function->name) == 0 ||
            (same && dotted != (strchr(function->name, '.') != NULL))) {
            return kiln_error_set(err, EINVAL,
                                  "[native %s]: there is %s already; give one of them another "
                                  "name",
                                  function->name, functions[i]->name);
        }
    }
    return 0;
}

int kiln_natives_configure(kiln_natives *natives, const kiln_config *config, kiln_error *err)
{
    const char *const *names = kiln_config_names(config, "native");
    size_t room = natives->count;
    size_t count = 0;
    for (size_t i = 0; names[i] != NULL; i++) {
        room++;
    }
    kiln_native_function **list = calloc(room + 1, sizeof(*list));
    int rc = list != NULL ? 0 : kiln_error_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < natives->count; i++) {
        if (natives->functions[i]->exported) {
            list[count++] = natives->functions[i];
        }
    }
    size_t exported = count;
    for (size_t i = 0; rc == 0 && names[i] != NULL; i++) {
        char section[128];
        snprintf(section, sizeof(section), "native %s", names[i]);
        if (kiln_config_string(config, section, "library") == NULL) {
            continue; /* switched off */
        }
        kiln_native_function *function = from_section(config, names[i], err);
        rc = function != NULL ? check_group(list, count, function, err) : err->code;
        if (rc == 0) {
            list[count++] = function;
        } else {
            free_function(function);
        }
    }
    if (rc < 0) {
        for (size_t i = exported; i < count; i++) {
            free_function(list[i]);
        }
        free(list);
        return rc;
    }
    for (size_t i = 0; i < natives->count; i++) {
        if (!natives->functions[i]->exported) {
            free_function(natives->functions[i]);
        }
    }
    free(natives->functions);
    natives->functions = list;
    natives->count = count;
    return 0;
}

int kiln_natives_export(kiln_natives *natives, const char *plugin, const char *library,
                        const kiln_function *exported, kiln_error *err)
{
    char name[128];
    int length = snprintf(name, sizeof(name), "%s.%s", plugin, exported->name);
    if (length < 0 || (size_t)length >= sizeof(name) || !kiln_native_name_valid(name)) {
        return kiln_error_set(err, EINVAL,
                              "function \"%s\": a word of letters, digits and _ expected",
                              exported->name);
    }
    kiln_native_function *function =
        new_function(name, library, exported->symbol, exported->signature, err);
    if (function == NULL) {
        return kiln_error_wrap(err, "function \"%s\"", exported->name);
    }
    function->exported = true;
    function->exposure = (exported->flags & KILN_FUNCTION_CODE ? KILN_NATIVE_TO_CODE : 0) |
                         (exported->flags & KILN_FUNCTION_POLICY ? KILN_NATIVE_TO_POLICY : 0);
    function->timeout_ms = 5000;
    function->memory = 256 << 20;
    int rc = check_group(natives->functions, natives->count, function, err);
    kiln_native_function **more =
        rc == 0 ? reallocarray(natives->functions, natives->count + 1, sizeof(*more)) : NULL;
    if (more == NULL) {
        free_function(function);
        return rc < 0 ? rc : kiln_error_set(err, ENOMEM, "out of memory");
    }
    natives->functions = more;
    natives->functions[natives->count++] = function;
    return 0;
}

const kiln_native_function *kiln_natives_lookup(const kiln_natives *natives, const char *name,
                                                unsigned exposure)
{
    const kiln_native_function *function = find(natives->functions, natives->count, name);
    return function != NULL && (function->exposure & exposure) != 0 ? function : NULL;
}

kiln_native_found kiln_natives_find(const kiln_natives *natives, const char *name,
                                    unsigned exposure)
{
    if (kiln_natives_lookup(natives, name, exposure) != NULL) {
        return KILN_NATIVE_FUNCTION;
    }
    for (size_t i = 0; i < natives->count; i++) {
        if (strcmp(natives->functions[i]->group, name) == 0 &&
            (natives->functions[i]->exposure & exposure) != 0) {
            return KILN_NATIVE_GROUP;
        }
    }
    return KILN_NATIVE_NONE;
}

json_t *kiln_natives_to_json(const kiln_natives *natives)
{
    json_t *list = json_array();
    for (size_t i = 0; i < natives->count; i++) {
        const kiln_native_function *function = natives->functions[i];
        json_t *expose = json_array();
        if (function->exposure & KILN_NATIVE_TO_POLICY) {
            json_array_append_new(expose, json_string("policy"));
        }
        if (function->exposure & KILN_NATIVE_TO_CODE) {
            json_array_append_new(expose, json_string("code"));
        }
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:o}", "name",
                                              function->name, "library", function->library,
                                              "symbol", function->symbol, "signature",
                                              function->text, "expose", expose));
    }
    return list;
}

int kiln_natives_new(const kiln_natives_spec *spec, kiln_natives **natives, kiln_error *err)
{
    kiln_natives *made = calloc(1, sizeof(*made));
    if (made == NULL || (made->helper = strdup(spec->helper)) == NULL) {
        free(made);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    made->spec = *spec;
    made->spec.helper = made->helper;
    made->spec.sandbox.network = KILN_NETWORK_NONE;
    made->spec.sandbox.root[0] = '\0'; /* the operator's libraries are this machine's */
    *natives = made;
    return 0;
}

void kiln_natives_free(kiln_natives *natives)
{
    if (natives == NULL) {
        return;
    }
    kiln_native_groups_close(natives);
    if (natives->zygote != NULL) {
        kiln_zygote_stop(natives->zygote);
    }
    free_functions(natives->functions, natives->count);
    free(natives->helper);
    free(natives);
}
