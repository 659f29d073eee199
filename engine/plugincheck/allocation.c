#include "plugincheck/allocation.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static unsigned count;
static unsigned failing;

static bool fails(void)
{
    return ++count == failing;
}

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

static void *our_malloc(size_t size)
{
    return fails() ? no_memory() : malloc(size);
}
static void *our_calloc(size_t number, size_t size)
{
    return fails() ? no_memory() : calloc(number, size);
}
static void *our_realloc(void *block, size_t size)
{
    return fails() ? no_memory() : realloc(block, size);
}
static void *our_reallocarray(void *block, size_t number, size_t size)
{
    return fails() ? no_memory() : reallocarray(block, number, size);
}
static char *our_strdup(const char *text)
{
    return fails() ? no_memory() : strdup(text);
}
static char *our_strndup(const char *text, size_t length)
{
    return fails() ? no_memory() : strndup(text, length);
}
__attribute__((format(printf, 2, 0))) static int our_vasprintf(char **text, const char *format,
                                                               va_list arguments)
{
    return fails() ? (no_memory(), -1) : vasprintf(text, format, arguments);
}
__attribute__((format(printf, 3, 0))) static int
our_vasprintf_chk(char **text, int flag, const char *format, va_list arguments)
{
    (void)flag;
    return our_vasprintf(text, format, arguments);
}
__attribute__((format(printf, 2, 3))) static int our_asprintf(char **text, const char *format,
                                                              ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = our_vasprintf(text, format, arguments);
    va_end(arguments);
    return length;
}
__attribute__((format(printf, 3, 4))) static int our_asprintf_chk(char **text, int flag,
                                                                  const char *format, ...)
{
    va_list arguments;
    (void)flag;
    va_start(arguments, format);
    int length = our_vasprintf(text, format, arguments);
    va_end(arguments);
    return length;
}

static const struct {
    const char *name;
    void (*function)(void);
} replaced[] = {
#define REPLACED(name, function)                                                               \
    {                                                                                          \
        name, (void (*)(void))function                                                         \
    }
    REPLACED("malloc", our_malloc),       REPLACED("calloc", our_calloc),
    REPLACED("realloc", our_realloc),     REPLACED("reallocarray", our_reallocarray),
    REPLACED("strdup", our_strdup),       REPLACED("__strdup", our_strdup),
    REPLACED("strndup", our_strndup),     REPLACED("__strndup", our_strndup),
    REPLACED("asprintf", our_asprintf),   REPLACED("__asprintf_chk", our_asprintf_chk),
    REPLACED("vasprintf", our_vasprintf), REPLACED("__vasprintf_chk", our_vasprintf_chk),
};

/* The value of a dynamic tag; glibc has made addresses of those that are. */
static uintptr_t tag(const Elf64_Dyn *dynamic, Elf64_Sxword wanted)
{
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == wanted) {
            return dynamic->d_un.d_ptr;
        }
    }
    return 0;
}

static int replace(uintptr_t address, void (*function)(void))
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    void *start = (void *)(address & ~(page - 1));
    /* With full RELRO the table is read-only by now. */
    if (mprotect(start, page, PROT_READ | PROT_WRITE) < 0) {
        return -errno;
    }
    memcpy((void *)address, &function, sizeof(function));
    return 0;
}

static int replace_in(const struct link_map *map, uintptr_t table, size_t size)
{
    const Elf64_Sym *symbols = (const Elf64_Sym *)tag(map->l_ld, DT_SYMTAB);
    const char *names = (const char *)tag(map->l_ld, DT_STRTAB);
    const Elf64_Rela *entries = (const Elf64_Rela *)table;
    int rc = 0;
    for (size_t i = 0; table != 0 && rc == 0 && i < size / sizeof(*entries); i++) {
        size_t symbol = ELF64_R_SYM(entries[i].r_info);
        const char *name = symbol != 0 ? names + symbols[symbol].st_name : "";
        for (size_t k = 0; rc == 0 && k < sizeof(replaced) / sizeof(replaced[0]); k++) {
            if (strcmp(name, replaced[k].name) == 0) {
                rc = replace(map->l_addr + entries[i].r_offset, replaced[k].function);
            }
        }
    }
    return rc;
}

int allocation_hook(void *handle, kiln_error *err)
{
    struct link_map *map = NULL;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) {
        return kiln_error_set(err, -EINVAL, "dlinfo: %s", dlerror());
    }
    int rc = replace_in(map, tag(map->l_ld, DT_JMPREL), tag(map->l_ld, DT_PLTRELSZ));
    rc = rc < 0 ? rc : replace_in(map, tag(map->l_ld, DT_RELA), tag(map->l_ld, DT_RELASZ));
    return rc < 0 ? kiln_error_errno(err, rc, "its global offset table") : 0;
}

void allocation_fail(unsigned number)
{
    count = 0;
    failing = number;
}

unsigned allocation_count(void)
{
    return count;
}
