/* leftovers.h - containers that an engine left which did not come to its end. */
#ifndef KILN_CONTAINER_LEFTOVERS_H
#define KILN_CONTAINER_LEFTOVERS_H

#include "backend.h"

/* The label of our own containers: who made them, so that a later engine can tell whether
 * that one still lives. */
void leftovers_label(char *label, size_t size);
/* Looks for those of engines that are gone, and removes them, beside everything else. */
void leftovers_sweep(backend *self);
/* What has not been answered is of no more use. */
void leftovers_stop(backend *self);

#endif
