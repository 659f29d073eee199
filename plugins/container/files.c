#include "files.h"

#include "exec.h"
#include "mirror.h"
#include "unpack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PUT_TIMEOUT_MS = 120000, TRIES = 2 };

#define DISK_DEFAULT   ((uint64_t)64 << 20)
#define FILES_NO_LIMIT ((uint64_t)1 << 20)

struct transfer {
    struct box *box;
    void (*done)(void *user, const files_end *end);
    void *user;
    http *request;
    struct exec *removal; /* of what the engine has removed */
    kiln_timer *later;
    struct unpack *unpack;
    char **gone;
    unsigned tries;
    files_end end;
    char error[1000];
};

uint64_t files_disk(const kiln_limits *limits)
{
    return limits->disk > 0 ? limits->disk : DISK_DEFAULT;
}

static void free_names(char **names)
{
    for (char **name = names; name != NULL && *name != NULL; name++) {
        free(*name);
    }
    free(names);
}

void files_cancel(struct transfer *transfer)
{
    if (transfer == NULL) {
        return;
    }
    http_cancel(transfer->request);
    exec_cancel(transfer->removal);
    if (transfer->later != NULL) {
        transfer->box->self->host->cancel(transfer->box->self->host, transfer->later);
    }
    unpack_free(transfer->unpack);
    free_names(transfer->gone);
    free(transfer);
}

/* ---- the end */

static void finish(struct transfer *transfer)
{
    files_end end = transfer->end;
    transfer->done(transfer->user, &end); /* may free it */
}

static void on_later(void *user)
{
    struct transfer *transfer = user;
    transfer->later = NULL;
    finish(transfer);
}

static void finish_later(struct transfer *transfer)
{
    const kiln_host *host = transfer->box->self->host;
    transfer->later = host->timer(host, 0, on_later, transfer);
}

static void limit(struct transfer *transfer, const char *name, uint64_t most)
{
    transfer->end.status = KILN_STATUS_LIMIT;
    transfer->end.name = name;
    snprintf(transfer->error, sizeof(transfer->error),
             "the limit on %s was reached: the work directory holds more than %llu%s", name,
             (unsigned long long)most,
             strcmp(name, "disk") == 0 ? " bytes, holes included" : " entries");
    transfer->end.error = transfer->error;
}

static uint64_t most_files(const struct transfer *transfer)
{
    uint64_t files = transfer->box->limits.files;
    return files > 0 ? files : FILES_NO_LIMIT;
}

static void fail(struct transfer *transfer, const char *doing, int rc, const char *why)
{
    if (rc == -EDQUOT) {
        limit(transfer, "disk", files_disk(&transfer->box->limits));
        return;
    }
    if (rc == -EMFILE) {
        limit(transfer, "files", most_files(transfer));
        return;
    }
    transfer->end.status = KILN_STATUS_UNAVAILABLE;
    transfer->end.name = "FilesFailed";
    snprintf(transfer->error, sizeof(transfer->error), "the session's files: %s: %.900s", doing,
             why != NULL           ? why
             : rc == -EPROTO       ? "the archive is none, was cut, or leads elsewhere"
             : rc == -ENAMETOOLONG ? "a name is too long"
                                   : strerror(-rc));
    transfer->end.error = transfer->error;
}

/* ---- in */

static void end_push(struct transfer *transfer)
{
    int rc = mirror_sent(transfer->box->mirror);
    if (rc < 0) {
        fail(transfer, "sending them", rc, NULL);
    }
    finish(transfer);
}

static void on_removed(void *user, int exit_code, const char *error)
{
    struct transfer *transfer = user;
    transfer->removal = NULL;
    if (error != NULL || exit_code != 0) {
        fail(transfer, "removing some", -EIO, error != NULL ? error : "rm failed inside");
        finish(transfer);
        return;
    }
    end_push(transfer);
}

/* The archive API cannot take away. */
static void remove_gone(struct transfer *transfer)
{
    static char rm[] = "rm", recursive[] = "-rf", end_of_options[] = "--";
    size_t count = 0;
    while (transfer->gone != NULL && transfer->gone[count] != NULL) {
        count++;
    }
    if (count == 0) {
        end_push(transfer);
        return;
    }
    char **argv = calloc(count + 4, sizeof(*argv));
    if (argv != NULL) {
        argv[0] = rm;
        argv[1] = recursive;
        argv[2] = end_of_options;
        memcpy(argv + 3, transfer->gone, count * sizeof(*argv));
        const exec_spec spec = {.argv = argv, .user = transfer, .on_end = on_removed};
        transfer->removal = exec_start(transfer->box, &spec);
        free(argv);
    }
    if (transfer->removal == NULL) {
        fail(transfer, "removing some", -ENOMEM, NULL);
        finish(transfer);
    }
}

