/* processes.h - the processes that a supervisor sees, as the kernel tells of them in its
 * /proc. In the supervisor only, whose namespace's the /proc is. */
#ifndef KILN_WORKER_PROCESSES_H
#define KILN_WORKER_PROCESSES_H

#include <dirent.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct kiln_process_facts {
    pid_t pid;
    bool own;      /* of this pid namespace, not of one nested in it */
    bool stopped;  /* or dead: it cannot fork */
    bool zombie;   /* has ended and is not reaped */
    bool capable;  /* has a capability of whatever namespace, or could get one back */
    bool filtered; /* by seccomp: code of a user; every supervisor is not */
    bool no_new_privs;
    uid_t uids[4]; /* real, effective, saved, of files */
    unsigned threads;
} kiln_process_facts;

typedef struct kiln_process_list {
    DIR *proc;
} kiln_process_list;

/* 0 or -errno. */
int kiln_processes_begin(kiln_process_list *list);
/* The next but pid 1; false at the end. One that is gone meanwhile is left out. */
bool kiln_processes_next(kiln_process_list *list, kiln_process_facts *facts);
void kiln_processes_end(kiln_process_list *list);
/* 0 or -errno. */
int kiln_process_look(pid_t pid, kiln_process_facts *facts);
/* Whether a process is in the same namespace of that kind ("mnt") as we are. */
bool kiln_process_shares(pid_t pid, const char *kind);

#endif
