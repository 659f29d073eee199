/* spaces.c - the namespaces of a session, as descriptors, and the two ways in: a branch's
 * worker comes from the session outside, a new worker from the zygote. */
#include "sandbox/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>

static const struct {
    const char *name;
    int kind;
} spaces_known[KILN_SESSION_SPACES] = {
    [KILN_SPACE_USER] = {"user", CLONE_NEWUSER},  [KILN_SPACE_MOUNT] = {"mnt", CLONE_NEWNS},
    [KILN_SPACE_IPC] = {"ipc", CLONE_NEWIPC},     [KILN_SPACE_PID] = {"pid", CLONE_NEWPID},
    [KILN_SPACE_NETWORK] = {"net", CLONE_NEWNET},
};

static int open_space(int i, int *space, kiln_error *err)
{
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/ns/%s", spaces_known[i].name);
    *space = open(path, O_RDONLY | O_CLOEXEC);
    return *space < 0 ? kiln_error_errno(err, errno, "session: %s", path) : 0;
}

static int enter_space(int i, int space, kiln_error *err)
{
    return setns(space, spaces_known[i].kind) < 0
               ? kiln_error_errno(err, errno, "session: entering its %s namespace",
                                  spaces_known[i].name)
               : 0;
}

int kiln_sandbox_nested_spaces(int spaces[KILN_BRANCH_SPACES], kiln_error *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < KILN_BRANCH_SPACES; i++) {
        rc = open_space(i, spaces + i, err);
    }
    return rc;
}

int kiln_sandbox_enter_nested(const int spaces[KILN_BRANCH_SPACES], kiln_error *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < KILN_BRANCH_SPACES; i++) {
        rc = enter_space(i, spaces[i], err);
    }
    return rc;
}

int kiln_sandbox_session_spaces(const kiln_sandbox_policy *policy,
                                const kiln_sandbox_session *session,
                                int spaces[KILN_SESSION_SPACES], kiln_error *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < KILN_SESSION_SPACES; i++) {
        spaces[i] = -1;
        if ((i != KILN_SPACE_USER || kiln_session_has_own_users(policy, session)) &&
            (i != KILN_SPACE_NETWORK || kiln_sandbox_needs_private_network(policy))) {
            rc = open_space(i, spaces + i, err);
        }
    }
    return rc;
}

/* The user namespace last: in ours we may enter all the others, whosever they are. */
int kiln_sandbox_join_session(const int spaces[KILN_SESSION_SPACES], kiln_error *err)
{
    int rc = 0;
    for (int i = KILN_SESSION_SPACES - 1; rc == 0 && i >= 0; i--) {
        if (spaces[i] >= 0 && i != KILN_SPACE_PID) {
            rc = enter_space(i, spaces[i], err);
        }
    }
    if (rc == 0 && spaces[KILN_SPACE_USER] >= 0) {
        rc = kiln_bounding_drop(err); /* a new namespace began with a full one */
    }
    return rc < 0 ? rc : kiln_join_keyring(err);
}
