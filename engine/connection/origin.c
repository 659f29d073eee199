#include "connection/origin.h"

#include "config/reader.h"
#include "connection/arn.h"
#include "contract/input.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct scheme {
    const char *prefix;
    size_t skip; /* of the text, before what the address begins with */
    kiln_origin_kind kind;
} schemes[] = {
    {"connection:", 11, KILN_ORIGIN_CONNECTION},
    {"git+https:", 4, KILN_ORIGIN_GIT},
    {"git+http:", 4, KILN_ORIGIN_GIT}, /* to be refused with its reason */
    {"file:", 5, KILN_ORIGIN_FILE},
};

static const struct scheme *scheme_of(const char *text)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (strncmp(text, schemes[i].prefix, strlen(schemes[i].prefix)) == 0) {
            return &schemes[i];
        }
    }
    return NULL;
}

bool kiln_origin_is(const char *text)
{
    return scheme_of(text) != NULL;
}

bool kiln_ref_is_commit(const char *ref)
{
    size_t length = strspn(ref, "0123456789abcdef");
    return ref[length] == '\0' && (length == 40 || length == 64);
}

/* What git-check-ref-format(1) refuses, and what would be an option or a refspec. */
static int check_ref(const char *ref, kiln_error *err)
{
    size_t length = strlen(ref);
    if (length == 0 || length > 255) {
        return kiln_error_set(err, EINVAL, "its REF is %s",
                              length == 0 ? "empty: leave the \"@\" out, or name a branch, a "
                                            "tag or a commit"
                                          : "longer than 255 bytes");
    }
    const char *wrong = NULL;
    for (const char *c = ref; *c != '\0' && wrong == NULL; c++) {
        if ((unsigned char)*c <= 0x20 || *c == 0x7f || strchr("~^:?*[\\@{}", *c) != NULL) {
            wrong = "holds a character that no branch or tag has";
        }
    }
    if (ref[0] == '-' || ref[0] == '+' || ref[0] == '/' || ref[0] == '.') {
        wrong = "begins with a character that no branch or tag begins with";
    } else if (ref[length - 1] == '/' || ref[length - 1] == '.' || strstr(ref, "..") != NULL ||
               strstr(ref, "//") != NULL || strstr(ref, "/.") != NULL ||
               (length >= 5 && strcmp(ref + length - 5, ".lock") == 0)) {
        wrong = "is no name of a branch, a tag or a commit";
    }
    return wrong == NULL ? 0 : kiln_error_set(err, EINVAL, "its REF \"%.40s\" %s", ref, wrong);
}

static int check_repository(const char *repository, kiln_error *err)
{
    size_t parts = 1;
    for (const char *c = repository; *c != '\0'; c++) {
        parts += *c == '/';
        if (!isalnum((unsigned char)*c) && strchr("-._/", *c) == NULL) {
            return kiln_error_set(err, EINVAL,
                                  "OWNER/REPO is \"%.60s\": letters, digits, - _ . are allowed",
                                  repository);
        }
    }
    kiln_error ignored;
    if (parts < 2 || repository[0] == '-' || kiln_file_name_check(repository, &ignored) < 0) {
        return kiln_error_set(err, EINVAL,
                              "\"%.60s\" is no OWNER/REPO; write "
                              "connection:NAME/OWNER/REPO@REF:PATH",
                              repository);
    }
    return 0;
}

