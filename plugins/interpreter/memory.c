/* memory.c - fewer page faults. One costs some 10 us on a virtual machine, and Python's
 * start alone takes 900: what is certain to be written is asked for in one piece. All of
 * it is advice; where the kernel has none of these calls, the faults just come. */
#include "worker.h"

#include <Python.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

enum {
    ARENA = 1 << 20, /* as obmalloc's ARENA_SIZE */
    HUGE = 2 << 20,
    HEAP = 640 << 10, /* bytes of malloc that a start without preload takes */
};

/* The zygote's arenas lie in huge pages: one fault instead of 512, and a cheaper fork
 * of it. A session's own do not, since a huge page is private as a whole. */
static bool huge_arenas = true;
static char *spare;  /* the second half of the last huge page */
static char *newest; /* the last arena */

static void *huge_half(void)
{
    if (spare != NULL) {
        void *half = spare;
        spare = NULL;
        return half;
    }
    char *area =
        mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) {
        return NULL;
    }
    char *start = (char *)(((uintptr_t)area + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
    if (start > area) {
        munmap(area, (size_t)(start - area));
    }
    munmap(start + HUGE, (size_t)(area + 2 * HUGE - (start + HUGE)));
    madvise(start, HUGE, MADV_HUGEPAGE);
    spare = start + ARENA;
    return start;
}

static void *arena_alloc(void *context, size_t size)
{
    (void)context;
    if (huge_arenas && size == ARENA) {
        return newest = huge_half();
    }
    void *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return newest = area == MAP_FAILED ? NULL : area;
}

static void arena_free(void *context, void *area, size_t size)
{
    (void)context;
    munmap(area, size);
}

static void populate(const void *from, size_t length)
{
    uintptr_t start = (uintptr_t)from & ~(uintptr_t)4095;
    madvise((void *)start, length, MADV_POPULATE_WRITE);
}

/* By mallopt(M_TOP_PAD) it would be less, but that also keeps malloc from learning how large
 * its blocks are: then each array of 128 KB and more is mapped anew, page by page (measured: an
 * array of 512 KB in a loop took eight times as long). What is freed from the front, beneath
 * a block that stays, is not given back to the kernel. */
static void prepare_heap(void)
{
    enum { BLOCK = 64 << 10, BLOCKS = HEAP / BLOCK };
    char *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(BLOCK);
    }
    static void *kept;
    kept = malloc(64);
    (void)kept;
    for (int i = 0; i < BLOCKS; i++) {
        if (blocks[i] != NULL) {
            populate(blocks[i], BLOCK);
        }
        free(blocks[i]);
    }
}

void kiln_memory_prepare(void)
{
    /* libpython's static objects: their reference counts and hashes are written */
    extern char __data_start[], _edata[]; /* NOLINT(bugprone-reserved-identifier): ld's */
    populate(__data_start, (size_t)((uintptr_t)_edata - (uintptr_t)__data_start));
    prepare_heap();
    PyObjectArenaAllocator allocator = {NULL, arena_alloc, arena_free};
    PyObject_SetArenaAllocator(&allocator);
}

/* What a worker allocates would fill the gaps between the zygote's objects, and copy a page
 * for each. So the gaps are closed, and its objects stand together: a third less is private
 * to a session that has run one cell. A gap that is closed stays lost to all. */
enum { GAPS_MAX = 64 << 20 }; /* bytes; against an allocator that is not the one we know */

/* Python's small objects: blocks of one size lie in pools, pools in arenas. All arenas are
 * used up by one size, so that the next pool of any is in a new one. */
static void close_gaps_in_arenas(void)
{
    enum { ALIGNMENT = 16, SMALL = 512 }; /* as obmalloc's */
    void *last[SMALL / ALIGNMENT] = {NULL};
    const char *before = newest;
    size_t used = 0;
    for (size_t size = SMALL; size > 0; size -= ALIGNMENT) {
        char *block;
        do {
            block = PyObject_Malloc(size);
            used += size;
        } while (block != NULL && used < GAPS_MAX &&
                 (newest == before || block < newest || block >= newest + ARENA));
        last[size / ALIGNMENT - 1] = block;
    }
    for (size_t i = 0; i < SMALL / ALIGNMENT; i++) {
        PyObject_Free(last[i]);
    }
}

/* malloc's: whatever lies before the free end of its heap, from large to small. */
static void close_gaps_in_heap(void)
{
    enum { LARGE = 64 << 10, SMALL = 1024, ALIGNMENT = 16 };
    size_t used = 0;
    for (size_t size = LARGE; size >= ALIGNMENT;) {
        const char *end = (char *)sbrk(0) - mallinfo2().keepcost;
        char *block;
        do {
            block = malloc(size);
            used += size;
        } while (block != NULL && block < end && used < GAPS_MAX);
        free(block);
        size -= size > SMALL ? size / 8 & ~(size_t)(ALIGNMENT - 1) : ALIGNMENT;
    }
}

void kiln_memory_settle(void)
{
    close_gaps_in_arenas();
    close_gaps_in_heap();
}

void kiln_memory_forked(void)
{
    huge_arenas = false;
}
