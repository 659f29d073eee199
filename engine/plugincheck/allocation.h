/* allocation.h - makes the plugin's own allocations fail, one of them, by number: its calls
 * of malloc and the like are turned to ours in its global offset table. Not thread-safe;
 * for a process that ends with the test. */
#ifndef KILN_PLUGINCHECK_ALLOCATION_H
#define KILN_PLUGINCHECK_ALLOCATION_H

#include "base/error.h"

/* `handle` is dlopen's. 0, or negative with err. */
int allocation_hook(void *handle, kiln_error *err);
/* The number-th call from now on fails, from 1; 0: none. */
void allocation_fail(unsigned number);
/* Calls since allocation_fail. */
unsigned allocation_count(void);

#endif
