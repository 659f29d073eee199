/* file.c - one INI file and what it includes, into the store. */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "config/reader.h"
#include "config/store.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    DEPTH_MAX = 8,   /* files that include one another */
    FILES_MAX = 256, /* in one layer */
};

typedef struct ini_file {
    kiln_config *config;
    const struct ini_file *parent;
    const char *path; /* as named: errors and opening; the arena's. For memory a label */
    const char *base; /* absolute folder, the arena's */
    bool memory;
    dev_t device;
    ino_t inode;
    unsigned depth;
    unsigned id;           /* tells files apart, also the same file read twice */
    unsigned *files;       /* how many were read in this layer */
    unsigned include_line; /* 0: no include yet */
    kiln_config_layer layer;
    kiln_config_section *section; /* the current one; NULL: before the first */
} ini_file;

static int read_named(const ini_file *parent, const char *path, kiln_config *config,
                      kiln_config_layer layer, unsigned *files, kiln_error *err);

static kiln_place place_of(const ini_file *file, unsigned line)
{
    return (kiln_place){file->layer, file->path, line, file->base};
}

static int on_section(void *user, const char *name, unsigned line, kiln_error *err)
{
    ini_file *file = user;
    kiln_place place = place_of(file, line);
    int rc = kiln_store_section(file->config, name, &place, &file->section, err);
    if (rc < 0) {
        return rc;
    }
    if (file->section->file_id == file->id) {
        return kiln_place_error(err, &place,
                                "[%s] again, it begins at line %u; put all its keys there",
                                file->section->title, file->section->file_line);
    }
    file->section->file_id = file->id;
    file->section->file_line = line;
    return 0;
}

