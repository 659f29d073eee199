#include "sources.h"

#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The assembler finds the files through the compiler's -I. The runner's are those of the
 * interpreter: one session.py for both. */
#define EMBED(name, file)                                                                      \
    __asm__(".section .rodata.kiln_source,\"a\",@progbits\n"                                   \
            "kiln_agent_" #name ":\n"                                                          \
            ".incbin \"" file "\"\n"                                                           \
            "kiln_agent_end_" #name ":\n"                                                      \
            ".byte 0\n"                                                                        \
            ".previous\n");                                                                    \
    extern const char kiln_agent_##name[] __attribute__((visibility("hidden")));               \
    extern const char kiln_agent_end_##name[] __attribute__((visibility("hidden")));

#define EMBEDDED(X) X(agent, "agent.py") RUNNER_PARTS(X)

EMBEDDED(EMBED)
EMBED(boot, "boot.py")

static const struct {
    const char *name, *begin, *end;
} sources[] = {
#define ENTRY(name, file) {#name, kiln_agent_##name, kiln_agent_end_##name},
    EMBEDDED(ENTRY)};

const char *agent_boot(void)
{
    return kiln_agent_boot; /* a NUL follows it */
}

char *agent_parts(const char *options, size_t *length)
{
    char *text = NULL;
    FILE *stream = open_memstream(&text, length);
    if (stream == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        size_t size = (size_t)(sources[i].end - sources[i].begin);
        fprintf(stream, "%s %zu\n", sources[i].name, size);
        fwrite(sources[i].begin, 1, size, stream);
    }
    fprintf(stream, "options %zu\n%s", strlen(options), options);
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
