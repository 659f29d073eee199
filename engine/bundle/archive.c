/* archive.c - files into one archive that is named by its content, and back. */
#include "bundle/bundle.h"

#include "base/cleanup.h"
#include "files/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

#define ARCHIVE "archive.tar.gz"

typedef struct waiting {
    uv_loop_t *loop;
    bool ended;
    int rc;
    kiln_error *err;
    json_t *left_out, *output_files;
    size_t count;
} waiting;

static void on_done(void *user, json_t *answer, json_t *output_files, const kiln_error *err)
{
    waiting *wait = user;
    wait->ended = true;
    uv_stop(wait->loop);
    if (err != NULL) {
        *wait->err = *err;
        wait->rc = err->code;
        return;
    }
    wait->count = (size_t)json_integer_value(json_object_get(answer, "files"));
    wait->left_out = json_incref(json_object_get(answer, "left_out"));
    wait->output_files = json_incref(output_files);
}

static int ask(kiln_engine *engine, waiting *wait, const char *code,
               const kiln_input_place *files, size_t count, const char *out, int out_fd,
               kiln_error *err)
{
    const kiln_bundle_call call = {.engine = engine,
                                   .loop = wait->loop,
                                   .code = code,
                                   .files = files,
                                   .count = count,
                                   .out_fd = out_fd,
                                   .out_path = out,
                                   .done = on_done,
                                   .user = wait};
    wait->err = err;
    int rc = kiln_bundle_ask(&call, err);
    while (rc == 0 && !wait->ended) {
        if (uv_run(wait->loop, UV_RUN_DEFAULT) == 0 && !wait->ended) {
            rc = kiln_error_set(err, EIO, "the engine lost the archive");
        }
    }
    return rc < 0 ? rc : wait->rc;
}

