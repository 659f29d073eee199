#include "connection/fetch.h"

#include "base/cleanup.h"
#include "base/write.h"
#include "connection/arn.h"
#include "connection/cache.h"
#include "connection/credential.h"
#include "connection/git.h"
#include "connection/tree.h"
#include "contract/input.h"
#include "files/beneath.h"
#include "program/program.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum {
    REFS_MAX = 64 << 10,  /* bytes of ls-remote's answer: four names at most are asked for */
    TREE_MAX = 16 << 20,  /* bytes of ls-tree's */
    MEMORY_MAX = 1 << 30, /* of each git process: 2 GiB of address space */
};

struct kiln_fetch {
    uv_loop_t *loop;
    kiln_origin origin;
    char section[80]; /* "connection main" */
    char url[KILN_ENDPOINT_MAX];
    const kiln_config *config;
    int to_fd;
    uint64_t max_size, deadline; /* of the loop's clock, ms */
    kiln_cache cache;
    char commit[KILN_COMMIT_MAX + 1];
    char folder[KILN_CACHE_PATH_MAX]; /* the commit's repository */
    char *begun;                      /* one that is being fetched */
    kiln_credential credential;
    kiln_program *program;
    kiln_tree tree;
    json_t *files;
    bool offline;
    char notice[512];
    void (*next)(kiln_fetch *fetch, kiln_program_end *end); /* what the program is for */
    void (*done)(void *user, const kiln_fetched *fetched, const kiln_error *err);
    void *user;
};

static void free_fetch(kiln_fetch *fetch)
{
    if (fetch->begun != NULL) {
        kiln_cache_drop(fetch->begun);
    }
    free(fetch->begun);
    kiln_origin_free(&fetch->origin);
    kiln_credential_free(&fetch->credential);
    kiln_tree_free(&fetch->tree);
    json_decref(fetch->files);
    free(fetch);
}

static void succeed(kiln_fetch *fetch)
{
    const kiln_fetched fetched = {
        .commit = fetch->commit,
        .offline = fetch->offline,
        .notice = fetch->offline ? fetch->notice : NULL,
        .files = fetch->files,
        .left_out = fetch->tree.left_out,
    };
    fetch->done(fetch->user, &fetched, NULL);
    free_fetch(fetch);
}

static void fail(kiln_fetch *fetch, kiln_error *err)
{
    kiln_error_wrap(err, "%s %s", fetch->origin.connection != NULL ? fetch->section : "source",
                    fetch->origin.repository);
    fetch->done(fetch->user, NULL, err);
    free_fetch(fetch);
}

/* ---- programs */

static void on_program(void *user, kiln_program_end *end)
{
    kiln_fetch *fetch = user;
    fetch->program = NULL;
    fetch->next(fetch, end);
}

/* True and an error set when the program did not do what it was for. */
static bool failed(kiln_fetch *fetch, const kiln_program_end *end, const char *what,
                   kiln_error *err)
{
    char text[64];
    if (end->exit_code == 0 && end->signal == 0 && !end->timed_out && !end->flooded) {
        return false;
    }
    if (end->timed_out) {
        kiln_error_set(err, ETIMEDOUT, "%s: no end within [%s] timeout", what, fetch->section);
        return true;
    }
    const char *said = end->complaint;
    if (kiln_credential_shows(&fetch->credential, said)) {
        said = "what git said held the secret, and is not told";
    }
    kiln_error_set(err, EIO, "%s: %s", what,
                   said[0] != '\0' ? said : kiln_program_end_text(end, text, sizeof(text)));
    return true;
}

/* Starts git; fails the fetch when that fails. `remote`: it talks to the host. */
static void start_git(kiln_fetch *fetch, const char *folder, bool remote,
                      const char *const *words, const kiln_buffer *input, size_t output_max,
                      void (*next)(kiln_fetch *fetch, kiln_program_end *end))
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_git git;
    uint64_t now = uv_now(fetch->loop);
    int rc =
        now >= fetch->deadline
            ? kiln_error_set(&err, ETIMEDOUT, "no end within [%s] timeout", fetch->section)
            : kiln_git_prepare(&git, folder, remote ? fetch->url : NULL,
                               remote ? fetch->credential.authorization : NULL, words, &err);
    if (rc < 0) {
        fail(fetch, &err);
        return;
    }
    const kiln_program_spec spec = {
        .argv = git.argv,
        .env = (const char *const *)git.env,
        .input = input != NULL ? input->data : NULL,
        .input_length = input != NULL ? input->length : 0,
        .output_max = output_max,
        .timeout_ms = fetch->deadline - now,
        .file_max = fetch->max_size,
        .memory_max = 2ULL * MEMORY_MAX,
    };
    fetch->next = next;
    rc = kiln_program_start(fetch->loop, &spec, on_program, fetch, &fetch->program, &err);
    kiln_git_free(&git);
    if (rc < 0) {
        fetch->program = NULL;
        fail(fetch, &err);
    }
}

