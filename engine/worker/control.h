/* control.h - what goes between engine, spawner, zygote and supervisor: one message a
 * datagram on a SOCK_SEQPACKET socket pair, descriptors beside it.
 *
 *   engine -> spawner      CONFIG once, first; OPEN for each session
 *   spawner -> engine      STARTED, then READY; or FAILED with text in their place
 *   zygote -> spawner      READY or FAILED, once; supervisors ask it as zygote.h says
 *   engine -> supervisor   RUN_PROGRAM, RUN_WORKER (one at a time), KILL, INTERRUPT, SWEEP,
 *                          ADJUST, NURSE, NEST, COPY, ARM, SETTLE, ADOPT, HOLD, RELEASE
 *   supervisor -> engine   READY or FAILED once, first; BORN for a worker, where there is no
 *                          cgroup; EXIT for each RUN and ADOPT; SWEPT for each SWEEP, with
 *                          the sweep's id, and likewise ADJUSTED, COPIED, SETTLED, ADOPTED,
 *                          HELD
 *
 * Both ends are the same executable, so structs travel as they are. No code of a
 * user ever holds one of these sockets. A payload that does not fit a datagram goes
 * through a memfd; callers do not see the difference. */
#ifndef KILN_WORKER_CONTROL_H
#define KILN_WORKER_CONTROL_H

#include "base/error.h"
#include "sandbox/sandbox.h"

#include <stddef.h>
#include <stdint.h>

enum {
    KILN_CONTROL_FD = 3,            /* the spawner's end when it is started; the zygote's */
    KILN_CONTROL_INLINE = 16 << 10, /* bytes of payload in a datagram */
    KILN_CONTROL_MAX = 64 << 20,    /* bytes of payload */
    KILN_CONTROL_FDS = 16,
};

typedef enum kiln_control_type {
    KILN_CONTROL_CONFIG = 1, /* kiln_control_config, then its options as strings */
    KILN_CONTROL_OPEN = 2,   /* kiln_sandbox_session; fd: supervisor's end */
    KILN_CONTROL_READY = 3,  /* of a supervisor with fds: root, pidfd, a proxy's listener */
    KILN_CONTROL_FAILED = 4, /* text */
    KILN_CONTROL_RUN_PROGRAM = 5, /* kiln_control_run, argv, env; fds: 0, 1, 2 */
    KILN_CONTROL_RUN_WORKER = 6,  /* kiln_control_run; fds: 0, 1, 2, frame socket */
    KILN_CONTROL_KILL = 7,        /* everything but the supervisor */
    KILN_CONTROL_INTERRUPT = 8,   /* SIGINT to the main process; id: the cell's */
    KILN_CONTROL_EXIT = 9,        /* kiln_control_exit, then text when error is set */
    KILN_CONTROL_SWEEP = 11,      /* kill everything but the supervisor and the main process */
    KILN_CONTROL_SWEPT = 12,      /* it is done */
    KILN_CONTROL_ADJUST = 13,     /* kiln_control_adjust: narrower limits */
    KILN_CONTROL_ADJUSTED = 14,   /* empty, or text: why they cannot be kept */
    KILN_CONTROL_NURSE = 15,      /* kiln_control_run without strings: a process that waits to
                                     be the next program; no answer */
    KILN_CONTROL_BORN = 16,       /* a worker, which is the zygote's child; fd: pidfd */
    KILN_CONTROL_CGROUPS = 17,    /* fds: the cgroups that the session's processes enter */
    KILN_CONTROL_STARTED = 10,    /* of a spawner, before it preloads; fd: pidfd */
    /* of branches and snapshots, see supervisor_branch.c and supervisor_snapshot.c */
    KILN_CONTROL_NEST = 20,    /* kiln_sandbox_session; fd as OPEN's */
    KILN_CONTROL_COPY = 21,    /* files; fd: root of the session that they come from */
    KILN_CONTROL_COPIED = 22,  /* text when it failed */
    KILN_CONTROL_ARM = 23,     /* one entry into a nested session may be made */
    KILN_CONTROL_SETTLE = 24,  /* and no more; nobody is to be on the way there */
    KILN_CONTROL_SETTLED = 25, /* text when it failed */
    KILN_CONTROL_ADOPT = 26,   /* kiln_control_adopt: it becomes the main process of this id */
    KILN_CONTROL_ADOPTED = 27, /* text when it failed */
    KILN_CONTROL_HOLD = 28,    /* kiln_control_hold; the files are saved with it */
    KILN_CONTROL_HELD = 29,    /* text when it failed */
    KILN_CONTROL_RELEASE = 30, /* the snapshot ends */
} kiln_control_type;

typedef struct kiln_control_config {
    kiln_sandbox_policy policy;
    int32_t log_level;
    uint32_t option_count;
} kiln_control_config;

typedef struct kiln_control_run {
    kiln_limits limits;
    uint32_t argc, envc; /* NUL-terminated strings that follow */
} kiln_control_run;

typedef struct kiln_control_adjust {
    kiln_sandbox_session session; /* disk and files count */
    kiln_limits limits;           /* of the main process, if there is one */
} kiln_control_adjust;

typedef struct kiln_control_adopt {
    bool snapshot;           /* the one that is held, files included; else who has entered */
    kiln_cgroup_name cgroup; /* that who has entered must be in */
} kiln_control_adopt;

typedef struct kiln_control_hold {
    int32_t pid; /* in the session's namespace, as its worker says */
} kiln_control_hold;

typedef struct kiln_control_exit {
    int32_t status;         /* as wait(2) gives it */
    int32_t error;          /* negative errno: it could not be started, text says why */
    uint64_t cpu_us;        /* of everything that was reaped */
    uint64_t max_rss_bytes; /* of the largest process */
} kiln_control_exit;

typedef struct kiln_control_message {
    kiln_control_type type;
    uint32_t id;
    size_t length;
    char *payload; /* `small`, or allocated; one NUL follows that is not counted */
    int fd_count;
    int fds[KILN_CONTROL_FDS]; /* -1: taken by kiln_steal_fd */
    char small[KILN_CONTROL_INLINE + 1];
} kiln_control_message;

/* Two ends, the caller's; closed where another program begins. 0; -errno, told as `whose`. */
int kiln_control_pair(int pair[2], const char *whose, kiln_error *err);
/* fds are borrowed. `flags` are sendmsg's (MSG_DONTWAIT). 0; -EAGAIN; -EPIPE: the
 * other side is gone; another errno. */
int kiln_control_send(int socket, kiln_control_type type, uint32_t id, const void *payload,
                      size_t length, const int *fds, int fd_count, int flags);
/* 1: *message is filled, to be cleared by the caller; 0: the other side is gone;
 * -EAGAIN with MSG_DONTWAIT; -EPROTO or another errno. */
int kiln_control_receive(int socket, int flags, kiln_control_message *message);
/* Closes the descriptors that were not taken, frees the payload. */
void kiln_control_clear(kiln_control_message *message);

/* Makes `count` pointers to the NUL-terminated strings from payload + offset on,
 * with a NULL after them; *end is the offset after the last. Caller frees the array;
 * NULL: no memory, or fewer strings than that. */
char **kiln_control_strings(const kiln_control_message *message, size_t offset, uint32_t count,
                            size_t *end);

#endif
