#include "contract/input.h"

#include "base/cleanup.h"
#include "base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int append_string(char ***list, const char *value)
{
    size_t count = 0;
    while ((*list)[count] != NULL) {
        count++;
    }
    char **grown = realloc(*list, (count + 2) * sizeof(*grown));
    if (grown == NULL) {
        return -ENOMEM;
    }
    *list = grown;
    grown[count + 1] = NULL;
    grown[count] = strdup(value);
    return grown[count] == NULL ? -ENOMEM : 0;
}

static void free_strings(char **list)
{
    if (list != NULL) {
        for (char **p = list; *p != NULL; p++) {
            free(*p);
        }
        free(list);
    }
}

int kiln_request_set_string(char **field, const char *value)
{
    char *copy = NULL;
    if (value != NULL && (copy = strdup(value)) == NULL) {
        return -ENOMEM;
    }
    free(*field);
    *field = copy;
    return 0;
}

static int set_bytes(char **field, size_t *field_length, const void *data, size_t length)
{
    char *copy = malloc(length + 1);
    if (copy == NULL) {
        return -ENOMEM;
    }
    if (length > 0) {
        memcpy(copy, data, length);
    }
    copy[length] = '\0';
    free(*field);
    *field = copy;
    *field_length = length;
    return 0;
}

kiln_request *kiln_request_new(void)
{
    kiln_request *request = calloc(1, sizeof(*request));
    if (request == NULL) {
        return NULL;
    }
    request->limits.size = sizeof(request->limits);
    request->args = calloc(1, sizeof(char *));
    request->env = calloc(1, sizeof(char *));
    if (request->args == NULL || request->env == NULL ||
        kiln_request_set_code(request, "", 0) < 0 ||
        kiln_request_set_string(&request->language, "python") < 0) {
        kiln_request_free(request);
        return NULL;
    }
    return request;
}

void kiln_request_free(kiln_request *request)
{
    if (request == NULL) {
        return;
    }
    for (size_t i = 0; i < request->input_file_count; i++) {
        kiln_input_file *file = &request->input_files[i];
        free(file->name);
        free(file->path);
        free(file->content);
        free(file->mime_type);
    }
    free(request->input_files);
    free_strings(request->args);
    free_strings(request->env);
    free(request->session_id);
    free(request->code);
    free(request->cell_id);
    free(request->language);
    free(request->stdin_data);
    free(request->backend);
    free(request->chain);
    free(request);
}

int kiln_request_set_code(kiln_request *request, const char *code, size_t length)
{
    return set_bytes(&request->code, &request->code_length, code, length);
}

int kiln_request_set_stdin(kiln_request *request, const char *data, size_t length)
{
    return set_bytes(&request->stdin_data, &request->stdin_length, data, length);
}

int kiln_request_add_arg(kiln_request *request, const char *arg)
{
    return append_string(&request->args, arg);
}

int kiln_request_add_env(kiln_request *request, const char *assignment)
{
    return append_string(&request->env, assignment);
}

int kiln_request_add_file(kiln_request *request, const char *name, const char *path,
                          const void *content, size_t length, const char *mime_type)
{
    kiln_input_file *files =
        realloc(request->input_files, (request->input_file_count + 1) * sizeof(*files));
    if (files == NULL) {
        return -ENOMEM;
    }
    request->input_files = files;
    kiln_input_file *file = &files[request->input_file_count];
    memset(file, 0, sizeof(*file));
    request->input_file_count++; /* from here kiln_request_free frees its parts */
    if (kiln_request_set_string(&file->name, name) < 0 ||
        kiln_request_set_string(&file->path, path) < 0 ||
        kiln_request_set_string(&file->mime_type, mime_type) < 0) {
        return -ENOMEM;
    }
    return path != NULL ? 0 : set_bytes(&file->content, &file->length, content, length);
}

kiln_request *kiln_request_copy(const kiln_request *request)
{
    kiln_request *copy = kiln_request_new();
    if (copy == NULL) {
        return NULL;
    }
    int rc = kiln_request_set_code(copy, request->code, request->code_length);
    rc = rc < 0 ? rc : kiln_request_set_string(&copy->session_id, request->session_id);
    rc = rc < 0 ? rc : kiln_request_set_string(&copy->cell_id, request->cell_id);
    rc = rc < 0 ? rc : kiln_request_set_string(&copy->language, request->language);
    rc = rc < 0 ? rc : kiln_request_set_string(&copy->backend, request->backend);
    rc = rc < 0 ? rc : kiln_request_set_string(&copy->chain, request->chain);
    if (rc == 0 && request->stdin_data != NULL) {
        rc = kiln_request_set_stdin(copy, request->stdin_data, request->stdin_length);
    }
    for (size_t i = 0; rc == 0 && request->args[i] != NULL; i++) {
        rc = kiln_request_add_arg(copy, request->args[i]);
    }
    for (size_t i = 0; rc == 0 && request->env[i] != NULL; i++) {
        rc = kiln_request_add_env(copy, request->env[i]);
    }
    for (size_t i = 0; rc == 0 && i < request->input_file_count; i++) {
        const kiln_input_file *file = &request->input_files[i];
        rc = kiln_request_add_file(copy, file->name, file->path, file->content, file->length,
                                   file->mime_type);
    }
    copy->limits = request->limits;
    copy->transaction = request->transaction;
    if (rc < 0) {
        kiln_request_free(copy);
        return NULL;
    }
    return copy;
}

