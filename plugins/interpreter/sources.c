/* sources.c - the runner's Python files, embedded into the plugin, so that no
 * file of a session can take their place. */
#include "parts.h"
#include "worker.h"

#include <string.h>

/* The assembler finds the files through the compiler's -I. */
#define EMBED(name, file)                                                                      \
    __asm__(".section .rodata.kiln_source,\"a\",@progbits\n"                                   \
            "kiln_source_" #name ":\n"                                                         \
            ".incbin \"" file "\"\n"                                                           \
            "kiln_source_end_" #name ":\n"                                                     \
            ".byte 0\n"                                                                        \
            ".previous\n");                                                                    \
    extern const char kiln_source_##name[] __attribute__((visibility("hidden")));              \
    extern const char kiln_source_end_##name[] __attribute__((visibility("hidden")));

#define EMBEDDED RUNNER_PARTS

EMBEDDED(EMBED)

static const struct {
    const char *name, *begin, *end;
} sources[] = {
#define ENTRY(name, file) {#name, kiln_source_##name, kiln_source_end_##name},
    EMBEDDED(ENTRY)};

const char *kiln_embedded_source(const char *name, size_t *length)
{
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
        if (strcmp(sources[i].name, name) == 0) {
            *length = (size_t)(sources[i].end - sources[i].begin);
            return sources[i].begin;
        }
    return NULL;
}

/* Written by freeze.py when the build does that; compiling the sources at every
 * start costs 5 to 10 ms. */
#if __has_include("interpreter_bytecode.h")
#include "interpreter_bytecode.h"
#else
static const struct {
    const char *name;
    const unsigned char *data;
    size_t length;
} bytecode[] = {{NULL, NULL, 0}};
#endif

const char *kiln_embedded_bytecode(const char *name, size_t *length)
{
    for (size_t i = 0; bytecode[i].name; i++)
        if (strcmp(bytecode[i].name, name) == 0) {
            *length = bytecode[i].length;
            return (const char *)bytecode[i].data;
        }
    return NULL;
}
