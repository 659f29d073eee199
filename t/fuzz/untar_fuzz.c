/* untar_fuzz.c - archives of the container engine: any bytes, in any two pieces, come to the
 * same as in one; what is handed on is bounded by what went in, and names are never longer
 * than is said. */
#include "../../plugins/container/tar.c" /* NOLINT(bugprone-suspicious-include) */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct seen {
    size_t entries, bytes, ends, sum;
} seen;

static int on_entry(void *user, const tar_entry *entry)
{
    seen *all = user;
    if (strlen(entry->name) > TAR_NAME_MAX ||
        (entry->type != TAR_FILE && all->entries > 4096)) {
        abort();
    }
    for (const char *at = entry->name; *at != '\0'; at++) {
        all->sum = all->sum * 31 + (unsigned char)*at;
    }
    all->entries++;
    return 0;
}

static int on_data(void *user, const char *data, size_t length)
{
    seen *all = user;
    for (size_t i = 0; i < length; i++) {
        all->sum = all->sum * 31 + (unsigned char)data[i];
    }
    all->bytes += length;
    return 0;
}

static int on_end(void *user)
{
    ((seen *)user)->ends++;
    return 0;
}

/* The fuzzer cannot be asked to find checksums: each header block is given its own. */
static char *with_checksums(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1);
    memcpy(copy, data, size);
    for (size_t at = 0; at + TAR_BLOCK <= size; at += TAR_BLOCK) {
        if (memcmp(copy + at + MAGIC, "ustar", 5) == 0) {
            char number[8];
            snprintf(number, sizeof(number), "%06o", checksum(copy + at));
            memcpy(copy + at + CHECKSUM, number, sizeof(number));
        }
    }
    return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const tar_sink sink = {on_entry, on_data, on_end};
    if (size < 2) {
        return 0;
    }
    size_t length = size - 2, cut = (size_t)data[0] << 8 | data[1];
    cut = cut < length ? cut : length;
    char *bytes = with_checksums(data + 2, length);
    seen one = {0}, two = {0};
    tar_reader whole, pieces;
    tar_open(&whole, &sink, &one);
    tar_open(&pieces, &sink, &two);
    int rc = tar_push(&whole, bytes, length);
    int other = tar_push(&pieces, bytes, cut);
    other = other < 0 ? other : tar_push(&pieces, bytes + cut, length - cut);
    bool ended = tar_close(&whole), other_ended = tar_close(&pieces);
    if (rc != other || ended != other_ended || memcmp(&one, &two, sizeof(one)) != 0 ||
        one.bytes > length || one.ends > one.entries) {
        abort();
    }
    free(bytes);
    return 0;
}
