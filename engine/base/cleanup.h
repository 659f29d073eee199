/* cleanup.h - resources that free themselves at the end of their scope, so
 * that functions read straight down. `goto out` is only for ordered teardown. */
#ifndef KILN_BASE_CLEANUP_H
#define KILN_BASE_CLEANUP_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void kiln_cleanup_free(void *p)
{
    free(*(void **)p);
}
static inline void kiln_cleanup_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}
static inline void kiln_cleanup_fclose(FILE **file)
{
    if (*file != NULL) {
        fclose(*file);
    }
}
static inline void kiln_cleanup_json(json_t **json)
{
    json_decref(*json);
}

#define auto_free   __attribute__((cleanup(kiln_cleanup_free)))
#define auto_close  __attribute__((cleanup(kiln_cleanup_close))) /* int, -1 = none */
#define auto_fclose __attribute__((cleanup(kiln_cleanup_fclose)))
#define auto_json   __attribute__((cleanup(kiln_cleanup_json)))

/* Gives a resource away: the scope no longer frees it. */
static inline int kiln_steal_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
#define kiln_steal(pointer)                                                                    \
    ({                                                                                         \
        __typeof__(pointer) *from_ = &(pointer);                                               \
        __typeof__(pointer) taken_ = *from_;                                                   \
        *from_ = NULL;                                                                         \
        taken_;                                                                                \
    })

#endif
