/* What a hundred rounds of something leave behind. */
#include "plugincheck/check-t.h"

#include <dirent.h>
#include <malloc.h>

enum { ROUNDS = 100 };

static size_t count_entries(const char *folder)
{
    size_t count = 0;
    DIR *entries = opendir(folder);
    while (entries != NULL && readdir(entries) != NULL) {
        count++;
    }
    if (entries != NULL) {
        closedir(entries);
    }
    return count;
}

typedef struct holdings {
    size_t bytes, descriptors, threads;
} holdings;

static holdings held(void)
{
    return (holdings){mallinfo2().uordblks, count_entries("/proc/self/fd"),
                      count_entries("/proc/self/task")};
}

/* What a hundred rounds leave; twice, and the smaller counts: caches of the allocator fill
 * up once, a leak goes on. */
check_verdict check_leaks(check_subject *subject,
                          bool (*round)(check_subject *subject, fake_engine *engine))
{
    fake_engine engine;
    holdings at[3];
    for (int i = 0; i <= 2 * ROUNDS + 5; i++) {
        if (i >= 5 && (i - 5) % ROUNDS == 0) { /* what is made once is made by now */
            at[(i - 5) / ROUNDS] = held();
        }
        if (!round(subject, &engine)) {
            return CHECK_FAILED;
        }
    }
    if (at[2].descriptors > at[1].descriptors) {
        return check_failed(subject, "leaves %zu descriptors open in %d rounds",
                            at[2].descriptors - at[1].descriptors, ROUNDS);
    }
    if (at[2].threads > at[1].threads) {
        return check_failed(subject, "leaves %zu threads in %d rounds",
                            at[2].threads - at[1].threads, ROUNDS);
    }
    /* glibc's smallest block is of 32 bytes */
    const size_t least = 16 * ROUNDS;
    if (at[1].bytes > at[0].bytes + least && at[2].bytes > at[1].bytes + least) {
        return check_failed(subject, "leaks %zu bytes in %d rounds", at[2].bytes - at[1].bytes,
                            ROUNDS);
    }
    return check_violated(subject, &engine);
}
