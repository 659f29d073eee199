/* arena.h - memory that is freed all at once. A configuration is built of hundreds of
 * small strings that live exactly as long as it does. Thread: one at a time. */
#ifndef KILN_CONFIG_ARENA_H
#define KILN_CONFIG_ARENA_H

#include <stddef.h>

typedef struct kiln_arena {
    struct kiln_arena_block *blocks;
} kiln_arena;

#define KILN_ARENA_INIT                                                                        \
    {                                                                                          \
        NULL                                                                                   \
    }

/* Zeroed and aligned for any type, or NULL. The arena's own. */
void *kiln_arena_alloc(kiln_arena *arena, size_t size);
/* A NUL-terminated copy of `length` bytes, or NULL. */
char *kiln_arena_text(kiln_arena *arena, const char *text, size_t length);
void kiln_arena_free(kiln_arena *arena);

#define auto_arena __attribute__((cleanup(kiln_arena_free)))

#endif