/* ---- from the last step to the first: each names the one that follows */

static void on_contents(kiln_fetch *fetch, kiln_program_end *end)
{
    kiln_error err = KILN_ERROR_INIT;
    if (failed(fetch, end, "reading its files", &err) ||
        kiln_tree_write(&fetch->tree, end->output, fetch->to_fd, fetch->files, &err) < 0) {
        fail(fetch, &err);
        return;
    }
    succeed(fetch);
}

static void on_tree(kiln_fetch *fetch, kiln_program_end *end)
{
    static const char *const words[] = {"cat-file", "--batch", NULL};
    kiln_error err = KILN_ERROR_INIT;
    auto_buffer kiln_buffer asked = KILN_BUFFER_INIT;
    if (failed(fetch, end, "reading its tree", &err) ||
        kiln_tree_read(&fetch->tree, &fetch->origin, end->output, fetch->max_size, &err) < 0 ||
        kiln_tree_ask(&fetch->tree, &asked, &err) < 0) {
        fail(fetch, &err);
        return;
    }
    if (asked.length == 0) {
        succeed(fetch);
        return;
    }
    /* Each object comes with a line of its own. */
    start_git(fetch, fetch->folder, false, words, &asked,
              fetch->tree.total + fetch->tree.count * 128 + 1, on_contents);
}

static void read_commit(kiln_fetch *fetch)
{
    char path[KILN_NAME_MAX + 2];
    snprintf(path, sizeof(path), "%s%s", fetch->origin.path,
             fetch->origin.folder && fetch->origin.path[0] != '\0' ? "/" : "");
    const char *const words[] = {"ls-tree",     "-z",
                                 "-l",          fetch->origin.folder ? "-r" : "--full-tree",
                                 fetch->commit, path[0] != '\0' ? "--" : NULL,
                                 path,          NULL};
    start_git(fetch, fetch->folder, false, words, NULL, TREE_MAX, on_tree);
}

static void on_parsed(kiln_fetch *fetch, kiln_program_end *end)
{
    kiln_error err = KILN_ERROR_INIT;
    if (failed(fetch, end, "reading the commit", &err)) {
        fail(fetch, &err);
        return;
    }
    size_t length =
        end->output->length < KILN_COMMIT_MAX ? end->output->length : KILN_COMMIT_MAX;
    snprintf(fetch->commit, sizeof(fetch->commit), "%.*s", (int)length,
             length > 0 ? end->output->data : "");
    fetch->commit[strspn(fetch->commit, "0123456789abcdef")] = '\0';
    if (!kiln_ref_is_commit(fetch->commit)) {
        kiln_error_set(&err, EIO, "reading the commit: git named none");
        fail(fetch, &err);
        return;
    }
    int rc = kiln_cache_keep(&fetch->cache, fetch->begun, fetch->commit, &err);
    if (rc == 0) {
        free(kiln_steal(fetch->begun));
        rc = kiln_cache_set_ref(&fetch->cache, fetch->origin.ref, fetch->commit, &err);
    }
    if (rc < 0) {
        fail(fetch, &err);
        return;
    }
    kiln_cache_has(&fetch->cache, fetch->commit, fetch->folder, sizeof(fetch->folder));
    read_commit(fetch);
}

static void on_fetched(kiln_fetch *fetch, kiln_program_end *end)
{
    static const char *const words[] = {"rev-parse", "--verify", "--end-of-options",
                                        "FETCH_HEAD^{commit}", NULL};
    kiln_error err = KILN_ERROR_INIT;
    if (failed(fetch, end, "fetching", &err)) {
        if (kiln_cache_reached(fetch->begun, fetch->max_size)) {
            kiln_error_set(&err, EFBIG, "is larger than [%s] max_size, %llu bytes",
                           fetch->section, (unsigned long long)fetch->max_size);
        }
        fail(fetch, &err);
        return;
    }
    start_git(fetch, fetch->begun, false, words, NULL, 4096, on_parsed);
}

