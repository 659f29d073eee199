#include "cli/setup.h"

#include "base/cleanup.h"
#include "bundle/bundle.h"
#include "cli/command.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int kiln_setup(const char *file, const char *const *set, kiln_paths *paths,
               kiln_config **config, char **file_used, int *status, kiln_error *err)
{
    char runtimes[sizeof(paths->conf) + 32], shipped[sizeof(paths->conf) + 32];
    *status = KILN_EXIT_ENGINE;
    int rc = kiln_paths_find(paths, err);
    if (rc < 0) {
        return rc;
    }
    snprintf(runtimes, sizeof(runtimes), "%s/runtimes.ini", paths->conf);
    snprintf(shipped, sizeof(shipped), "%s/kiln.ini", paths->conf);
    auto_free char *found = file != NULL ? strdup(file) : kiln_config_find_file(shipped);
    const kiln_config_sources sources = {
        .file =
            found != NULL ? found : "", /* "": none was found, and none is to be looked for */
        .runtimes = runtimes,
        .environ_ = (const char *const *)environ,
        .set = set,
    };
    *status = KILN_EXIT_USAGE;
    rc = kiln_config_load(&sources, config, err);
    if (rc == 0 && file_used != NULL) {
        *file_used = kiln_steal(found);
    }
    return rc;
}

int kiln_open_failure_status(int rc)
{
    /* -EINVAL: a script, a plugin's option or a key is wrong, and the text says where. */
    return rc == -EINVAL ? KILN_EXIT_USAGE : KILN_EXIT_ENGINE;
}

int kiln_setup_bundle(const char *file, const char **set, size_t count, kiln_paths *paths,
                      kiln_config **config, char ***words, int *status, kiln_error *err)
{
    int rc = kiln_setup(file, set, paths, config, NULL, status, err);
    if (rc < 0) {
        return rc;
    }
    rc = kiln_bundle_settings(*config, words);
    kiln_config_free(*config);
    if (rc < 0) {
        *status = KILN_EXIT_ENGINE;
        return kiln_error_errno(err, rc, "archive");
    }
    set[count] = (*words)[0];
    set[count + 1] = (*words)[1];
    return kiln_setup(file, set, paths, config, NULL, status, err);
}

void kiln_bundle_words_free(char **words)
{
    for (char **word = words; word != NULL && *word != NULL; word++) {
        free(*word);
    }
    free(words);
}

const char *kiln_client(const char *named)
{
    static char name[256];
    if (named == NULL && name[0] == '\0') {
        char space[4096];
        struct passwd entry, *found = NULL;
        if (getpwuid_r(getuid(), &entry, space, sizeof(space), &found) == 0 && found != NULL &&
            found->pw_name[0] != '\0') {
            snprintf(name, sizeof(name), "%s", found->pw_name);
        } else {
            snprintf(name, sizeof(name), "%u", (unsigned)getuid());
        }
    }
    return named != NULL ? named : name;
}
