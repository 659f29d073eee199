#include "plugincheck/symbols.h"

#include "base/cleanup.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { SYMBOLS_SIZE_MAX = 64 << 20 };

/* Bytes of the file; NULL: it is cut, or too large a part of it is asked for. */
static void *read_part(int fd, uint64_t offset, uint64_t size)
{
    if (size == 0 || size > SYMBOLS_SIZE_MAX || offset > INT64_MAX) {
        return NULL;
    }
    char *data = malloc(size + 1);
    if (data != NULL && pread(fd, data, size, (off_t)offset) != (ssize_t)size) {
        free(data);
        return NULL;
    }
    if (data != NULL) {
        data[size] = '\0';
    }
    return data;
}

static int damaged(const char *path, kiln_error *err)
{
    return kiln_error_set(err, -ENOEXEC, "%s: its section headers are damaged or stripped",
                          path);
}

int plugin_symbols(const char *path, void (*symbol)(void *user, const char *name, bool defined),
                   void *user, kiln_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    Elf64_Ehdr header;
    if (fd < 0) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    if (pread(fd, &header, sizeof(header), 0) != sizeof(header) ||
        header.e_shentsize != sizeof(Elf64_Shdr)) {
        return damaged(path, err);
    }
    auto_free Elf64_Shdr *sections =
        read_part(fd, header.e_shoff, (uint64_t)header.e_shnum * sizeof(Elf64_Shdr));
    for (unsigned i = 0; sections != NULL && i < header.e_shnum; i++) {
        const Elf64_Shdr *table = &sections[i];
        if (table->sh_type != SHT_DYNSYM || table->sh_link >= header.e_shnum) {
            continue;
        }
        const Elf64_Shdr *strings = &sections[table->sh_link];
        auto_free Elf64_Sym *symbols = read_part(fd, table->sh_offset, table->sh_size);
        auto_free char *names = read_part(fd, strings->sh_offset, strings->sh_size);
        if (symbols == NULL || names == NULL) {
            return damaged(path, err);
        }
        for (size_t k = 1; k < table->sh_size / sizeof(Elf64_Sym); k++) {
            bool local = ELF64_ST_BIND(symbols[k].st_info) == STB_LOCAL ||
                         ELF64_ST_VISIBILITY(symbols[k].st_other) == STV_HIDDEN;
            if (!local && symbols[k].st_name < strings->sh_size) {
                symbol(user, names + symbols[k].st_name, symbols[k].st_shndx != SHN_UNDEF);
            }
        }
        return 0;
    }
    return damaged(path, err);
}
