/* syscalls.h - the table of system calls: what a confined process may ask for. */
#ifndef KILN_SANDBOX_SYSCALLS_H
#define KILN_SANDBOX_SYSCALLS_H

/* NULL-terminated names. What stands in neither answers ENOSYS, as a kernel that
 * never had it: programs then take their older way. */
extern const char *const kiln_syscalls_allowed[];
/* Known and refused: EPERM. */
extern const char *const kiln_syscalls_refused[];

/* Newer than the libseccomp of Debian 12 knows; one number on every architecture. */
typedef struct kiln_syscall_number {
    const char *name;
    int number;
} kiln_syscall_number;
extern const kiln_syscall_number kiln_syscalls_newer[]; /* ends with a NULL name */

#endif
