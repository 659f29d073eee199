/* listener.c - what a supervisor answers when code asks for another namespace. Only
 * registers are judged: what they hold cannot change between the look and the call. */
#include "sandbox/steps.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

/* Later than Debian 12's headers know is longer than these; the kernel tells. */
enum { ROOM = 512 };

#if defined(__x86_64__)
#define NATIVE_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#define NATIVE_ARCHITECTURE 0 /* nothing is let through: branches are refused */
#endif

void kiln_setns_permit_arm(kiln_setns_permit *permit)
{
    permit->left = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID;
}

static bool allow(const struct seccomp_data *data, kiln_setns_permit *permit)
{
    uint64_t kind = data->args[1];
    if (data->arch != NATIVE_ARCHITECTURE || data->nr != __NR_setns || kind == 0 ||
        (kind & (kind - 1)) != 0 || (kind & ~(uint64_t)permit->left) != 0) {
        return false;
    }
    permit->left &= ~(unsigned)kind;
    return true;
}

int kiln_setns_answer(int listener, kiln_setns_permit *permit)
{
    union {
        struct seccomp_notif notif;
        char room[ROOM];
    } question;
    union {
        struct seccomp_notif_resp resp;
        char room[ROOM];
    } answer;
    struct pollfd asked = {.fd = listener, .events = POLLIN};
    if (poll(&asked, 1, 0) == 1 && (asked.revents & POLLIN) == 0) {
        return -ENOENT;
    }
    if (asked.revents == 0) {
        return -EAGAIN; /* RECV would wait */
    }
    memset(&question, 0, sizeof(question));
    memset(&answer, 0, sizeof(answer));
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &question) < 0) {
        return errno == ENOENT || errno == EINTR ? 0 : -errno; /* it was killed meanwhile */
    }
    bool allowed = allow(&question.notif.data, permit);
    answer.resp.id = question.notif.id;
    answer.resp.error = allowed ? 0 : -EPERM;
    answer.resp.flags = allowed ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 && errno != ENOENT) {
        return -errno;
    }
    return 0;
}
