/* privileges.c - uid, groups, capabilities, securebits, no_new_privs. */
#include "sandbox/steps.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int kiln_bounding_drop(kiln_error *err)
{
    for (unsigned long cap = 0;; cap++) {
        int held = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (held < 0) {
            return 0; /* past the kernel's last */
        }
        if (held > 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
            return kiln_error_errno(err, errno,
                                    "capabilities: dropping %lu from the bounding set", cap);
        }
    }
}

static int set_capabilities(struct __user_cap_data_struct data[2])
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return (int)syscall(SYS_capset, &header, data);
}

static int get_capabilities(struct __user_cap_data_struct data[2])
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return (int)syscall(SYS_capget, &header, data);
}

#define LOCKED_BITS                                                                            \
    (SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |                           \
     SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |   \
     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

int kiln_privileges_drop(uid_t uid, kiln_error *err)
{
    if (prctl(PR_SET_SECUREBITS, LOCKED_BITS, 0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "capabilities: locking securebits");
    }
    if (uid != geteuid()) {
        if (setgroups(0, NULL) < 0) {
            return kiln_error_errno(err, errno, "uid: dropping groups");
        }
        if (setresgid((gid_t)uid, (gid_t)uid, (gid_t)uid) < 0 || setresuid(uid, uid, uid) < 0) {
            return kiln_error_errno(err, errno, "uid: becoming %u", uid);
        }
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "capabilities: clearing the ambient set");
    }
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    if (set_capabilities(none) < 0) {
        return kiln_error_errno(err, errno, "capabilities: dropping all");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "no_new_privs");
    }
    return 0;
}

int kiln_privileges_verify(uid_t uid, kiln_error *err)
{
    uid_t ids[3];
    gid_t gids[3];
    if (getresuid(&ids[0], &ids[1], &ids[2]) < 0 ||
        getresgid(&gids[0], &gids[1], &gids[2]) < 0) {
        return kiln_error_errno(err, errno, "uid: reading back");
    }
    for (int i = 0; i < 3; i++) {
        if (ids[i] != uid || gids[i] != (gid_t)uid) {
            return kiln_error_set(err, -EPERM, "uid: %u was asked for and did not hold", uid);
        }
    }
    struct __user_cap_data_struct data[2];
    if (get_capabilities(data) < 0) {
        return kiln_error_errno(err, errno, "capabilities: reading back");
    }
    for (int i = 0; i < 2; i++) {
        if ((data[i].effective | data[i].permitted | data[i].inheritable) != 0) {
            return kiln_error_set(err, -EPERM, "capabilities: some are left");
        }
    }
    for (unsigned long cap = 0;; cap++) {
        int held = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (held < 0) {
            break;
        }
        if (held > 0) {
            return kiln_error_set(err, -EPERM, "capabilities: %lu is left in the bounding set",
                                  cap);
        }
    }
    if (prctl(PR_GET_SECUREBITS, 0, 0, 0, 0) != LOCKED_BITS) {
        return kiln_error_set(err, -EPERM, "capabilities: securebits did not hold");
    }
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) {
        return kiln_error_set(err, -EPERM, "no_new_privs did not hold");
    }
    return 0;
}
