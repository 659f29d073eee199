/* check.h - for `kiln check`: is the container engine there, and has it the images? */
#ifndef KILN_CONTAINER_CHECK_H
#define KILN_CONTAINER_CHECK_H

#include "backend.h"

/* Begins to ask; nothing is pulled, made or removed. What is found goes to kiln_checks. 0 or
 * negative errno. */
int check_begin(backend *self);
/* Ends it without a word; no check is nothing. */
void check_stop(backend *self);

#endif
