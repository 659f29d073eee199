#include "tar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* pubs.opengroup.org, pax: "ustar Interchange Format". Offsets and lengths in a header. */
enum {
    NAME = 0,
    NAME_LENGTH = 100,
    MODE = 100,
    UID = 108,
    GID = 116,
    SIZE = 124,
    SIZE_LENGTH = 12,
    MTIME = 136,
    CHECKSUM = 148,
    TYPE = 156,
    MAGIC = 257,
    PREFIX = 345,
    PREFIX_LENGTH = 155,
};

enum { CONTENT_SKIPPED, CONTENT_FILE, CONTENT_PAX, CONTENT_GNU_NAME };

/* ---- writing */

static char *extend(tar_buffer *out, size_t count)
{
    if (out->length + count > out->capacity) {
        size_t wanted = (out->length + count) * 2;
        char *grown = realloc(out->data, wanted);
        if (grown == NULL) {
            return NULL;
        }
        out->data = grown;
        out->capacity = wanted;
    }
    char *at = out->data + out->length;
    memset(at, 0, count);
    out->length += count;
    return at;
}

static size_t padded(size_t size)
{
    return (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

char *tar_content(tar_buffer *out, size_t size)
{
    return extend(out, padded(size));
}

static unsigned checksum(const char *block)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < TAR_BLOCK; i++) {
        bool own = i >= CHECKSUM && i < CHECKSUM + 8;
        sum += own ? ' ' : (unsigned char)block[i];
    }
    return sum;
}

static int put_header(tar_buffer *out, const char *name, char type, unsigned mode,
                      tar_owner owner, uint64_t size, int64_t mtime)
{
    static const char magic[8] = {'u', 's', 't', 'a', 'r', '\0', '0', '0'};
    char *block = extend(out, TAR_BLOCK);
    if (block == NULL) {
        return -ENOMEM;
    }
    size_t length = strlen(name);
    memcpy(block + NAME, name, length < NAME_LENGTH ? length : NAME_LENGTH);
    snprintf(block + MODE, 8, "%07o", mode & 07777);
    snprintf(block + UID, 8, "%07o", owner.uid & 07777777);
    snprintf(block + GID, 8, "%07o", owner.gid & 07777777);
    snprintf(block + SIZE, SIZE_LENGTH, "%011llo", (unsigned long long)size & 077777777777);
    snprintf(block + MTIME, SIZE_LENGTH, "%011llo",
             (unsigned long long)(mtime > 0 ? mtime : 0) & 077777777777);
    block[TYPE] = type;
    memcpy(block + MAGIC, magic, sizeof(magic));
    snprintf(block + CHECKSUM, 8, "%06o", checksum(block));
    block[CHECKSUM + 7] = ' ';
    return 0;
}

/* "26 path=...\n": the number counts itself. */
static int put_long_name(tar_buffer *out, const char *name, tar_owner owner)
{
    size_t rest = strlen(" path=") + strlen(name) + 1;
    size_t length = rest + 1;
    char number[24];
    while ((size_t)snprintf(number, sizeof(number), "%zu", length) + rest != length) {
        length = (size_t)snprintf(number, sizeof(number), "%zu", length) + rest;
    }
    int rc = put_header(out, "pax", 'x', 0644, owner, length, 0);
    size_t at = out->length;
    char *record = rc < 0 ? NULL : tar_content(out, length + 1);
    if (record == NULL) {
        return -ENOMEM;
    }
    snprintf(record, length + 1, "%s path=%s\n", number, name);
    out->length = at + padded(length); /* without the NUL */
    return 0;
}

int tar_begin(tar_buffer *out, const char *name, bool folder, unsigned mode, tar_owner owner,
              uint64_t size, int64_t mtime)
{
    int rc = strlen(name) > NAME_LENGTH ? put_long_name(out, name, owner) : 0;
    return rc < 0 ? rc : put_header(out, name, folder ? '5' : '0', mode, owner, size, mtime);
}

int tar_finish(tar_buffer *out)
{
    return extend(out, (size_t)2 * TAR_BLOCK) != NULL ? 0 : -ENOMEM;
}

/* ---- reading */

void tar_open(tar_reader *reader, const tar_sink *sink, void *user)
{
    memset(reader, 0, sizeof(*reader));
    reader->sink = sink;
    reader->user = user;
}