static void on_begun(kiln_fetch *fetch, kiln_program_end *end)
{
    const char *const words[] = {"fetch",
                                 "--quiet",
                                 "--depth=1",
                                 "--no-tags",
                                 "--no-recurse-submodules",
                                 "--no-auto-gc",
                                 "--no-write-commit-graph",
                                 "--end-of-options",
                                 fetch->url,
                                 fetch->commit,
                                 NULL};
    kiln_error err = KILN_ERROR_INIT;
    if (failed(fetch, end, "the cache", &err)) {
        fail(fetch, &err);
        return;
    }
    start_git(fetch, fetch->begun, true, words, NULL, 4096, on_fetched);
}

/* The commit is known: from the cache, or from the host. */
static void want_commit(kiln_fetch *fetch)
{
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_cache_has(&fetch->cache, fetch->commit, fetch->folder, sizeof(fetch->folder))) {
        if (!fetch->offline &&
            kiln_cache_set_ref(&fetch->cache, fetch->origin.ref, fetch->commit, &err) < 0) {
            fail(fetch, &err);
            return;
        }
        read_commit(fetch);
        return;
    }
    fetch->begun = kiln_cache_begin(&fetch->cache, &err);
    if (fetch->begun == NULL) {
        fail(fetch, &err);
        return;
    }
    const char *object_format = strlen(fetch->commit) == KILN_COMMIT_MAX
                                    ? "--object-format=sha256"
                                    : "--object-format=sha1";
    const char *const words[] = {
        "init", "--quiet", "--bare", "--template=", object_format, fetch->begun, NULL};
    start_git(fetch, NULL, false, words, NULL, 4096, on_begun);
}

/* What git (and curl in it) says when there is nobody to talk to. A host that refuses is
 * another matter: what is in the cache is not for whoever it sends away. */
static bool unreachable(const kiln_program_end *end)
{
    static const char *const words[] = {
        "Could not resolve", "Failed to connect", "Could not connect", "Couldn't connect",
        "timed out",         "Connection reset",  "unreachable",       "early EOF",
        "Empty reply",       "transfer closed",   "returned error: 5", "hung up unexpectedly",
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strstr(end->complaint, words[i]) != NULL) {
            return true;
        }
    }
    return end->timed_out;
}

/* What the name meant last will do, and is told. */
static bool go_offline(kiln_fetch *fetch, const kiln_error *why)
{
    char path[KILN_CACHE_PATH_MAX];
    if (!kiln_cache_ref(&fetch->cache, fetch->origin.ref, fetch->commit) ||
        !kiln_cache_has(&fetch->cache, fetch->commit, path, sizeof(path))) {
        return false;
    }
    fetch->offline = true;
    snprintf(fetch->notice, sizeof(fetch->notice),
             "%s %s: the host does not answer (%.200s); %.60s is taken as it was last seen, "
             "%.12s",
             fetch->section, fetch->origin.repository, why->text, fetch->origin.ref,
             fetch->commit);
    /* Reading what is here has its own time. */
    fetch->deadline =
        uv_now(fetch->loop) + kiln_config_duration(fetch->config, fetch->section, "timeout");
    return true;
}

/* "COMMIT\tNAME\n" lines; of a tag that is an object of its own the "^{}" line counts. As
 * git does: a tag comes before a branch. */
static bool find_ref(kiln_fetch *fetch, const kiln_buffer *output)
{
    static const char *const places[] = {"%s", "refs/tags/%s^{}", "refs/tags/%s",
                                         "refs/heads/%s"};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        char wanted[300];
        size_t at = (size_t)(strstr(places[i], "%s") - places[i]);
        snprintf(wanted, sizeof(wanted), "%.*s%s%s", (int)at, places[i], fetch->origin.ref,
                 places[i] + at + 2);
        for (const char *line = output->data; line != NULL && *line != '\0';
             line = strchr(line, '\n') != NULL ? strchr(line, '\n') + 1 : NULL) {
            size_t commit = strspn(line, "0123456789abcdef");
            size_t name = line[commit] == '\t' ? strcspn(line + commit + 1, "\n") : 0;
            if (name == strlen(wanted) && commit <= KILN_COMMIT_MAX &&
                strncmp(line + commit + 1, wanted, name) == 0) {
                snprintf(fetch->commit, sizeof(fetch->commit), "%.*s", (int)commit, line);
                return kiln_ref_is_commit(fetch->commit);
            }
        }
    }
    return false;
}

