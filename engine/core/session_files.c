/* The work directory of a session, on the backend that ran last. */
#include "core/engine-t.h"

#include "base/cleanup.h"
#include "files/beneath.h"
#include "files/manifest.h"

#include <errno.h>
#include <sys/stat.h>

typedef struct place {
    int root;
    const char *area;
} place;

static int find_place(const kiln_session *session, place *at, kiln_error *err)
{
    const kiln_core_session *core = (const kiln_core_session *)session;
    const kiln_binding *binding = kiln_bindings_find(session, core->last_backend);
    at->root = binding != NULL ? kiln_binding_root(binding) : -1;
    at->area = at->root >= 0 ? kiln_binding_work(binding) : NULL;
    return at->root >= 0 ? 0
                         : kiln_error_set(err, ENOENT,
                                          "session %s has no work directory yet: run a cell "
                                          "first",
                                          session->id);
}

json_t *kiln_session_files(const kiln_session *session, kiln_error *err)
{
    place at;
    auto_close int work =
        find_place(session, &at, err) < 0 ? -1 : kiln_workdir_open(at.root, at.area, err);
    if (work < 0) {
        return NULL;
    }
    kiln_manifest *manifest = kiln_manifest_walk(work, false, err);
    if (manifest == NULL) {
        return NULL;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < manifest->count; i++) {
        const kiln_manifest_entry *entry = &manifest->entries[i];
        char printable[1200];
        if (S_ISREG(entry->mode)) {
            json_array_append_new(
                list, json_pack("{s:s, s:I}", "name",
                                kiln_printable_name(entry->name, printable, sizeof(printable)),
                                "size", (json_int_t)entry->size));
        }
    }
    kiln_manifest_free(manifest);
    return list;
}

int kiln_session_file_open(const kiln_session *session, const char *name, kiln_error *err)
{
    place at;
    int rc = find_place(session, &at, err);
    return rc < 0 ? rc : kiln_workdir_read(at.root, at.area, name, err);
}

int kiln_session_file_put(kiln_session *session, const char *name, const char *path,
                          kiln_error *err)
{
    place at;
    int rc = find_place(session, &at, err);
    if (rc < 0) {
        return rc;
    }
    kiln_request *request = kiln_request_new();
    rc = request == NULL || kiln_request_add_file(request, name, path, NULL, 0, NULL) < 0
             ? kiln_error_set(err, ENOMEM, "out of memory")
             : kiln_workdir_put(at.root, at.area, request, err);
    kiln_request_free(request);
    kiln_bindings_changed(session); /* what a cell is undone to is not this */
    return rc;
}

int kiln_session_files_collect(const kiln_session *session, int out_fd, const char *out_path,
                               json_t *files,
                               void (*refused)(void *user, const char *name, const char *why),
                               void *user, kiln_error *err)
{
    auto_manifest kiln_manifest *look = NULL; /* all of it is new */
    place at;
    int rc = find_place(session, &at, err);
    return rc < 0 ? rc
                  : kiln_workdir_collect(at.root, at.area, &look, out_fd, out_path, files,
                                         refused, user, err);
}

int kiln_session_files_keep_only(kiln_session *session, const json_t *names, kiln_error *err)
{
    place at;
    int rc = find_place(session, &at, err);
    if (rc < 0) {
        return rc;
    }
    rc = kiln_workdir_keep_only(at.root, at.area, names, err);
    kiln_bindings_changed(session);
    return rc;
}