int kiln_file_name_check(const char *name, kiln_error *err)
{
    size_t length = strlen(name);
    if (length == 0 || length > KILN_NAME_MAX) {
        return kiln_error_set(err, EINVAL, "input file name of %zu bytes: 1 to %d are allowed",
                              length, KILN_NAME_MAX);
    }
    if (name[0] == '/') {
        return kiln_error_set(err, EINVAL,
                              "input file name \"%s\" is absolute: name it relative to the "
                              "work directory",
                              name);
    }
    if (!kiln_utf8_valid(name, length)) {
        return kiln_error_set(err, EINVAL, "input file name \"%s\" is not UTF-8", name);
    }
    const char *part = name;
    for (;;) {
        size_t n = strcspn(part, "/");
        if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && memcmp(part, "..", 2) == 0)) {
            return kiln_error_set(err, EINVAL,
                                  "input file name \"%s\" has an empty, \".\" or \"..\" part: "
                                  "it must be one path inside the work directory",
                                  name);
        }
        if (n > 255) {
            return kiln_error_set(err, EINVAL,
                                  "input file name \"%.40s...\" has a part of %zu bytes: at "
                                  "most 255 are allowed",
                                  name, n);
        }
        if (part[n] == '\0') {
            break;
        }
        part += n + 1;
    }
    for (const char *p = name; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            return kiln_error_set(err, EINVAL, "input file name \"%s\" has a control character",
                                  name);
        }
    }
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "a" and "a/b" cannot both be: a file is no folder. Sorted by strcmp the two need not be
 * neighbours ("a", "a-x", "a/b"), so every leading part is looked up. */
static int check_collisions(const kiln_request *request, kiln_error *err)
{
    size_t count = request->input_file_count;
    if (count < 2) {
        return 0;
    }
    auto_free const char **names = malloc(count * sizeof(*names));
    if (names == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = request->input_files[i].name;
    }
    qsort(names, count, sizeof(*names), compare_names);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            return kiln_error_set(err, EINVAL, "input file name \"%s\" is given twice",
                                  names[i]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        char parent[KILN_NAME_MAX + 1];
        for (const char *slash = strchr(names[i], '/'); slash != NULL;
             slash = strchr(slash + 1, '/')) {
            memcpy(parent, names[i], (size_t)(slash - names[i]));
            parent[slash - names[i]] = '\0';
            const char *key = parent;
            if (bsearch(&key, names, count, sizeof(*names), compare_names) != NULL) {
                return kiln_error_set(err, EINVAL,
                                      "input file \"%s\" is also the folder of \"%s\"", parent,
                                      names[i]);
            }
        }
    }
    return 0;
}

static bool is_identifier(const char *text, size_t length)
{
    if (length == 0 || isdigit((unsigned char)text[0])) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (!isalnum((unsigned char)text[i]) && text[i] != '_') {
            return false;
        }
    }
    return true;
}

static int check_words(const kiln_request *request, kiln_error *err)
{
    size_t count = 0;
    for (size_t i = 0; request->args[i] != NULL; i++, count++) {
        if (!kiln_utf8_valid(request->args[i], strlen(request->args[i]))) {
            return kiln_error_set(err, EINVAL, "args[%zu] is not UTF-8", i);
        }
    }
    for (size_t i = 0; request->env[i] != NULL; i++, count++) {
        const char *equals = strchr(request->env[i], '=');
        if (equals == NULL ||
            !is_identifier(request->env[i], (size_t)(equals - request->env[i]))) {
            /* the value may be a secret: only the name is shown */
            return kiln_error_set(err, EINVAL, "env: \"%.*s\" is not a variable's name",
                                  (int)strcspn(request->env[i], "="), request->env[i]);
        }
        if (!kiln_utf8_valid(request->env[i], strlen(request->env[i]))) {
            return kiln_error_set(err, EINVAL, "env: the value of %.*s is not UTF-8",
                                  (int)(equals - request->env[i]), request->env[i]);
        }
    }
    if (count > KILN_ARGS_MAX) {
        return kiln_error_set(err, E2BIG, "%zu args and env entries: at most %d are allowed",
                              count, KILN_ARGS_MAX);
    }
    return 0;
}

int kiln_request_validate(const kiln_request *request, kiln_error *err)
{
    if (request->code_length > KILN_CODE_MAX) {
        return kiln_error_set(err, E2BIG,
                              "code is %zu bytes: at most %d are allowed; give data as an "
                              "input file",
                              request->code_length, KILN_CODE_MAX);
    }
    const char *nul = memchr(request->code, '\0', request->code_length);
    if (nul != NULL) {
        return kiln_error_set(err, EINVAL, "code has a NUL byte at offset %td: is it text?",
                              nul - request->code);
    }
    if (!kiln_utf8_valid(request->code, request->code_length)) {
        return kiln_error_set(err, EINVAL, "code is not UTF-8: convert it first");
    }
    if (request->language[0] == '\0') {
        return kiln_error_set(err, EINVAL, "language is empty");
    }
    for (size_t i = 0; i < request->input_file_count; i++) {
        int rc = kiln_file_name_check(request->input_files[i].name, err);
        if (rc < 0) {
            return rc;
        }
    }
    int rc = check_collisions(request, err);
    return rc < 0 ? rc : check_words(request, err);
}
