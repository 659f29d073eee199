/* What came with the process: descriptors, environment, memory. */
#include "attack.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>

/* Backwards, so that what is looked for is not found in this program. */
#ifndef SECRET_BACKWARDS
#define SECRET_BACKWARDS "nlik-terces"
#endif
static const char backwards[] = SECRET_BACKWARDS;
enum { LENGTH = sizeof(backwards) - 1, BLOCK = 1 << 16 };

static int found_in(const char *data, size_t size)
{
    int found = 0;
    for (size_t at = 0; at + LENGTH <= size; at++) {
        size_t same = 0;
        while (same < LENGTH && data[at + same] == backwards[LENGTH - 1 - same]) {
            same++;
        }
        found += same == LENGTH ? 1 : 0;
    }
    return found;
}

static int found_in_file(const char *path)
{
    char data[BLOCK];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, data, sizeof(data));
    close(fd);
    return got <= 0 ? 0 : found_in(data, (size_t)got);
}

static int found_in_memory(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    char line[512];
    static char data[BLOCK + LENGTH];
    int found = 0;
    int blocks = 0;
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        char *rest = NULL;
        uint64_t from = strtoull(line, &rest, 16);
        uint64_t to = strtoull(rest + 1, NULL, 16);
        /* What is not written holds no secret of the engine's; what is this large is
         * AddressSanitizer's. */
        if (strstr(line, " rw") == NULL || to - from > 1UL << 30) {
            continue;
        }
        for (; from < to; from += BLOCK) {
            ssize_t got = pread(
                memory, data, to - from < sizeof(data) ? to - from : sizeof(data), (off_t)from);
            found += got > 0 ? found_in(data, (size_t)got) : 0;
            blocks += got > 0 ? 1 : 0;
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
    close(memory);
    return blocks > 0 ? found : -1;
}

static void descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        char to[256];
        ssize_t length = readlinkat(dirfd(folder), entry->d_name, to, sizeof(to) - 1);
        long fd = strtol(entry->d_name, NULL, 10);
        if (entry->d_name[0] == '.' || length < 0 || fd == dirfd(folder)) {
            continue;
        }
        to[length] = '\0';
        to[strcspn(to, ":")] = '\0'; /* pipe:[1234] */
        dprintf(STDOUT_FILENO, "descriptor %s: %s\n", fd > 2 ? "more" : entry->d_name, to);
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

int main(void)
{
    descriptors();
    dprintf(STDOUT_FILENO, "secret in the environment's file: %d\n",
            found_in_file("/proc/self/environ"));
    dprintf(STDOUT_FILENO, "secret in the command line: %d\n",
            found_in_file("/proc/self/cmdline"));
    int found = 0;
    for (char **variable = environ; *variable != NULL; variable++) {
        found += found_in(*variable, strlen(*variable));
    }
    dprintf(STDOUT_FILENO, "secret in the environment: %d\n", found);
    dprintf(STDOUT_FILENO, "secret in memory: %d\n", found_in_memory());
    dprintf(STDOUT_FILENO, "end\n");
    return 0;
}
