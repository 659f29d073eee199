/* probe.c - what this machine can confine, found by doing it in children. */
#include "base/cleanup.h"
#include "sandbox/steps.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

typedef struct finding {
    bool available;
    char detail[1024];
} finding;

typedef void (*trial)(const kiln_sandbox_policy *policy, finding *found);

/* Runs a trial in a child and takes what it wrote. A child that died wrote nothing. */
static void try_in_child(trial attempt, const kiln_sandbox_policy *policy, finding *found)
{
    int fds[2];
    *found = (finding){.available = false, .detail = "the trial died"};
    if (pipe(fds) < 0) {
        snprintf(found->detail, sizeof(found->detail), "pipe: %s", strerror(errno));
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        finding mine = {.available = false, .detail = ""};
        attempt(policy, &mine);
        _exit(write(fds[1], &mine, sizeof(mine)) == (ssize_t)sizeof(mine) ? 0 : 1);
    }
    close(fds[1]);
    finding read_back;
    size_t got = 0;
    ssize_t more = 0;
    while (child > 0 && got < sizeof(read_back) &&
           (more = read(fds[0], (char *)&read_back + got, sizeof(read_back) - got)) > 0) {
        got += (size_t)more;
    }
    close(fds[0]);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    if (got == sizeof(read_back)) {
        read_back.detail[sizeof(read_back.detail) - 1] = '\0';
        *found = read_back;
    }
}

static void say(finding *found, int rc, const kiln_error *err, const char *good)
{
    found->available = rc >= 0;
    snprintf(found->detail, sizeof(found->detail), "%s", rc >= 0 ? good : err->text);
}

static int session_in_zygote(const kiln_sandbox_policy *policy, kiln_error *err)
{
    int rc = kiln_sandbox_enter_root(policy, err);
    if (rc < 0) {
        return rc;
    }
    if (unshare(CLONE_NEWPID) < 0) {
        return kiln_error_errno(err, errno, "pid namespace of a session");
    }
    int fds[2];
    if (pipe(fds) < 0) {
        return kiln_error_errno(err, errno, "pipe");
    }
    pid_t supervisor = fork();
    if (supervisor < 0) {
        return kiln_error_errno(err, errno, "fork");
    }
    if (supervisor == 0) {
        kiln_sandbox_session session = {.index = 0, .disk = 1 << 20, .files = 64};
        int fs = -1;
        int root = -1;
        kiln_error mine = KILN_ERROR_INIT;
        if (kiln_sandbox_prepare_session(policy, false, &fs, &mine) == 0) {
            (void)kiln_sandbox_enter_session(policy, &session, &fs, &root, &mine);
        }
        _exit(write(fds[1], &mine, sizeof(mine)) == (ssize_t)sizeof(mine) ? 0 : 1);
    }
    close(fds[1]);
    kiln_error theirs;
    ssize_t got = read(fds[0], &theirs, sizeof(theirs));
    close(fds[0]);
    waitpid(supervisor, NULL, 0);
    if (got != (ssize_t)sizeof(theirs)) {
        return kiln_error_set(err, -EIO, "the session's first process died");
    }
    if (theirs.code != 0) {
        *err = theirs;
    }
    return theirs.code;
}

static void try_namespaces(const kiln_sandbox_policy *policy, finding *found)
{
    kiln_error err = KILN_ERROR_INIT;
    /* The process that returns is a grandchild; the pipe is all it shares. */
    int rc = session_in_zygote(policy, &err);
    say(found, rc, &err,
        policy->network == KILN_NETWORK_HOST
            ? "user, pid, mount, ipc, uts; not net: [sandbox] network is host"
        : kiln_sandbox_needs_private_network(policy)
            ? "user, pid, mount, net (one a session), ipc, uts"
            : "user, pid, mount, net (empty, shared by a zygote's sessions), ipc, uts");
}

static void try_no_new_privs(const kiln_sandbox_policy *policy, finding *found)
{
    (void)policy;
    kiln_error err = KILN_ERROR_INIT;
    int rc = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0
                 ? kiln_error_errno(&err, errno, "no_new_privs")
                 : 0;
    say(found, rc, &err, "setuid programs gain nothing");
}