static void on_refs(kiln_fetch *fetch, kiln_program_end *end)
{
    kiln_error err = KILN_ERROR_INIT;
    if (failed(fetch, end, "asking the host", &err)) {
        if (!unreachable(end) || !go_offline(fetch, &err)) {
            fail(fetch, &err);
            return;
        }
    } else if (!find_ref(fetch, end->output)) {
        kiln_error_set(&err, ENOENT,
                       "has no branch, tag or commit \"%s\"; a commit is named by its whole id",
                       fetch->origin.ref);
        fail(fetch, &err);
        return;
    }
    want_commit(fetch);
}

static void ask_host(kiln_fetch *fetch)
{
    char names[3][300];
    const char *ref = fetch->origin.ref;
    if (kiln_ref_is_commit(ref)) {
        snprintf(fetch->commit, sizeof(fetch->commit), "%s", ref);
        want_commit(fetch);
        return;
    }
    snprintf(names[0], sizeof(names[0]), "refs/tags/%s", ref);
    snprintf(names[1], sizeof(names[1]), "refs/tags/%s^{}", ref);
    snprintf(names[2], sizeof(names[2]), "refs/heads/%s", ref);
    const char *const words[] = {"ls-remote", "--quiet", "--end-of-options", fetch->url, ref,
                                 names[0],    names[1],  names[2],           NULL};
    start_git(fetch, NULL, true, words, NULL, REFS_MAX, on_refs);
}

static void on_credential(kiln_fetch *fetch, kiln_program_end *end)
{
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_credential_read(&fetch->credential, end, &err) < 0) {
        kiln_error_wrap(&err, "credential_helper");
        fail(fetch, &err);
        return;
    }
    ask_host(fetch);
}