bool tar_close(tar_reader *reader)
{
    free(reader->text);
    reader->text = NULL;
    return reader->ended && reader->left == 0;
}

/* Octal, with blanks or NULs around it. GNU's binary numbers are for what is larger than
 * anything that is taken. */
static int get_number(const char *field, size_t length, uint64_t *number)
{
    size_t i = 0;
    *number = 0;
    if ((unsigned char)field[0] & 0x80) {
        return -EFBIG;
    }
    while (i < length && field[i] == ' ') {
        i++;
    }
    for (; i < length && field[i] >= '0' && field[i] <= '7'; i++) {
        *number = *number * 8 + (uint64_t)(field[i] - '0'); /* 12 digits: 36 bits */
    }
    for (; i < length; i++) {
        if (field[i] != ' ' && field[i] != '\0') {
            return -EPROTO;
        }
    }
    return 0;
}

/* One "length key=value\n"; *used is its length. */
static int take_record(tar_reader *reader, const char *text, size_t length, size_t *used)
{
    size_t count = 0, at = 0;
    while (at < length && text[at] >= '0' && text[at] <= '9' && count <= length) {
        count = count * 10 + (size_t)(text[at++] - '0');
    }
    if (at == 0 || at >= length || text[at] != ' ' || count > length || count < at + 3 ||
        text[count - 1] != '\n') {
        return -EPROTO;
    }
    const char *key = text + at + 1;
    const char *equals = memchr(key, '=', count - at - 2);
    if (equals == NULL) {
        return -EPROTO;
    }
    const char *value = equals + 1;
    size_t key_length = (size_t)(equals - key);
    size_t value_length = count - 1 - (size_t)(value - text);
    *used = count;
    if (key_length == 4 && memcmp(key, "path", 4) == 0) {
        if (value_length > TAR_NAME_MAX) {
            return -ENAMETOOLONG;
        }
        if (memchr(value, '\0', value_length) != NULL) {
            return -EPROTO;
        }
        memcpy(reader->name, value, value_length);
        reader->name[value_length] = '\0';
        reader->has_name = true;
    } else if (key_length == 4 && memcmp(key, "size", 4) == 0) {
        uint64_t size = 0;
        for (size_t i = 0; i < value_length; i++) {
            if (value[i] < '0' || value[i] > '9') {
                return -EPROTO;
            }
            if (size > (UINT64_C(1) << 60)) {
                return -EFBIG;
            }
            size = size * 10 + (uint64_t)(value[i] - '0');
        }
        reader->size = size;
        reader->has_size = true;
    } else if (key_length > 10 && memcmp(key, "GNU.sparse", 10) == 0) {
        return -EPROTO; /* its content is not the file's */
    }
    return 0;
}

/* The whole text of a pax header or of a long name is there. */
static int take_text(tar_reader *reader)
{
    int rc = 0;
    if (reader->content == CONTENT_GNU_NAME) {
        size_t length = strnlen(reader->text, reader->text_length);
        if (length > TAR_NAME_MAX) {
            return -ENAMETOOLONG;
        }
        memcpy(reader->name, reader->text, length);
        reader->name[length] = '\0';
        reader->has_name = true;
    }
    for (size_t at = 0, used;
         rc == 0 && reader->content == CONTENT_PAX && at < reader->text_length; at += used) {
        rc = take_record(reader, reader->text + at, reader->text_length - at, &used);
        if (rc < 0) {
            break;
        }
    }
    free(reader->text);
    reader->text = NULL;
    reader->text_length = 0;
    return rc;
}

static int content_ends(tar_reader *reader)
{
    int content = reader->content;
    if (content == CONTENT_FILE) {
        return reader->sink->end(reader->user);
    }
    return content == CONTENT_SKIPPED ? 0 : take_text(reader);
}

static void name_of(const tar_reader *reader, char *name)
{
    const char *block = reader->block;
    size_t prefix = strnlen(block + PREFIX, PREFIX_LENGTH);
    bool posix = memcmp(block + MAGIC, "ustar", 6) == 0; /* GNU has times there */
    if (reader->has_name) {
        memcpy(name, reader->name, strlen(reader->name) + 1);
    } else if (posix && prefix > 0) {
        snprintf(name, PREFIX_LENGTH + NAME_LENGTH + 2, "%.*s/%.*s", PREFIX_LENGTH,
                 block + PREFIX, NAME_LENGTH, block + NAME);
    } else {
        snprintf(name, NAME_LENGTH + 1, "%.*s", NAME_LENGTH, block + NAME);
    }
}