/* A new folder beside where things will be, so that what is whole can be renamed. */
static int make_temporary(const char *folder, char **made, int *fd, kiln_error *err)
{
    if (asprintf(made, "%s/.kiln-XXXXXX", folder) < 0) {
        *made = NULL;
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    if (mkdtemp(*made) == NULL) {
        int failure = errno;
        free(kiln_steal(*made));
        return kiln_error_errno(err, failure, "%s: cannot write there", folder);
    }
    *fd = open(*made, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return *fd < 0 ? kiln_error_errno(err, errno, "%s", *made) : 0;
}

static int make_folder(const char *path, kiln_error *err)
{
    return mkdir(path, 0755) < 0 && errno != EEXIST ? kiln_error_errno(err, errno, "%s", path)
                                                    : 0;
}

/* ---- save */

static int below_in(const kiln_inputs *files, kiln_inputs *inner)
{
    inner->files = calloc(files->count + 1, sizeof(*inner->files));
    for (size_t i = 0; inner->files != NULL && i < files->count; i++) {
        kiln_input_place *place = &inner->files[inner->count++];
        place->path = strdup(files->files[i].path);
        if (asprintf(&place->name, "in/%s", files->files[i].name) < 0) {
            place->name = NULL;
        }
        if (place->name == NULL || place->path == NULL) {
            return -ENOMEM;
        }
    }
    return inner->files != NULL ? 0 : -ENOMEM;
}

static const char *hash_of(const json_t *output_files)
{
    for (size_t i = 0; i < json_array_size(output_files); i++) {
        const json_t *file = json_array_get(output_files, i);
        const char *name = json_string_value(json_object_get(file, "name"));
        if (name != NULL && strcmp(name, ARCHIVE) == 0) {
            return json_string_value(json_object_get(file, "sha256"));
        }
    }
    return NULL;
}

static int keep(const waiting *wait, const char *temporary, const char *folder, char **path,
                kiln_error *err)
{
    const char *hash = hash_of(wait->output_files);
    auto_free char *from = NULL;
    if (hash == NULL) {
        return kiln_error_set(err, EIO,
                              "the archive could not be collected: is it larger than "
                              "[limits] disk or file_size?");
    }
    if (asprintf(&from, "%s/" ARCHIVE, temporary) < 0 ||
        asprintf(path, "%s/%s.tar.gz", folder, hash) < 0) {
        *path = NULL;
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    return rename(from, *path) < 0 ? kiln_error_errno(err, errno, "%s", *path) : 0;
}

int kiln_archive_save(kiln_engine *engine, uv_loop_t *loop, const kiln_inputs *files,
                      const char *folder, char **path, kiln_error *err)
{
    kiln_inputs inner = {.count = 0};
    waiting wait = {.loop = loop};
    auto_free char *temporary = NULL;
    auto_close int fd = -1;
    int rc = below_in(files, &inner) < 0 ? kiln_error_set(err, ENOMEM, "out of memory")
                                         : make_folder(folder, err);
    rc = rc < 0 ? rc : make_temporary(folder, &temporary, &fd, err);
    rc = rc < 0 ? rc : ask(engine, &wait, "pack", inner.files, inner.count, temporary, fd, err);
    rc = rc < 0 ? rc : keep(&wait, temporary, folder, path, err);
    if (temporary != NULL) {
        kiln_folder_remove(temporary);
    }
    kiln_inputs_free(&inner);
    json_decref(wait.output_files);
    json_decref(wait.left_out);
    return rc < 0 ? kiln_error_wrap(err, "archive") : 0;
}

/* ---- restore */

/* A name that is a hash is a promise. */
static int check_hash(const char *path, kiln_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    size_t digits = strspn(name, "0123456789abcdef");
    unsigned char hash[crypto_hash_sha256_BYTES], buffer[65536];
    char text[crypto_hash_sha256_BYTES * 2 + 1];
    crypto_hash_sha256_state state;
    if (digits != 64 || name[64] != '.') {
        return 0;
    }
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t got = -1;
    crypto_hash_sha256_init(&state);
    while (fd >= 0 && (got = read(fd, buffer, sizeof(buffer))) > 0) {
        crypto_hash_sha256_update(&state, buffer, (size_t)got);
    }
    if (fd < 0 || got < 0) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    crypto_hash_sha256_final(&state, hash);
    sodium_bin2hex(text, sizeof(text), hash, sizeof(hash));
    return strncmp(text, name, 64) == 0
               ? 0
               : kiln_error_set(err, EBADMSG,
                                "%s: its content is not what its name says (%.12s...): it was "
                                "changed, or renamed",
                                path, text);
}

static int is_empty(const char *folder, kiln_error *err)
{
    __attribute__((cleanup(kiln_folder_free))) kiln_folder there = KILN_FOLDER_INIT;
    int rc = kiln_folder_read(folder, &there, err);
    if (rc < 0) {
        return kiln_error_wrap(err, "%s", folder);
    }
    return there.count == 0
               ? 0
               : kiln_error_set(err, EEXIST,
                                "%s: holds files, name an empty folder or a new one", folder);
}

/* What is below made/out becomes the folder: each entry is renamed, so that an existing folder
 * stays. */
static int move_out(const char *temporary, const char *folder, kiln_error *err)
{
    auto_free char *from = NULL;
    if (asprintf(&from, "%s/out", temporary) < 0) {
        from = NULL;
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    __attribute__((cleanup(kiln_folder_free))) kiln_folder made = KILN_FOLDER_INIT;
    int rc = access(from, F_OK) < 0 ? 0 : kiln_folder_read(from, &made, err);
    for (size_t i = 0; rc == 0 && i < made.count; i++) {
        auto_free char *old = NULL, *fresh = NULL;
        char *top = made.entries[i].name;
        top[strcspn(top, "/")] = '\0'; /* a folder moves whole, with its first file */
        if (asprintf(&old, "%s/%s", from, top) < 0 ||
            asprintf(&fresh, "%s/%s", folder, top) < 0) {
            rc = kiln_error_set(err, ENOMEM, "out of memory");
        } else if (rename(old, fresh) < 0 && errno != ENOENT) {
            rc = kiln_error_errno(err, errno, "%s", fresh);
        }
    }
    return rc;
}

/* What was unpacked and not collected (control characters in a name, too large) is told, too.
 */
static int tell_lost(waiting *wait)
{
    size_t i, there = 0;
    json_t *file;
    json_array_foreach(wait->output_files, i, file)
    {
        const char *name = json_string_value(json_object_get(file, "name"));
        there += name != NULL && strncmp(name, "out/", 4) == 0;
    }
    size_t lost = wait->count > there ? wait->count - there : 0;
    wait->count = there;
    return lost == 0 ? 0
                     : json_array_append_new(
                           wait->left_out,
                           json_sprintf("%zu files: too large, or with names that cannot be "
                                        "a file's in a result",
                                        lost));
}

int kiln_archive_restore(kiln_engine *engine, uv_loop_t *loop, const char *path,
                         const char *folder, json_t **left_out, size_t *count, kiln_error *err)
{
    char name[] = ARCHIVE;
    const kiln_input_place file = {.name = name, .path = (char *)(uintptr_t)path};
    waiting wait = {.loop = loop};
    auto_free char *temporary = NULL;
    auto_close int fd = -1;
    int rc = check_hash(path, err);
    rc = rc < 0 ? rc : make_folder(folder, err);
    rc = rc < 0 ? rc : is_empty(folder, err);
    rc = rc < 0 ? rc : make_temporary(folder, &temporary, &fd, err);
    if (rc == 0) {
        rc = ask(engine, &wait, "unpack", &file, 1, temporary, fd, err);
        rc = rc < 0 ? kiln_error_wrap(err, "%s", path)
             : tell_lost(&wait) < 0
                 ? kiln_error_set(err, EIO, "%s: what was left out cannot be told", path)
                 : move_out(temporary, folder, err);
    }
    if (temporary != NULL) {
        kiln_folder_remove(temporary);
    }
    *left_out = wait.left_out;
    *count = wait.count;
    json_decref(wait.output_files);
    return rc;
}
