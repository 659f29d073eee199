/* box.h - one container and its life: made, started, used by one session, removed.
 *
 * Its main process holds it together. In a box for Python that is the agent; else it is
 * `cat`, which waits for the end of its input, under a user of its own, so that the code's
 * processes can all be killed without it. Either ends when the engine is gone. */
#ifndef KILN_CONTAINER_BOX_H
#define KILN_CONTAINER_BOX_H

#include "api.h"
#include "backend.h"
#include "demux.h"
#include "meter.h"

typedef enum box_state {
    BOX_OPENING,
    BOX_READY,
    BOX_LOST,     /* it has ended, or is of no more use; why is known or being asked for */
    BOX_REMOVING, /* only the engine still knows it */
} box_state;

/* What somebody outside did to it, as the engine's events tell. */
typedef enum box_fate { FATE_NONE, FATE_KILLED, FATE_PAUSED, FATE_REMOVED } box_fate;

struct box {
    struct box *next, **place;
    backend *self;
    box_state state;
    char name[NAME_LENGTH];
    char id[80]; /* the engine's */
    char *image;
    bool has_agent;
    char *options; /* of the agent: NAME=value lines; its length is in the command */
    kiln_limits limits;
    api_call *call; /* the step in flight */
    kiln_timer *timer;
    http *attach; /* the main process's streams; NULL once they have ended */
    demux streams;
    int stop;              /* of the demultiplexer */
    pid_t pid;             /* of its init, as the engine says */
    bool direct;           /* its work directory is open from here; else: */
    struct mirror *mirror; /* what stands for it */
    int work_fd;           /* of either */
    bool files_kept;       /* the limit on their number */
    meter meter;
    uint64_t idle_processes; /* when nothing of the code runs */
    struct agent *agent;
    struct job *job; /* the execution in flight, or NULL */
    bool creating;   /* asked for, and no answer yet */
    bool created;    /* the engine may know it: it has to be removed */
    bool again;      /* to be made anew once it is removed */
    bool removing;   /* asked for, and no answer yet */
    bool unwanted;   /* freed when nothing is in flight */
    box_fate fate;
    int fate_signal;
    struct {
        char text[400];   /* one line */
        const char *name; /* errors[].name */
        kiln_status status;
        int exit_code; /* of its main process; -1: unknown */
    } lost;            /* how it ended */
    char why[300];     /* what was known when it was lost, or "" */
    bool oom;          /* the kernel killed for memory, as seen when it was lost */
    uint64_t ooms_seen;
    bool asked_twice;
    bool exec_failed;   /* an exec in it did: whether because of it, the engine is asked */
    char said[160];     /* on its stderr, before it was ready */
    unsigned questions; /* asked why, without an answer */
    size_t logged;      /* bytes of its log lines */
    /* Once: ready (error NULL), or of no use (then it is being removed already). */
    void (*ready)(void *user, struct box *box, const char *error);
    void *user;
};

/* Begins to make one; `ready` later, never from within. NULL: out of memory. */
struct box *box_open(backend *self, const char *image, bool has_agent,
                     const kiln_limits *limits,
                     void (*ready)(void *user, struct box *box, const char *error), void *user);
/* ending.c */

/* Nobody wants it any more: it is removed, `ready` will not be called. */
void box_close(struct box *box);
/* It will not be ready: `ready` is told so. */
void box_give_up(struct box *box, const char *error);
/* One that is being made is removed, and made anew as the settings are now. */
void box_make_anew(struct box *box);
/* One that is between two attempts at its removal makes the next at once. */
void box_remove_now(struct box *box);
/* Its main process, its agent or its engine is no more there: finds out why, then tells the
 * job that runs in it. `why`: what is known already, or NULL. */
void box_lost(struct box *box, const char *why);
/* Ends it at once, with this to tell; its job is told when it has gone. */
void box_kill(struct box *box, const char *name, const char *text);
/* From the engine's events. */
void box_fated(struct box *box, box_fate fate, int signal_number);

/* box.c */

/* Begins with the first step; nothing of an earlier attempt is left. */
void box_make(struct box *box);
/* The agent is ready for cells. */
void box_agent_ready(struct box *box);
/* Whether a box that was made for some limits keeps others. */
bool box_keeps(const struct box *box, const kiln_limits *limits);

/* spec.c: the body of the call that creates it; new reference, or NULL. */
json_t *box_spec(const struct box *box);

#endif