static int begin_text(tar_reader *reader, int content, uint64_t size)
{
    if (size > TAR_PAX_MAX) {
        return -EPROTO;
    }
    reader->content = content;
    reader->text = calloc(1, (size_t)size + 1);
    reader->text_length = 0;
    return reader->text != NULL ? 0 : -ENOMEM;
}

static int begin_entry(tar_reader *reader, char type, uint64_t size)
{
    char name[TAR_NAME_MAX + 1];
    uint64_t mode;
    int rc = get_number(reader->block + MODE, 8, &mode);
    if (rc < 0) {
        return rc;
    }
    name_of(reader, name);
    tar_entry entry = {.name = name, .type = TAR_OTHER, .mode = (unsigned)mode & 07777};
    if (type == '0' || type == '\0' || type == '7') {
        entry.type = TAR_FILE;
    } else if (type == '5') {
        entry.type = TAR_FOLDER;
    }
    if (type >= '1' && type <= '6' && size != 0) {
        return -EPROTO; /* links, devices and folders have no content */
    }
    entry.size = size;
    reader->content = entry.type == TAR_FILE ? CONTENT_FILE : CONTENT_SKIPPED;
    reader->has_name = reader->has_size = false;
    return reader->sink->entry(reader->user, &entry);
}

static int take_block(tar_reader *reader)
{
    static const char zeros[TAR_BLOCK];
    const char *block = reader->block;
    uint64_t sum, size;
    if (memcmp(block, zeros, TAR_BLOCK) == 0) {
        reader->ended = ++reader->zeros >= 2;
        return 0;
    }
    if (reader->zeros > 0 || memcmp(block + MAGIC, "ustar", 5) != 0 ||
        get_number(block + CHECKSUM, 8, &sum) < 0 || sum != checksum(block)) {
        return -EPROTO;
    }
    int rc = get_number(block + SIZE, SIZE_LENGTH, &size);
    char type = block[TYPE];
    bool text = type == 'x' || type == 'g' || type == 'L' || type == 'K';
    if (rc == -EFBIG && reader->has_size && !text) {
        rc = 0;
    }
    if (rc < 0) {
        return rc;
    }
    size = reader->has_size && !text ? reader->size : size;
    if (size > (UINT64_C(1) << 60)) {
        return -EFBIG;
    }
    if (type == 'x' || type == 'L') {
        rc = begin_text(reader, type == 'x' ? CONTENT_PAX : CONTENT_GNU_NAME, size);
    } else if (text) { /* for all entries: none of what is taken; the name of a link */
        reader->content = CONTENT_SKIPPED;
        rc = size > TAR_PAX_MAX ? -EPROTO : 0;
    } else {
        rc = begin_entry(reader, type, size);
    }
    if (rc < 0) {
        return rc;
    }
    reader->left = size;
    reader->padding = (unsigned)((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
    return size == 0 ? content_ends(reader) : 0;
}

static int take_content(tar_reader *reader, const char *data, size_t length)
{
    int rc = 0;
    if (reader->content == CONTENT_FILE) {
        rc = reader->sink->data(reader->user, data, length);
    } else if (reader->content != CONTENT_SKIPPED) {
        memcpy(reader->text + reader->text_length, data, length); /* it has room for all */
        reader->text_length += length;
    }
    reader->left -= length;
    return rc == 0 && reader->left == 0 ? content_ends(reader) : rc;
}

int tar_push(tar_reader *reader, const char *data, size_t length)
{
    int rc = 0;
    while (length > 0 && rc == 0 && !reader->ended) { /* what follows the end is padding */
        size_t part = length;
        if (reader->left > 0) {
            part = part < reader->left ? part : (size_t)reader->left;
            rc = take_content(reader, data, part);
        } else if (reader->padding > 0) {
            part = part < reader->padding ? part : reader->padding;
            reader->padding -= (unsigned)part;
        } else {
            size_t room = TAR_BLOCK - reader->have;
            part = part < room ? part : room;
            memcpy(reader->block + reader->have, data, part);
            reader->have += (unsigned)part;
            if (reader->have == TAR_BLOCK) {
                reader->have = 0;
                rc = take_block(reader);
            }
        }
        data += part;
        length -= part;
    }
    return rc;
}