static void try_seccomp(const kiln_sandbox_policy *policy, finding *found)
{
    try_no_new_privs(policy, found);
    kiln_error err = KILN_ERROR_INIT;
    int rc = kiln_seccomp_load(&err);
    rc = rc == 0 ? kiln_seccomp_verify(&err) : rc;
    say(found, rc, &err, "allow-list, foreign architectures killed");
}

static void try_landlock(const kiln_sandbox_policy *policy, finding *found)
{
    (void)policy;
    int abi = kiln_landlock_abi();
    found->available = abi > 0;
    if (abi > 0) {
        snprintf(found->detail, sizeof(found->detail), "ABI %d: files%s%s", abi,
                 abi >= 4 ? ", TCP" : "", abi >= 6 ? ", abstract sockets, signals" : "");
    } else {
        snprintf(found->detail, sizeof(found->detail), "the kernel has none or it is off");
    }
}

/* In this process, unlike the others: a child finds its parent in the group that it has
 * to move out of, and what the parent made for itself already. */
static void try_cgroup(const kiln_sandbox_policy *policy, finding *found)
{
    (void)policy;
    kiln_error err = KILN_ERROR_INIT;
    int rc = kiln_cgroup_init(&err);
    char text[200] = "";
    if (rc == 0) {
        kiln_cgroup_describe(text, sizeof(text));
    }
    say(found, rc, &err, text);
}

static void try_uids(const kiln_sandbox_policy *policy, finding *found)
{
    found->available = kiln_uids_are_ranged(policy);
    if (found->available) {
        snprintf(found->detail, sizeof(found->detail), "%u-%u", policy->uid_base,
                 policy->uid_base + policy->uid_count - 1);
    } else {
        snprintf(found->detail, sizeof(found->detail), "all sessions have the caller's uid");
    }
}

static const struct {
    const char *name;
    kiln_layer layer;
    trial attempt;
    const char *advice;
} layers[] = {
    {"namespaces", KILN_LAYER_NAMESPACES, try_namespaces,
     "allow user namespaces (sysctl user.max_user_namespaces, "
     "kernel.unprivileged_userns_clone=1, "
     "kernel.apparmor_restrict_unprivileged_userns=0), or run as root"},
    {"seccomp", KILN_LAYER_SECCOMP, try_seccomp, "use a kernel with CONFIG_SECCOMP_FILTER"},
    {"no_new_privs", KILN_LAYER_NO_NEW_PRIVS, try_no_new_privs, "use Linux 3.5 or newer"},
    {"landlock", KILN_LAYER_LANDLOCK, try_landlock,
     "use Linux 5.13 or newer (6.12 for sockets and signals) with landlock in lsm="},
    {"cgroup", KILN_LAYER_CGROUP, try_cgroup,
     "start it in a group of its own that may be written: systemd-run --scope -p Delegate=yes "
     "kiln ... as root, systemd-run --user --scope -p Delegate=yes kiln ... as a user; until "
     "then limits are rlimits and the engine's watch"},
    {"uids", KILN_LAYER_UIDS, try_uids, "run as root with [sandbox] uids = FIRST-LAST"},
};

json_t *kiln_sandbox_probe(const kiln_sandbox_policy *policy, kiln_error *err)
{
    auto_json json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < sizeof(layers) / sizeof(layers[0]); i++) {
        finding found;
        if (layers[i].layer == KILN_LAYER_CGROUP) {
            try_cgroup(policy, &found);
        } else {
            try_in_child(layers[i].attempt, policy, &found);
        }
        json_t *entry = json_pack(
            "{s:s, s:b, s:b, s:s, s:s?}", "layer", layers[i].name, "available", found.available,
            "required", (policy->required & layers[i].layer) != 0, "detail", found.detail,
            "advice", found.available ? NULL : layers[i].advice);
        if (entry == NULL || json_array_append_new(list, entry) < 0) {
            kiln_error_set(err, -ENOMEM, "probe: out of memory");
            return NULL;
        }
    }
    if (list == NULL) {
        kiln_error_set(err, -ENOMEM, "probe: out of memory");
        return NULL;
    }
    return kiln_steal(list);
}
