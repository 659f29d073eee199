/* The ABI version of a plugin, read from its file: an object that is not ours, or
 * not of our version, is never opened by the dynamic linker, whose constructors
 * would already run its code. */
#include "plugin/loader.h"

#include "base/cleanup.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { PROGRAM_HEADERS_MAX = 128, NOTES_MAX = 64 << 10 };

static int read_at(int fd, void *data, size_t length, uint64_t offset)
{
    if (offset > INT64_MAX) {
        return -ENOEXEC;
    }
    ssize_t got = pread(fd, data, length, (off_t)offset);
    return got < 0 ? -errno : (size_t)got == length ? 0 : -ENOEXEC;
}

static size_t padded(size_t length)
{
    return (length + 3) & ~(size_t)3;
}

/* Looks for our note among `length` bytes of notes. 1: found; 0: not; -EINVAL. */
static int find_note(const char *notes, size_t length, unsigned *major, unsigned *minor)
{
    size_t at = 0;
    while (length - at >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr header;
        memcpy(&header, notes + at, sizeof(header));
        at += sizeof(header);
        size_t name_size = padded(header.n_namesz), desc_size = padded(header.n_descsz);
        if (header.n_namesz > NOTES_MAX || header.n_descsz > NOTES_MAX ||
            name_size + desc_size > length - at) {
            return -EINVAL;
        }
        if (header.n_namesz == sizeof(KILN_NOTE_NAME) && header.n_type == KILN_NOTE_TYPE &&
            memcmp(notes + at, KILN_NOTE_NAME, sizeof(KILN_NOTE_NAME)) == 0) {
            uint32_t version[2];
            if (header.n_descsz != sizeof(version)) {
                return -EINVAL;
            }
            memcpy(version, notes + at + name_size, sizeof(version));
            *major = version[0];
            *minor = version[1];
            return 1;
        }
        at += name_size + desc_size;
    }
    return 0;
}

static int read_header(int fd, const char *path, Elf64_Ehdr *header, kiln_error *err)
{
#if defined(__x86_64__)
    const unsigned machine = EM_X86_64;
#elif defined(__aarch64__)
    const unsigned machine = EM_AARCH64;
#else
#error "plugins are ELF files of x86-64 or arm64"
#endif
    if (read_at(fd, header, sizeof(*header), 0) < 0 ||
        memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
        return kiln_error_set(err, ENOEXEC, "%s: not an ELF shared object", path);
    }
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
        header->e_machine != machine || header->e_type != ET_DYN) {
        return kiln_error_set(err, ENOEXEC,
                              "%s: an ELF file, but not a shared object for this machine "
                              "(class %d, machine %d, type %d)",
                              path, header->e_ident[EI_CLASS], header->e_machine,
                              header->e_type);
    }
    if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 ||
        header->e_phnum > PROGRAM_HEADERS_MAX) {
        return kiln_error_set(err, ENOEXEC, "%s: damaged ELF file: %d program headers", path,
                              header->e_phnum);
    }
    return 0;
}

int kiln_plugin_read_note(const char *path, unsigned *major, unsigned *minor, kiln_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0) {
        return kiln_error_errno(err, errno, "%s: cannot be opened", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return kiln_error_set(err, ENOEXEC, "%s: not a regular file", path);
    }
    Elf64_Ehdr header;
    int rc = read_header(fd, path, &header, err);
    if (rc < 0) {
        return rc;
    }
    bool found = false;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        if (read_at(fd, &segment, sizeof(segment), header.e_phoff + i * sizeof(segment)) < 0) {
            return kiln_error_set(err, ENOEXEC, "%s: damaged ELF file: it is cut", path);
        }
        /* The dynamic linker maps segments without a look at the file's end, and touching
         * what is not there is a SIGBUS. */
        if (segment.p_type == PT_LOAD &&
            (segment.p_offset > (uint64_t)status.st_size ||
             segment.p_filesz > (uint64_t)status.st_size - segment.p_offset)) {
            return kiln_error_set(err, ENOEXEC, "%s: damaged ELF file: it is cut", path);
        }
        if (segment.p_type != PT_NOTE || segment.p_filesz > NOTES_MAX || found) {
            continue;
        }
        auto_free char *notes = malloc(segment.p_filesz + 1);
        if (notes == NULL) {
            return kiln_error_set(err, ENOMEM, "%s: out of memory", path);
        }
        if (read_at(fd, notes, segment.p_filesz, segment.p_offset) < 0) {
            return kiln_error_set(err, ENOEXEC, "%s: damaged ELF file: it is cut", path);
        }
        rc = find_note(notes, segment.p_filesz, major, minor);
        if (rc < 0) {
            return kiln_error_set(err, EINVAL, "%s: damaged note", path);
        }
        found = rc > 0;
    }
    return found ? 0
                 : kiln_error_set(err, ENOEXEC,
                                  "%s: no Kiln note: not a Kiln plugin (does it end with "
                                  "KILN_PLUGIN(...)?)",
                                  path);
}