/* The folder of the file's name with a slash, "" for none; `quote` for glob(). */
static int folder_of(const char *path, bool quote, kiln_buffer *folder)
{
    const char *slash = strrchr(path, '/');
    for (const char *p = path; slash != NULL && p <= slash; p++) {
        if (quote && strchr("*?[\\", *p) != NULL && kiln_buffer_append(folder, "\\", 1) < 0) {
            return -ENOMEM;
        }
        if (kiln_buffer_append(folder, p, 1) < 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

static int include_matches(ini_file *file, const char *pattern, const kiln_place *place,
                           kiln_error *err)
{
    glob_t found;
    int rc = glob(pattern, GLOB_ERR, NULL, &found);
    int failure = errno;
    if (rc == GLOB_NOMATCH) {
        return 0;
    }
    if (rc == GLOB_ABORTED && failure == ENOENT) {
        return 0; /* the folder itself is not there: nothing matches */
    }
    if (rc != 0) {
        return kiln_place_error(err, place, "include %s: %s", pattern,
                                rc == GLOB_NOSPACE ? "out of memory" : strerror(failure));
    }
    for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++) {
        rc = read_named(file, found.gl_pathv[i], file->config, file->layer, file->files, err);
    }
    globfree(&found);
    return rc;
}

static int include(ini_file *file, const char *value, unsigned line, kiln_error *err)
{
    kiln_place place = place_of(file, line);
    const char *const *words;
    if (file->include_line != 0) {
        return kiln_place_error(err, &place,
                                "\"include\" again, it is set at line %u; name all files there",
                                file->include_line);
    }
    file->include_line = line;
    if (file->memory) {
        return kiln_place_error(err, &place, "include works in files only");
    }
    /* Split as a command, so that a file's name may hold a comma. */
    if (kiln_words_split(value, false, &file->config->arena, &words, err) < 0) {
        char sentence[sizeof(err->text)];
        memcpy(sentence, err->text, sizeof(sentence));
        return kiln_place_error(err, &place, "include: %s", sentence);
    }
    if (words[0] == NULL) {
        return kiln_place_error(err, &place, "include names no file; name one or take it out");
    }
    for (; *words != NULL; words++) {
        auto_buffer kiln_buffer path = KILN_BUFFER_INIT;
        bool pattern = strpbrk(*words, "*?[") != NULL;
        if ((**words != '/' && folder_of(file->path, pattern, &path) < 0) ||
            kiln_buffer_append(&path, *words, strlen(*words)) < 0) {
            return kiln_error_set(err, ENOMEM, "out of memory for the configuration");
        }
        int rc = pattern
                     ? include_matches(file, path.data, &place, err)
                     : read_named(file, path.data, file->config, file->layer, file->files, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int on_entry(void *user, const char *key, const char *value, unsigned line,
                    kiln_error *err)
{
    ini_file *file = user;
    kiln_place place = place_of(file, line);
    if (file->section != NULL) {
        if (strcmp(key, "include") == 0 && !file->section->spec->open) {
            return kiln_place_error(err, &place,
                                    "\"include\" in [%s], it belongs before the first section",
                                    file->section->title);
        }
        return kiln_store_put(file->config, file->section, key, value, &place, err);
    }
    if (strcmp(key, "include") != 0) {
        return kiln_place_error(
            err, &place, "\"%s\" before the first section; put it below a [section]", key);
    }
    return include(file, value, line, err);
}

static int read_lines(ini_file *file, const char *data, size_t length, kiln_error *err)
{
    const kiln_ini_handler handler = {on_section, on_entry, file};
    return kiln_ini_parse(file->path, data, length, &handler, err);
}

/* The folder at which paths in `path` begin, absolute. */
static const char *base_of(kiln_arena *arena, const char *path)
{
    char folder[PATH_MAX] = "";
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' && getcwd(folder, sizeof(folder)) == NULL) {
        return NULL;
    }
    size_t used = strlen(folder);
    if (slash != NULL) {
        snprintf(folder + used, sizeof(folder) - used, "%s%.*s", path[0] == '/' ? "" : "/",
                 (int)(slash - path), path);
    }
    if (folder[0] == '\0') {
        folder[0] = '/';
        folder[1] = '\0';
    }
    return kiln_arena_text(arena, folder, strlen(folder));
}

/* Opens a regular file without waiting on what is none, and says what it is instead. */
static int open_file(const char *path, struct stat *status, kiln_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return kiln_error_errno(err, errno, "cannot be read");
    }
    if (fstat(fd, status) < 0) {
        return kiln_error_errno(err, errno, "cannot be read");
    }
    if (S_ISDIR(status->st_mode)) {
        return kiln_error_set(err, EISDIR, "is a folder, name a file in it");
    }
    if (!S_ISREG(status->st_mode)) {
        return kiln_error_set(err, EINVAL, "is no regular file");
    }
    if (status->st_size > KILN_INI_FILE_MAX) {
        return kiln_error_set(err, EFBIG, "is larger than %d bytes, divide it with include",
                              KILN_INI_FILE_MAX);
    }
    return kiln_steal_fd(&fd);
}

static int read_whole(int fd, kiln_buffer *content, kiln_error *err)
{
    for (;;) {
        if (kiln_buffer_reserve(content, 16384) < 0) {
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
        ssize_t got = read(fd, content->data + content->length, 16384);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return kiln_error_errno(err, errno, "cannot be read");
        }
        if (got == 0) {
            return 0;
        }
        content->length += (size_t)got;
        if (content->length > KILN_INI_FILE_MAX) {
            return kiln_error_set(err, EFBIG, "is larger than %d bytes, divide it with include",
                                  KILN_INI_FILE_MAX);
        }
    }
}

/* "A includes B includes A" is found by what the files are, whatever their names. */
static int check_chain(const ini_file *file, kiln_error *err)
{
    for (const ini_file *above = file->parent; above != NULL; above = above->parent) {
        if (above->device == file->device && above->inode == file->inode) {
            return kiln_error_set(err, ELOOP, "includes itself%s%s; take one include out",
                                  above == file->parent ? "" : " by way of ",
                                  above == file->parent ? "" : file->parent->path);
        }
    }
    if (file->depth > DEPTH_MAX) {
        return kiln_error_set(err, ELOOP, "is included %d files deep; include it further up",
                              DEPTH_MAX);
    }
    if (*file->files > FILES_MAX) {
        return kiln_error_set(err, E2BIG, "is one of more than %d files; put some together",
                              FILES_MAX);
    }
    return 0;
}

/* What is wrong with the file as such is the including line's fault, when there is one. */
static int file_error(const ini_file *file, kiln_error *err)
{
    if (file->parent == NULL) {
        return kiln_error_wrap(err, "%s", file->path);
    }
    return kiln_error_wrap(err, "%s:%u: include %s", file->parent->path,
                           file->parent->include_line, file->path);
}

static int read_named(const ini_file *parent, const char *path, kiln_config *config,
                      kiln_config_layer layer, unsigned *files, kiln_error *err)
{
    auto_buffer kiln_buffer content = KILN_BUFFER_INIT;
    struct stat status = {0};
    ini_file file = {
        .config = config,
        .parent = parent,
        .path = kiln_arena_text(&config->arena, path, strlen(path)),
        .base = base_of(&config->arena, path),
        .depth = parent == NULL ? 1 : parent->depth + 1,
        .files = files,
        .layer = layer,
    };
    if (file.path == NULL || file.base == NULL) {
        return kiln_error_set(err, ENOMEM,
                              "%s: out of memory, or the working directory is gone", path);
    }
    auto_close int fd = open_file(path, &status, err);
    if (fd < 0) {
        return file_error(&file, err);
    }
    file.device = status.st_dev;
    file.inode = status.st_ino;
    ++*files;
    file.id = (unsigned)layer * (FILES_MAX + 1) * 2 + *files;
    if (check_chain(&file, err) < 0 || read_whole(fd, &content, err) < 0) {
        return file_error(&file, err);
    }
    return read_lines(&file, content.data, content.length, err);
}

int kiln_file_read(kiln_config *config, const char *path, kiln_config_layer layer,
                   kiln_error *err)
{
    unsigned files = 0;
    return read_named(NULL, path, config, layer, &files, err);
}

int kiln_file_read_memory(kiln_config *config, const char *label, const char *data,
                          size_t length, kiln_error *err)
{
    unsigned files = 1;
    ini_file file = {
        .config = config,
        .path = kiln_arena_text(&config->arena, label, strlen(label)),
        .base = "/",
        .memory = true,
        .depth = 1,
        .id = 1,
        .files = &files,
        .layer = KILN_FROM_FILE,
    };
    if (file.path == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory for the configuration");
    }
    return read_lines(&file, data, length, err);
}
