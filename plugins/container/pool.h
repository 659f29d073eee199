/* pool.h - started containers that wait for a session: as many for each image as
 * [backend container] pool says, refilled as they are taken, off the hot path. */
#ifndef KILN_CONTAINER_POOL_H
#define KILN_CONTAINER_POOL_H

#include "box.h"

/* From now on there shall be some. */
void pool_want(backend *self, const char *image, bool has_agent, const kiln_limits *limits);
/* One that is ready and has these limits; the caller's from then on. NULL: none. */
struct box *pool_take(backend *self, const char *image, bool has_agent,
                      const kiln_limits *limits);
void pools_free(backend *self);

#endif
