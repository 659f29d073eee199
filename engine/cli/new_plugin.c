/* new_plugin.c - `kiln new-plugin NAME`: a plugin that builds and passes its test, to begin
 * with. The files come from conf/plugin/, with @NAME@ in them. */
#include "cli/command.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/write.h"
#include "core/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "usage: kiln new-plugin NAME [FOLDER]\n\n"
    "Writes a backend to begin with into FOLDER (./NAME): NAME.c, its test and a Makefile.\n"
    "`make` builds it, `make test` checks it (kiln plugin-check) and runs code on it.\n\n"
    "exit status: 0, 2 usage, 125 a file could not be written.\n";

static const struct {
    const char *from;
    const char *to; /* behind NAME, if it begins with a dot */
    mode_t mode;
} files[] = {
    {"plugin.c.in", ".c", 0666},
    {"test.t.in", ".t", 0777},
    {"Makefile.in", "Makefile", 0666},
};

/* As a file, a section [backend NAME] and a C identifier take it. */
static bool is_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length <= 40 && name[0] >= 'a' && name[0] <= 'z' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

static int read_file(const char *path, kiln_buffer *text, kiln_error *err)
{
    char chunk[4096];
    ssize_t got;
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    while ((got = read(fd, chunk, sizeof(chunk))) > 0) {
        if (kiln_buffer_append(text, chunk, (size_t)got) < 0) {
            return kiln_error_set(err, -ENOMEM, "%s: out of memory", path);
        }
    }
    return got < 0 ? kiln_error_errno(err, errno, "%s", path) : 0;
}

static int fill_in(const char *text, const char *name, kiln_buffer *out)
{
    static const char mark[] = "@NAME@";
    int rc = 0;
    for (const char *at; rc == 0 && (at = strstr(text, mark)) != NULL;
         text = at + sizeof(mark) - 1) {
        rc = kiln_buffer_append(out, text, (size_t)(at - text));
        rc = rc < 0 ? rc : kiln_buffer_append(out, name, strlen(name));
    }
    return rc < 0 ? rc : kiln_buffer_append(out, text, strlen(text));
}

static int write_one(size_t which, const kiln_paths *paths, const char *name, int folder_fd,
                     const char *folder, kiln_error *err)
{
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    auto_buffer kiln_buffer filled = KILN_BUFFER_INIT;
    char from[sizeof(paths->conf) + 64];
    char to[64];
    const char *ending = files[which].to;
    snprintf(from, sizeof(from), "%s/plugin/%s", paths->conf, files[which].from);
    snprintf(to, sizeof(to), "%s%s", ending[0] == '.' ? name : "", ending);
    int rc = read_file(from, &text, err);
    if (rc < 0) {
        return rc;
    }
    if (fill_in(text.data != NULL ? text.data : "", name, &filled) < 0) {
        return kiln_error_set(err, -ENOMEM, "out of memory");
    }
    auto_close int fd =
        openat(folder_fd, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, files[which].mode);
    rc = fd < 0 ? -errno : kiln_write_all(fd, filled.data, filled.length);
    return rc < 0 ? kiln_error_errno(err, rc, "%s/%s", folder, to) : 0;
}

static int complain(const kiln_error *err, int status)
{
    fprintf(stderr, "kiln: new-plugin: %s\n", err->text);
    return status;
}

static int run(int argc, char **argv)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_paths paths;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(help, stdout);
        return fflush(stdout) == 0 ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
    }
    if (argc < 2 || argc > 3 || !is_name(argv[1])) {
        kiln_error_set(&err, -EINVAL,
                       "a NAME of a-z, 0-9 and _ that begins with a letter, and perhaps a "
                       "FOLDER are expected");
        return complain(&err, KILN_EXIT_USAGE);
    }
    const char *name = argv[1];
    const char *folder = argc == 3 ? argv[2] : name;
    if (kiln_paths_find(&paths, &err) < 0) {
        return complain(&err, KILN_EXIT_ENGINE);
    }
    if (mkdir(folder, 0777) < 0 && (argc < 3 || errno != EEXIST)) {
        kiln_error_errno(&err, errno, "%s", folder);
        return complain(&err, KILN_EXIT_ENGINE);
    }
    auto_close int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = folder_fd < 0 ? kiln_error_errno(&err, errno, "%s", folder) : 0;
    for (size_t i = 0; rc >= 0 && i < sizeof(files) / sizeof(files[0]); i++) {
        rc = write_one(i, &paths, name, folder_fd, folder, &err);
    }
    if (rc < 0) {
        return complain(&err, KILN_EXIT_ENGINE);
    }
    printf("%s: %s.c, %s.t, Makefile; try: make -C %s test\n", folder, name, name, folder);
    return fflush(stdout) == 0 ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
}

const kiln_command kiln_command_new_plugin = {
    "new-plugin",
    "writes a backend to begin with, its test and a Makefile",
    run,
};
