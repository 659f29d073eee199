/* Extension kiln.files/1: a backend that runs code in a file system of its own. */
#include "plugin/backend-t.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static int prepared(const kiln_host *host, kiln_session *session, int work_fd,
                    const char *error)
{
    kiln_backend *backend = kiln_backend_of(host);
    kiln_binding *binding = kiln_binding_find(session, backend);
    if (binding == NULL || !binding->preparing) {
        kiln_log(KILN_LOG_WARNING, backend->section,
                 "a place was prepared that nobody waits for: dropped");
        return -ESTALE;
    }
    kiln_binding_prepared(binding, work_fd, error);
    return 0;
}

const kiln_files *kiln_files_extension(void)
{
    static const kiln_files files = {sizeof(files), prepared};
    return &files;
}

/* A folder of another's, such as this host's /tmp, says nothing of the session. */
static bool has_own_file_system(int folder_fd)
{
    struct stat itself, above;
    return folder_fd >= 0 && fstat(folder_fd, &itself) == 0 &&
           fstatat(folder_fd, "..", &above, AT_SYMLINK_NOFOLLOW) == 0 &&
           itself.st_dev != above.st_dev;
}

/* Processor, memory and processes are the plugin's to tell, in its outcome. */
void kiln_files_account(kiln_binding *binding, kiln_account *account)
{
    struct statvfs now;
    *account = (kiln_account){.cpu_ms = -1, .cpus_kept = true};
    if (!has_own_file_system(binding->root_fd) || fstatvfs(binding->root_fd, &now) < 0) {
        account->disk_unknown = true;
        return;
    }
    bool full = now.f_blocks > 0 && now.f_bfree == 0;
    bool files_full = now.f_files > 0 && now.f_ffree == 0;
    account->disk_bytes = (uint64_t)(now.f_blocks - now.f_bfree) * now.f_frsize;
    account->disk_limit = (uint64_t)now.f_blocks * now.f_frsize;
    account->files_limit = binding->limits.files;
    account->disk_hit = full && !binding->disk_full;
    account->files_hit = files_full && !binding->files_full;
    binding->disk_full = full;
    binding->files_full = files_full;
}
