/* landlock.c - what the mounts already say, said again by another part of the kernel:
 * a write that slips past a mount flag still finds no rule that allows it.
 *
 * Rules name inodes and are looked up from the file upwards; at the root of a mount the
 * search goes on in the folder that holds the mount point. So one rule on "/" lets
 * everything be read and executed, one on "/dev" covers the device nodes bound into it,
 * and one on the folder that a session's file system is mounted in lets that be written:
 * whichever it is, for a domain stays with a process that goes on in another session's
 * place (branch.c). /proc has no rule to write: that masks /proc/sys, sysrq-trigger,
 * irq and the rest at no cost.
 */
#include "base/cleanup.h"
#include "sandbox/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>

/* Constants that Debian 12's headers may lack. */
enum {
    ABI_REFER = 2,
    ABI_TRUNCATE = 3,
    ABI_NETWORK = 4,
    ABI_IOCTL = 5,
    ABI_SCOPES = 6,
};
#define FS_REFER                   (1ULL << 13)
#define FS_TRUNCATE                (1ULL << 14)
#define FS_IOCTL_DEV               (1ULL << 15)
#define NET_BIND_TCP               (1ULL << 0)
#define NET_CONNECT_TCP            (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define SCOPE_SIGNAL               (1ULL << 1)

/* As of ABI 6; the kernel accepts a shorter size from us and we pass what it knows. */
struct ruleset_attr {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
};

#define FS_READ                                                                                \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
/* Everything of ABI 1 but making device nodes. */
#define FS_WRITE                                                                               \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                           \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |                            \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |                              \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM)
#define FS_DEVICES (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)

static int known_abi = -1;

int kiln_landlock_abi(void)
{
    if (known_abi < 0) {
        long abi =
            syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        known_abi = abi > 0 ? (int)abi : 0;
    }
    return known_abi;
}

static uint64_t writing(int abi)
{
    return FS_WRITE | (abi >= ABI_REFER ? FS_REFER : 0) |
           (abi >= ABI_TRUNCATE ? FS_TRUNCATE : 0);
}

static int add_rule(int ruleset, const char *folder, uint64_t access)
{
    auto_close int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    return fd < 0 ? -1
                  : (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH,
                                 &rule, 0);
}

int kiln_sandbox_landlock(const kiln_sandbox_policy *policy, kiln_error *err)
{
    int abi = kiln_landlock_abi();
    if (abi == 0) {
        err->code = 0;
        err->text[0] = '\0';
        return -1;
    }
    /* In a network of one's own loopback must work, and there is nothing else; with
     * `network = host` nothing is refused. In the shared one nothing is up; here even
     * that need not hold. */
    bool open_network =
        policy->network == KILN_NETWORK_HOST || kiln_sandbox_needs_private_network(policy);
    struct ruleset_attr attr = {
        .handled_access_fs =
            FS_READ | FS_DEVICES | writing(abi) | (abi >= ABI_IOCTL ? FS_IOCTL_DEV : 0),
        .handled_access_net =
            abi >= ABI_NETWORK && !open_network ? NET_BIND_TCP | NET_CONNECT_TCP : 0,
        .scoped = abi >= ABI_SCOPES ? SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL : 0,
    };
    size_t size = abi >= ABI_SCOPES    ? sizeof(attr)
                  : abi >= ABI_NETWORK ? 2 * sizeof(uint64_t)
                                       : sizeof(uint64_t);
    auto_close int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (ruleset < 0) {
        return kiln_error_errno(err, errno, "landlock: creating a ruleset");
    }
    uint64_t device = LANDLOCK_ACCESS_FS_WRITE_FILE | (abi >= ABI_TRUNCATE ? FS_TRUNCATE : 0) |
                      (abi >= ABI_IOCTL ? FS_IOCTL_DEV : 0);
    if (add_rule(ruleset, "/", FS_READ) < 0 || add_rule(ruleset, "/dev", device) < 0 ||
        add_rule(ruleset, KILN_SESSION_FOLDER, writing(abi)) < 0) {
        return kiln_error_errno(err, errno, "landlock: adding a rule");
    }
    return kiln_steal_fd(&ruleset);
}

int kiln_landlock_restrict(int ruleset, kiln_error *err)
{
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0) {
        return kiln_error_errno(err, errno, "landlock: restricting");
    }
    return 0;
}