/* "REST[@REF][:PATH]": cuts `rest` behind the repository, fills ref, path and folder. */
static int split(char *rest, kiln_origin *origin, kiln_error *err)
{
    /* In an address the first ":" behind the host's is ours. */
    char *from = origin->kind == KILN_ORIGIN_GIT ? strchr(rest + 8, '/') : rest;
    char *at = from != NULL ? from + strcspn(from, "@:") : rest + strlen(rest);
    char *path = *at == '@' ? at + strcspn(at, ":") : at;
    bool has_ref = *at == '@', has_path = *path == ':';
    *path = '\0';
    path += has_path;
    *at = '\0';
    origin->ref = strdup(has_ref ? at + 1 : "HEAD");
    size_t length = strlen(path);
    origin->folder = length == 0 || path[length - 1] == '/';
    if (length > 0 && path[length - 1] == '/') {
        path[--length] = '\0';
    }
    origin->path = strdup(path);
    if (origin->ref == NULL || origin->path == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    int rc = check_ref(origin->ref, err);
    if (rc == 0 && length > 0 && kiln_file_name_check(path, err) < 0) {
        rc = kiln_error_wrap(err, "its PATH");
    }
    return rc;
}

static int take_connection(char *rest, kiln_origin *origin, kiln_error *err)
{
    size_t name = strcspn(rest, "/");
    if (rest[name] == '\0' || !kiln_ini_name_valid(rest, name)) {
        return kiln_error_set(err, EINVAL, "write connection:NAME/OWNER/REPO@REF:PATH");
    }
    origin->connection = strndup(rest, name);
    origin->repository = strdup(rest + name + 1);
    if (origin->connection == NULL || origin->repository == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    int rc = split(origin->repository, origin, err);
    return rc < 0 ? rc : check_repository(origin->repository, err);
}

static int take_url(const char *url, kiln_origin *origin, kiln_error *err)
{
    origin->repository = strdup(url);
    if (origin->repository == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    if (strncmp(url, "https://", 8) != 0) {
        return kiln_error_set(err, EINVAL,
                              "git+https:// is what is spoken; a [connection NAME] with an "
                              "endpoint is for anything else");
    }
    size_t host = 8 + strcspn(url + 8, "/");
    if (memchr(url, '@', host) != NULL) { /* or its user would be taken for a REF */
        return kiln_git_url_check(url, 0, err);
    }
    int rc = split(origin->repository, origin, err);
    rc = rc < 0 ? rc : kiln_git_url_check(origin->repository, 0, err);
    const char *name = strrchr(origin->repository, '/');
    if (rc == 0 && (name < origin->repository + 8 || name[1] == '\0')) {
        rc = kiln_error_set(err, EINVAL, "names no repository");
    }
    return rc;
}

static int parse(const char *text, kiln_origin *origin, kiln_error *err)
{
    const struct scheme *scheme = scheme_of(text);
    if (scheme == NULL) {
        return kiln_error_set(err, EINVAL, "is none of connection:, git+https:, file:");
    }
    origin->kind = scheme->kind;
    const char *rest = text + scheme->skip;
    if (strlen(rest) > 4000) {
        return kiln_error_set(err, EINVAL, "is too long");
    }
    if (scheme->kind == KILN_ORIGIN_FILE) {
        size_t length = strlen(rest);
        origin->folder = length > 1 && rest[length - 1] == '/';
        origin->path = strndup(rest, length - (origin->folder ? 1 : 0));
        if (origin->path == NULL) {
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
        return length > 0 ? 0 : kiln_error_set(err, EINVAL, "names no file");
    }
    char *copy = strdup(rest);
    if (copy == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    int rc = scheme->kind == KILN_ORIGIN_CONNECTION ? take_connection(copy, origin, err)
                                                    : take_url(copy, origin, err);
    free(copy);
    return rc;
}

int kiln_origin_parse(const char *text, kiln_origin *origin, kiln_error *err)
{
    *origin = (kiln_origin){.kind = KILN_ORIGIN_FILE};
    int rc = parse(text, origin, err);
    if (rc == -EINVAL && strstr(text, "://") != NULL && strchr(text, '@') != NULL) {
        return kiln_error_wrap(err, "source"); /* what stands before an @ may be a secret */
    }
    return rc < 0 ? kiln_error_wrap(err, "source \"%.120s\"", text) : 0;
}

void kiln_origin_free(kiln_origin *origin)
{
    free(origin->connection);
    free(origin->repository);
    free(origin->ref);
    free(origin->path);
    *origin = (kiln_origin){.kind = KILN_ORIGIN_FILE};
}

const char *kiln_origin_base_name(const kiln_origin *origin)
{
    const char *name = origin->path[0] != '\0' ? origin->path : origin->repository;
    const char *slash = name != NULL ? strrchr(name, '/') : NULL;
    return slash != NULL ? slash + 1 : name;
}
