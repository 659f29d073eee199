/* seccomp.c - loading the filter, and proof that it holds. */
#include "base/cleanup.h"
#include "sandbox/seccomp_program.h"
#include "sandbox/steps.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static kiln_seccomp_program program;

int kiln_sandbox_seccomp_prepare(kiln_error *err)
{
    return program.code != NULL ? 0 : kiln_seccomp_build(&program, err);
}

int kiln_seccomp_load(kiln_error *err)
{
    int rc = kiln_sandbox_seccomp_prepare(err);
    if (rc < 0) {
        return rc;
    }
    struct sock_fprog filter = {(unsigned short)program.length, program.code};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0) {
        return kiln_error_errno(err, errno, "seccomp: loading the filter");
    }
    return 0;
}

int kiln_seccomp_load_listening(int *listener, kiln_error *err)
{
    int rc = kiln_sandbox_seccomp_prepare(err);
    if (rc < 0) {
        return rc;
    }
    struct sock_filter answer = program.code[program.setns];
    program.code[program.setns].k = SECCOMP_RET_USER_NOTIF;
    struct sock_fprog filter = {(unsigned short)program.length, program.code};
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                      &filter);
    program.code[program.setns] = answer;
    *listener = (int)fd;
    return fd < 0 ? kiln_seccomp_load(err) : 0; /* before Linux 5.0 */
}

int kiln_seccomp_verify(kiln_error *err)
{
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != SECCOMP_MODE_FILTER) {
        return kiln_error_set(err, -EPERM, "seccomp did not hold");
    }
    return 0;
}