static void on_put(void *user, const http_answer *answer)
{
    struct transfer *transfer = user;
    char error[900];
    transfer->request = NULL;
    api_explain(transfer->box->self, "PUT archive", answer, error, sizeof(error));
    if (error[0] != '\0') {
        fail(transfer, "sending them", -EIO, error);
        finish(transfer);
        return;
    }
    remove_gone(transfer);
}

static int put(struct transfer *transfer, const tar_buffer *tar)
{
    char path[120];
    snprintf(path, sizeof(path), "/containers/%s/archive?path=/work", transfer->box->name);
    const http_request request = {
        .method = "PUT",
        .path = path,
        .body = tar->data,
        .body_length = tar->length,
        .body_type = "application/x-tar",
        .timeout_ms = PUT_TIMEOUT_MS,
        .user = transfer,
        .on_end = on_put,
    };
    transfer->request = http_send(transfer->box->self, &request);
    return transfer->request != NULL ? 0 : -ENOMEM;
}

static void on_nothing_to_put(void *user)
{
    struct transfer *transfer = user;
    transfer->later = NULL;
    remove_gone(transfer);
}

static struct transfer *make(struct box *box, void (*done)(void *user, const files_end *end),
                             void *user)
{
    struct transfer *transfer = calloc(1, sizeof(*transfer));
    if (transfer != NULL) {
        transfer->box = box;
        transfer->done = done;
        transfer->user = user;
    }
    return transfer;
}

struct transfer *files_push(struct box *box, void (*done)(void *user, const files_end *end),
                            void *user)
{
    const kiln_host *host = box->self->host;
    struct transfer *transfer = make(box, done, user);
    tar_buffer tar = {0};
    if (transfer == NULL) {
        return NULL;
    }
    int rc =
        mirror_pack(box->mirror, (tar_owner){box->self->settings.uid, box->self->settings.gid},
                    files_disk(&box->limits), &tar, &transfer->gone);
    if (rc == 0 && tar.length > 0) {
        rc = put(transfer, &tar);
    } else if (rc == 0) {
        transfer->later = host->timer(host, 0, on_nothing_to_put, transfer);
    }
    free(tar.data);
    if (rc < 0) {
        fail(transfer, "sending them", rc, NULL);
        finish_later(transfer);
    }
    return transfer;
}

/* ---- out */

static int get(struct transfer *transfer);

/* A file that grew while it was read cuts the archive: once more. */
static void fail_or_again(struct transfer *transfer, int rc, const char *why)
{
    unpack_free(transfer->unpack);
    transfer->unpack = NULL;
    bool final = rc == -EDQUOT || rc == -EMFILE || ++transfer->tries >= TRIES;
    if (!final && get(transfer) == 0) {
        return;
    }
    fail(transfer, "fetching them", rc, why);
    finish(transfer);
}

static void on_data(void *user, const char *data, size_t length)
{
    struct transfer *transfer = user;
    int rc = unpack_push(transfer->unpack, data, length);
    if (rc < 0) {
        http_cancel(transfer->request);
        transfer->request = NULL;
        fail_or_again(transfer, rc, NULL);
    }
}

static void on_got(void *user, const http_answer *answer)
{
    struct transfer *transfer = user;
    char error[900];
    transfer->request = NULL;
    api_explain(transfer->box->self, "GET archive", answer, error, sizeof(error));
    int rc = error[0] != '\0' ? -EIO : unpack_finish(transfer->unpack, &transfer->end.left_out);
    if (rc < 0) {
        fail_or_again(transfer, rc, error[0] != '\0' ? error : NULL);
        return;
    }
    rc = mirror_sent(transfer->box->mirror);
    if (rc < 0) {
        fail(transfer, "fetching them", rc, NULL);
    }
    finish(transfer);
}

static int get(struct transfer *transfer)
{
    struct box *box = transfer->box;
    char path[120];
    snprintf(path, sizeof(path), "/containers/%s/archive?path=/work", box->name);
    const http_request request = {
        .method = "GET",
        .path = path,
        .timeout_ms = API_TIMEOUT_MS,
        .user = transfer,
        .on_data = on_data,
        .on_end = on_got,
    };
    transfer->unpack = unpack_open(mirror_fd(box->mirror), "work", files_disk(&box->limits),
                                   most_files(transfer));
    transfer->request = transfer->unpack != NULL ? http_send(box->self, &request) : NULL;
    return transfer->request != NULL ? 0 : -ENOMEM;
}

struct transfer *files_pull(struct box *box, void (*done)(void *user, const files_end *end),
                            void *user)
{
    struct transfer *transfer = make(box, done, user);
    if (transfer != NULL && get(transfer) < 0) {
        fail(transfer, "fetching them", -ENOMEM, NULL);
        finish_later(transfer);
    }
    return transfer;
}
