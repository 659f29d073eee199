/* native-t.h - what registry.c and client.c share; nobody else includes it. */
#ifndef KILN_NATIVE_NATIVE_T_H
#define KILN_NATIVE_NATIVE_T_H

#include "base/buffer.h"
#include "native/native.h"
#include "worker/sandboxed.h"

typedef struct kiln_native_function {
    char *name;
    char *group;
    char *library;
    char *symbol;
    char *text; /* of the signature */
    kiln_native_signature signature;
    unsigned exposure;
    uint64_t timeout_ms;
    uint64_t memory;
    bool exported; /* a plugin's */
} kiln_native_function;

/* A helper process, or the place for one. */
typedef struct kiln_native_group {
    struct kiln_native_group *next;
    kiln_natives *natives;
    char *name;
    uint64_t memory; /* of the process that is there */
    kiln_sandbox *sandbox;
    kiln_guest *guest;
    bool ready;       /* the sandbox is */
    bool busy;        /* with the first call */
    bool closing;     /* within kiln_sandbox_close */
    char **libraries; /* that are in the sandbox, by path */
    size_t library_count;
    kiln_buffer answer;      /* of the call */
    kiln_native_call *calls; /* the first is the one that is served */
    uv_timer_t *timer;
} kiln_native_group;

struct kiln_natives {
    kiln_natives_spec spec;
    char *helper;
    kiln_native_function **functions;
    size_t count;
    kiln_zygote *zygote;
    kiln_native_group *groups;
};

struct kiln_native_call {
    kiln_native_call *next;
    kiln_native_group *group;
    char *name;
    char *library;
    kiln_native_signature signature;
    uint64_t timeout_ms;
    uint64_t memory;
    bool probe; /* nothing is called */
    kiln_buffer request;
    kiln_native_callbacks callbacks;
    void *user;
};

/* registry.c */
const kiln_native_function *kiln_natives_lookup(const kiln_natives *natives, const char *name,
                                                unsigned exposure);
/* client.c */
void kiln_native_groups_close(kiln_natives *natives);

#endif
