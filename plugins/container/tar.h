/* tar.h - POSIX ustar with pax records, as the archive API speaks it: written for what is
 * sent in, and read, from whoever answers, as it comes. Nothing here touches a file. */
#ifndef KILN_CONTAINER_TAR_H
#define KILN_CONTAINER_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TAR_BLOCK = 512, TAR_NAME_MAX = 4096, TAR_PAX_MAX = 64 << 10 };

/* ---- writing */

typedef struct tar_buffer {
    char *data; /* malloc'd */
    size_t length, capacity;
} tar_buffer;

typedef struct tar_owner {
    unsigned uid, gid;
} tar_owner;

/* Appends an entry's header: a folder (size 0) or a file. 0 or -ENOMEM. */
int tar_begin(tar_buffer *out, const char *name, bool folder, unsigned mode, tar_owner owner,
              uint64_t size, int64_t mtime);
/* Room for the file's content, which follows its header, padded; the caller fills the first
 * `size` bytes. NULL: out of memory. */
char *tar_content(tar_buffer *out, size_t size);
/* The archive's end. 0 or -ENOMEM. */
int tar_finish(tar_buffer *out);

/* ---- reading */

typedef enum tar_type { TAR_FILE, TAR_FOLDER, TAR_OTHER } tar_type; /* links, devices, ... */

typedef struct tar_entry {
    const char *name; /* as it stands there: anything but NUL */
    tar_type type;
    unsigned mode;
    uint64_t size;
} tar_entry;

/* Each gives 0, or a negative errno, with which the reading ends. */
typedef struct tar_sink {
    int (*entry)(void *user, const tar_entry *entry);
    int (*data)(void *user, const char *data, size_t length); /* of a file */
    int (*end)(void *user);                                   /* of a file */
} tar_sink;

typedef struct tar_reader {
    const tar_sink *sink;
    void *user;
    char block[TAR_BLOCK];
    unsigned have; /* bytes of it */
    uint64_t left; /* bytes of the entry's content that are to come */
    unsigned padding;
    int content;                 /* whose content that is */
    unsigned zeros;              /* blocks of zeros at the end */
    char name[TAR_NAME_MAX + 1]; /* from a pax record or a GNU header, for the next entry */
    bool has_name, has_size;
    uint64_t size; /* likewise */
    char *text;    /* a pax header's records, or a long name */
    size_t text_length;
    bool ended;
} tar_reader;

void tar_open(tar_reader *reader, const tar_sink *sink, void *user);
/* 0; -EPROTO: it is no such archive; -EFBIG, -ENAMETOOLONG, -ENOMEM; or the sink's. */
int tar_push(tar_reader *reader, const char *data, size_t length);
/* Whether it came to its end. Frees what the reader holds. */
bool tar_close(tar_reader *reader);

#endif
