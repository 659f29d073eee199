#include "config/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_SIZE = 16 << 10 };

struct kiln_arena_block {
    struct kiln_arena_block *next;
    size_t used, size;
    alignas(max_align_t) char data[];
};

void *kiln_arena_alloc(kiln_arena *arena, size_t size)
{
    size_t align = alignof(max_align_t);
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    size = (size + align - 1) / align * align;
    struct kiln_arena_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < size) {
        size_t room = size > BLOCK_SIZE ? size : BLOCK_SIZE;
        block = calloc(1, sizeof(*block) + room);
        if (block == NULL) {
            return NULL;
        }
        block->size = room;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    void *memory = block->data + block->used;
    block->used += size;
    return memory;
}

char *kiln_arena_text(kiln_arena *arena, const char *text, size_t length)
{
    char *copy = kiln_arena_alloc(arena, length + 1);
    if (copy != NULL && length > 0) {
        memcpy(copy, text, length);
    }
    return copy;
}

void kiln_arena_free(kiln_arena *arena)
{
    while (arena->blocks != NULL) {
        struct kiln_arena_block *block = arena->blocks;
        arena->blocks = block->next;
        free(block);
    }
}
