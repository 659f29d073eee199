#include "cli/check_connections.h"

#include "connection/arn.h"
#include "connection/fetch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As a program is started: through the PATH, or where its name says. */
static bool is_program(const char *word, const char *path)
{
    char file[PATH_MAX];
    if (strchr(word, '/') != NULL) {
        return word[0] == '/' && access(word, X_OK) == 0;
    }
    while (path != NULL && *path != '\0') {
        size_t length = strcspn(path, ":");
        snprintf(file, sizeof(file), "%.*s/%s", (int)length, path, word);
        if (length > 0 && access(file, X_OK) == 0) {
            return true;
        }
        path += length + (path[length] == ':');
    }
    return false;
}

static json_t *check_one(const kiln_config *config, const char *name, bool git)
{
    char section[80], url[KILN_ENDPOINT_MAX] = "";
    kiln_error err = KILN_ERROR_INIT;
    char repository[] = "";
    kiln_origin origin = {.kind = KILN_ORIGIN_CONNECTION,
                          .connection = (char *)(uintptr_t)name,
                          .repository = repository};
    snprintf(section, sizeof(section), "connection %s", name);
    const char *const *helper = kiln_config_words(config, section, "credential_helper");
    int rc = kiln_connection_url(config, &origin, url, sizeof(url), &err);
    if (rc == 0) {
        url[strlen(url) - strlen(".git")] = '\0';
    }
    if (rc == 0 && !git) {
        rc = kiln_error_set(&err, -ENOENT, "there is no program git: install it");
    }
    if (rc == 0 && helper != NULL && !is_program(helper[0], getenv("PATH"))) {
        rc = kiln_error_set(&err, -ENOENT,
                            "there is no program \"%s\" for credential_helper: name one of the "
                            "PATH, or its whole path",
                            helper[0]);
    }
    json_t *entry = json_pack("{s:s, s:b, s:s, s:b}", "name", name, "ok", rc == 0, "endpoint",
                              url, "credential_helper", helper != NULL);
    if (rc < 0) {
        json_object_set_new(entry, "error", json_string(err.text));
    }
    return entry;
}

json_t *kiln_check_connections(const kiln_config *config)
{
    json_t *list = json_array();
    bool git = is_program("git", "/usr/local/bin:/usr/bin:/bin");
    for (const char *const *name = kiln_config_names(config, "connection"); *name != NULL;
         name++) {
        json_array_append_new(list, check_one(config, *name, git));
    }
    return list;
}
