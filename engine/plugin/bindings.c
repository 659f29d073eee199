/* What is to be told of a session over all its backends. */
#include "plugin/backend-t.h"

#include "base/cleanup.h"

#include <sys/statvfs.h>

uint64_t kiln_bindings_memory(const kiln_session *session)
{
    uint64_t sum = 0;
    for (const kiln_binding *binding = session->bindings; binding != NULL;
         binding = binding->next) {
        sum += binding->sandbox != NULL ? kiln_sandbox_memory(binding->sandbox) : 0;
    }
    return sum;
}

kiln_session_disk kiln_bindings_disk(const kiln_session *session)
{
    kiln_session_disk disk = {0, 0};
    struct statvfs now;
    for (const kiln_binding *binding = session->bindings; binding != NULL;
         binding = binding->next) {
        if (binding->root_fd >= 0 && fstatvfs(binding->root_fd, &now) == 0) {
            disk.bytes += (now.f_blocks - now.f_bfree) * now.f_bsize;
            disk.files += now.f_files - now.f_ffree;
        }
    }
    return disk;
}

json_t *kiln_bindings_names(const kiln_session *session)
{
    json_t *names = json_array();
    for (const kiln_binding *binding = session->bindings; binding != NULL;
         binding = binding->next) {
        json_array_append_new(names, json_string(kiln_backend_name(binding->backend)));
    }
    return names;
}

kiln_binding *kiln_bindings_find(const kiln_session *session, const kiln_backend *backend)
{
    return backend != NULL ? kiln_binding_find(session, backend) : session->bindings;
}

int kiln_binding_root(const kiln_binding *binding)
{
    return binding->root_fd;
}

kiln_manifest *kiln_binding_take_look(kiln_binding *binding)
{
    return kiln_steal(binding->look);
}

void kiln_binding_keep_look(kiln_binding *binding, kiln_manifest *look)
{
    kiln_manifest_free(binding->look);
    binding->look = look;
}