static int start_credential(kiln_fetch *fetch, const char *const *helper, kiln_error *err)
{
    auto_buffer kiln_buffer question = KILN_BUFFER_INIT;
    const char *words[KILN_GIT_WORDS_MAX];
    size_t count = 0;
    while (helper[count] != NULL && count + 2 < KILN_GIT_WORDS_MAX) {
        words[count] = helper[count];
        count++;
    }
    words[count] = "get";
    words[count + 1] = NULL;
    char **env = kiln_credential_environment();
    if (env == NULL || kiln_credential_ask(fetch->url, &question) < 0) {
        kiln_strings_free(env);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    const kiln_program_spec spec = {
        .argv = words,
        .env = (const char *const *)env,
        .input = question.data,
        .input_length = question.length,
        .output_max = KILN_CREDENTIAL_MAX,
        .timeout_ms = fetch->deadline - uv_now(fetch->loop),
    };
    fetch->next = on_credential;
    int rc = kiln_program_start(fetch->loop, &spec, on_program, fetch, &fetch->program, err);
    kiln_strings_free(env);
    return rc < 0 ? kiln_error_wrap(err, "[%s] credential_helper", fetch->section) : 0;
}

/* ---- the beginning */

static bool connection_exists(const kiln_config *config, const char *name, kiln_error *err)
{
    const char *const *names = kiln_config_names(config, "connection");
    for (const char *const *known = names; *known != NULL; known++) {
        if (strcmp(*known, name) == 0) {
            return true;
        }
    }
    const char *near = kiln_near_match(name, names);
    kiln_error_set(err, EINVAL, "there is no [connection %s]%s%s%s", name,
                   near != NULL ? ", did you mean \"" : "; add it to kiln.ini",
                   near != NULL ? near : "", near != NULL ? "\"?" : "");
    return false;
}

static void section_of(const kiln_origin *origin, char *section, size_t size)
{
    /* A git+https: origin has the defaults: a name that no section can have. */
    snprintf(section, size, "connection %s",
             origin->connection != NULL ? origin->connection : "*");
}

int kiln_connection_url(const kiln_config *config, const kiln_origin *origin, char *url,
                        size_t size, kiln_error *err)
{
    char section[80], endpoint[KILN_ENDPOINT_MAX];
    if (origin->kind != KILN_ORIGIN_CONNECTION) {
        snprintf(url, size, "%s", origin->repository);
        return 0;
    }
    if (!connection_exists(config, origin->connection, err)) {
        return err->code;
    }
    section_of(origin, section, sizeof(section));
    const char *given = kiln_config_string(config, section, "endpoint");
    const char *text = kiln_config_string(config, section, "arn");
    kiln_arn arn;
    if (given != NULL) {
        snprintf(endpoint, sizeof(endpoint), "%s%s", given,
                 given[strlen(given) - 1] == '/' ? "" : "/");
    } else if (text != NULL && kiln_arn_parse(text, &arn, err) == 0) {
        kiln_arn_endpoint(&arn, endpoint, sizeof(endpoint));
    } else {
        return kiln_error_set(err, EINVAL, "[%s] has neither arn nor endpoint; add one",
                              section);
    }
    size_t length = strlen(origin->repository);
    bool suffixed = length > 4 && strcmp(origin->repository + length - 4, ".git") == 0;
    int written =
        snprintf(url, size, "%s%s%s", endpoint, origin->repository, suffixed ? "" : ".git");
    return written > 0 && (size_t)written < size
               ? 0
               : kiln_error_set(err, EINVAL, "the address of %s is too long",
                                origin->repository);
}

static int copy_origin(const kiln_origin *origin, kiln_origin *copy)
{
    *copy = (kiln_origin){.kind = origin->kind, .folder = origin->folder};
    copy->connection = origin->connection != NULL ? strdup(origin->connection) : NULL;
    copy->repository = origin->repository != NULL ? strdup(origin->repository) : NULL;
    copy->ref = origin->ref != NULL ? strdup(origin->ref) : NULL;
    copy->path = strdup(origin->path);
    return copy->path == NULL || (origin->repository != NULL && copy->repository == NULL) ||
                   (origin->ref != NULL && copy->ref == NULL) ||
                   (origin->connection != NULL && copy->connection == NULL)
               ? -ENOMEM
               : 0;
}

static int begin(kiln_fetch *fetch, kiln_error *err)
{
    const kiln_config *config = fetch->config;
    uv_update_time(fetch->loop);
    fetch->max_size = kiln_config_size(config, fetch->section, "max_size");
    fetch->deadline =
        uv_now(fetch->loop) + kiln_config_duration(config, fetch->section, "timeout");
    int rc = kiln_connection_url(config, &fetch->origin, fetch->url, sizeof(fetch->url), err);
    rc = rc < 0 ? rc
                : kiln_cache_open(&fetch->cache,
                                  kiln_config_string(config, fetch->section, "cache"),
                                  fetch->url, err);
    if (rc < 0) {
        return rc;
    }
    char path[KILN_CACHE_PATH_MAX];
    const char *ref = fetch->origin.ref;
    bool cached =
        kiln_ref_is_commit(ref) && kiln_cache_has(&fetch->cache, ref, path, sizeof(path));
    const char *const *helper = kiln_config_words(config, fetch->section, "credential_helper");
    return helper != NULL && !cached ? start_credential(fetch, helper, err) : 1;
}

int kiln_fetch_start(uv_loop_t *loop, const kiln_config *config, const kiln_origin *origin,
                     int to_fd,
                     void (*done)(void *user, const kiln_fetched *fetched,
                                  const kiln_error *err),
                     void *user, kiln_fetch **out, kiln_error *err)
{
    kiln_fetch *fetch = calloc(1, sizeof(*fetch));
    if (fetch == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    *fetch = (kiln_fetch){.loop = loop, .config = config, .to_fd = to_fd};
    section_of(origin, fetch->section, sizeof(fetch->section));
    fetch->files = json_array();
    fetch->tree.left_out = json_array();
    int rc = copy_origin(origin, &fetch->origin);
    if (rc < 0 || fetch->files == NULL || fetch->tree.left_out == NULL) {
        rc = kiln_error_set(err, ENOMEM, "out of memory");
    } else {
        rc = begin(fetch, err);
    }
    if (rc < 0) {
        free_fetch(fetch);
        return rc;
    }
    fetch->done = done;
    fetch->user = user;
    *out = fetch;
    if (rc > 0) {
        ask_host(fetch);
    }
    return 0;
}

void kiln_fetch_cancel(kiln_fetch *fetch)
{
    if (fetch->program != NULL) {
        kiln_program_cancel(fetch->program);
    }
    free_fetch(fetch);
}
