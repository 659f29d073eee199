/* events.h - what happens to our containers from outside: the engine's event stream. */
#ifndef KILN_CONTAINER_EVENTS_H
#define KILN_CONTAINER_EVENTS_H

#include "backend.h"

/* Listens until events_stop, anew when the engine has been away. */
void events_listen(backend *self);
void events_stop(backend *self);

#endif
