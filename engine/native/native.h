/* native.h - C functions that the configuration and plugins name, called in processes that
 * are made for them and confined as a session's are. A helper process serves the functions
 * of one group (the word before the dot of their names), one call at a time; one that dies,
 * or takes too long, costs the call that it was for, and the next call gets another.
 * Thread: loop. */
#ifndef KILN_NATIVE_NATIVE_H
#define KILN_NATIVE_NATIVE_H

#include "config/config.h"
#include "native/check.h"
#include "sandbox/sandbox.h"

#include <jansson.h>
#include <uv.h>

typedef struct kiln_natives kiln_natives;
typedef struct kiln_native_call kiln_native_call;

enum kiln_native_exposure {
    KILN_NATIVE_TO_POLICY = 1 << 0,
    KILN_NATIVE_TO_CODE = 1 << 1,
};

typedef struct kiln_natives_spec {
    uv_loop_t *loop;
    const char *helper; /* the program native.worker */
    kiln_sandbox_policy sandbox;
} kiln_natives_spec;

/* Starts nothing; the first call does. */
int kiln_natives_new(const kiln_natives_spec *spec, kiln_natives **natives, kiln_error *err);
/* Ends the helpers. Calls in flight are told so. NULL: nothing. */
void kiln_natives_free(kiln_natives *natives);
/* The functions of the [native NAME] sections in place of those of an earlier one; what is in
 * flight goes on. On failure (as two of one name) everything stays. */
int kiln_natives_configure(kiln_natives *natives, const kiln_config *config, kiln_error *err);
/* One that a plugin exports; NAME is PLUGIN.FUNCTION. Stays through configure. */
int kiln_natives_export(kiln_natives *natives, const char *plugin, const char *library,
                        const kiln_function *function, kiln_error *err);

/* What there is of that name for `exposure`. */
typedef enum kiln_native_found {
    KILN_NATIVE_NONE,
    KILN_NATIVE_FUNCTION,
    KILN_NATIVE_GROUP, /* the word before the dot of some */
} kiln_native_found;
kiln_native_found kiln_natives_find(const kiln_natives *natives, const char *name,
                                    unsigned exposure);
/* [{"name","library","symbol","signature","expose":[""]}]. New reference. */
json_t *kiln_natives_to_json(const kiln_natives *natives);

/* Why a call failed: NativeUnknown, NativeType, NativeOverflow, NativeTimeout, NativeCrashed,
 * NativeLimit, NativeError; text is one line. Borrowed. */
typedef struct kiln_native_failure {
    const char *name;
    const char *text;
} kiln_native_failure;

typedef struct kiln_native_callbacks {
    /* Once, possibly before kiln_native_call returns, never after a cancel: `results` is a
     * list, checked against the signature, or NULL and why. Both borrowed. */
    void (*done)(void *user, const kiln_native_value *results,
                 const kiln_native_failure *failure);
    /* C calls the function that was given as callback `which`. `given` is a list, borrowed;
     * *returned, a number, bool or nothing. 0; negative with err: the call fails with it,
     * once C has returned. NULL: none can be given. */
    int (*callback)(void *user, uint64_t which, const kiln_native_value *given,
                    kiln_native_value *returned, kiln_error *err);
} kiln_native_callbacks;

/* `arguments`, a list, are borrowed for the call, and numbers in it may change their form.
 * *handle is valid until done. */
void kiln_native_call_start(kiln_natives *natives, const char *name, unsigned exposure,
                            kiln_native_value *arguments,
                            const kiln_native_callbacks *callbacks, void *user,
                            kiln_native_call **handle);
/* Whether its library has it, as its helper finds it: done with an empty list, or why not. */
void kiln_native_probe(kiln_natives *natives, const char *name,
                       const kiln_native_callbacks *callbacks, void *user,
                       kiln_native_call **handle);
/* Its done will not come. A helper that is at it is ended: there is no other way out of C. */
void kiln_native_call_cancel(kiln_native_call *call);

#endif
