#include "connection/git.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const settings[] = {
    "protocol.allow=never",
    "protocol.https.allow=always",
    "http.followRedirects=false", /* an answer must not send us, or a secret, elsewhere */
    "credential.helper=",
    "core.askPass=",
    "core.hooksPath=/dev/null",
    "core.symlinks=false",
    "core.fsmonitor=false",
    "transfer.fsckObjects=true",
    "fetch.fsckObjects=true",
    "fetch.recurseSubmodules=false",
    "fetch.unpackLimit=1", /* one pack, so that a limit on one file bounds it */
    "gc.auto=0",
    "maintenance.auto=false",
    "safe.directory=*", /* what is in the cache is data, and nothing in it is run */
};
enum { SETTINGS = sizeof(settings) / sizeof(settings[0]) };

static const char *const fixed_environment[] = {
    "PATH=/usr/local/bin:/usr/bin:/bin",
    "LC_ALL=C",
    "HOME=/nonexistent",
    "GIT_CONFIG_NOSYSTEM=1",
    "GIT_CONFIG_GLOBAL=/dev/null",
    "GIT_ATTR_NOSYSTEM=1",
    "GIT_TERMINAL_PROMPT=0",
    "GIT_LITERAL_PATHSPECS=1",
    "GIT_NO_REPLACE_OBJECTS=1",
    "GIT_NO_LAZY_FETCH=1",
    "GIT_OPTIONAL_LOCKS=0",
};

/* What a machine behind a proxy, or with certificates of its own, needs. */
static const char *const passed_on[] = {
    "https_proxy=", "HTTPS_PROXY=", "http_proxy=",    "all_proxy=",   "ALL_PROXY=",
    "no_proxy=",    "NO_PROXY=",    "SSL_CERT_FILE=", "SSL_CERT_DIR="};

static int add(char ***list, size_t *count, char *text)
{
    char **grown = text != NULL ? reallocarray(*list, *count + 2, sizeof(*grown)) : NULL;
    if (grown == NULL) {
        free(text);
        return -ENOMEM;
    }
    grown[(*count)++] = text;
    grown[*count] = NULL;
    *list = grown;
    return 0;
}

void kiln_strings_free(char **strings)
{
    for (char **at = strings; at != NULL && *at != NULL; at++) {
        free(*at);
    }
    free(strings);
}

static int fill_environment(kiln_git *git, const char *url, const char *authorization)
{
    size_t count = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(fixed_environment) / sizeof(char *); i++) {
        rc = add(&git->env, &count, strdup(fixed_environment[i]));
    }
    for (char **entry = environ; rc == 0 && entry != NULL && *entry != NULL; entry++) {
        for (size_t i = 0; rc == 0 && i < sizeof(passed_on) / sizeof(char *); i++) {
            if (strncmp(*entry, passed_on[i], strlen(passed_on[i])) == 0) {
                rc = add(&git->env, &count, strdup(*entry));
            }
        }
    }
    if (rc < 0 || authorization == NULL) {
        return rc;
    }
    char *key = NULL, *value = NULL;
    rc = add(&git->env, &count, strdup("GIT_CONFIG_COUNT=1"));
    if (rc == 0 && asprintf(&key, "GIT_CONFIG_KEY_0=http.%s.extraHeader", url) < 0) {
        key = NULL;
    }
    rc = rc < 0 ? rc : add(&git->env, &count, key);
    if (rc == 0 &&
        asprintf(&value, "GIT_CONFIG_VALUE_0=Authorization: %s", authorization) < 0) {
        value = NULL;
    }
    return rc < 0 ? rc : add(&git->env, &count, value);
}

int kiln_git_prepare(kiln_git *git, const char *folder, const char *url,
                     const char *authorization, const char *const *words, kiln_error *err)
{
    size_t count = 0;
    *git = (kiln_git){.env = NULL};
    git->argv[count++] = "git";
    for (size_t i = 0; i < SETTINGS; i++) {
        git->argv[count++] = "-c";
        git->argv[count++] = settings[i];
    }
    if (url != NULL && strncmp(url, "http://", 7) == 0) {
        git->argv[count++] = "-c";
        git->argv[count++] = "protocol.http.allow=always";
    }
    if (folder != NULL) {
        snprintf(git->repository, sizeof(git->repository), "--git-dir=%s", folder);
        git->argv[count++] = git->repository;
    }
    while (*words != NULL && count + 1 < KILN_GIT_WORDS_MAX) {
        git->argv[count++] = *words++;
    }
    git->argv[count] = NULL;
    if (fill_environment(git, url, authorization) < 0) {
        kiln_git_free(git);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    return 0;
}

void kiln_git_free(kiln_git *git)
{
    for (char **at = git->env; at != NULL && *at != NULL; at++) {
        explicit_bzero(*at, strlen(*at));
    }
    kiln_strings_free(kiln_steal(git->env));
}

char **kiln_credential_environment(void)
{
    char **list = calloc(1, sizeof(*list));
    size_t count = 0;
    for (char **entry = environ; list != NULL && entry != NULL && *entry != NULL; entry++) {
        if (strncmp(*entry, "KILN_", 5) != 0 && strncmp(*entry, "GIT_", 4) != 0 &&
            add(&list, &count, strdup(*entry)) < 0) {
            kiln_strings_free(list);
            return NULL;
        }
    }
    return list;
}
