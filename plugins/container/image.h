/* image.h - whether the engine has an image, and pulling it when it has not. */
#ifndef KILN_CONTAINER_IMAGE_H
#define KILN_CONTAINER_IMAGE_H

#include "backend.h"

/* Calls back once, possibly from within: error NULL: it is there; else one line. Many may
 * wait for one image; a pull is one. Progress goes to the log. */
void image_need(backend *self, const char *name, void (*done)(void *user, const char *error),
                void *user);
/* `done` will not be called. */
void image_forget(backend *self, void *user);
/* The engine says that it has it no more: the next need looks again. */
void image_gone(backend *self, const char *name);
void images_free(backend *self);

/* credentials.c: the header "X-Registry-Auth: ..." for the image's registry from the auth
 * file; malloc'd, or NULL: there is none for it. Never to be logged. */
char *credentials_for(const backend *self, const char *image);
/* "docker.io" for "python:3", "quay.io" for "quay.io/x/y". */
void registry_of(const char *image, char *registry, size_t size);

#endif
