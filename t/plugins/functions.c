/* functions.c - C functions of every shape for t/native.t: exported by a plugin that is no
 * more than that, and called from the same file by [native ...] sections. */
#include "bad.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define TEXT_MAX 64

typedef struct point {
    int8_t x;
    double y;
    struct {
        float a;
        uint16_t b;
    } in;
} point;

KILN_EXPORT int8_t add8(int8_t a, int8_t b);
KILN_EXPORT uint64_t widest(void);
KILN_EXPORT int64_t echo64(int64_t a);
KILN_EXPORT uint16_t mixed(uint8_t a, int16_t b, uint32_t c, float d, double e, bool f);
KILN_EXPORT bool negate(bool a);
KILN_EXPORT point mirror(point p);
KILN_EXPORT void move_point(point *p, double by);
KILN_EXPORT int32_t fail_with(int32_t number);
KILN_EXPORT const char *nothing(void);
KILN_EXPORT size_t put_text(char *to, size_t *room, const char *text);
KILN_EXPORT double sum(const double *numbers, size_t count);
KILN_EXPORT void twice(int32_t *numbers, size_t count);
KILN_EXPORT uint32_t narrow(const uint8_t *bytes, uint8_t count);
KILN_EXPORT int64_t fold(const int32_t *numbers, size_t count, int64_t (*f)(int64_t, int32_t));
KILN_EXPORT void each_word(const char *text, void (*f)(void *user, const char *word),
                           void *user);
KILN_EXPORT int32_t counter(void);
KILN_EXPORT void crash(void);
KILN_EXPORT void hang(void);
KILN_EXPORT void leave(void);
KILN_EXPORT void smash(uint32_t bytes);
KILN_EXPORT int32_t eat(uint64_t bytes);
KILN_EXPORT int32_t from_thread(int32_t (*f)(int32_t));
KILN_EXPORT int32_t forge(const char *bytes, size_t count);
KILN_EXPORT int32_t reach_out(const char *path);

int8_t add8(int8_t a, int8_t b)
{
    return (int8_t)(a + b);
}

uint64_t widest(void)
{
    return UINT64_MAX;
}

int64_t echo64(int64_t a)
{
    return a;
}

uint16_t mixed(uint8_t a, int16_t b, uint32_t c, float d, double e, bool f)
{
    return (uint16_t)(a + b + (int)c + (int)d + (int)e + f);
}

bool negate(bool a)
{
    return !a;
}

point mirror(point p)
{
    p.x = (int8_t)-p.x;
    p.y = -p.y;
    p.in.a *= 2;
    p.in.b++;
    return p;
}

void move_point(point *p, double by)
{
    p->y += by;
}

int32_t fail_with(int32_t number)
{
    errno = number;
    return -1;
}

const char *nothing(void)
{
    return NULL;
}

size_t put_text(char *to, size_t *room, const char *text)
{
    size_t length = strlen(text);
    if (length < *room) {
        *room = length;
    }
    memcpy(to, text, *room);
    return length;
}

double sum(const double *numbers, size_t count)
{
    double all = 0;
    for (size_t i = 0; i < count; i++) {
        all += numbers[i];
    }
    return all;
}

void twice(int32_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        numbers[i] *= 2;
    }
}

uint32_t narrow(const uint8_t *bytes, uint8_t count)
{
    return count > 0 ? bytes[count - 1] : 0;
}

int64_t fold(const int32_t *numbers, size_t count, int64_t (*f)(int64_t, int32_t))
{
    int64_t all = 0;
    for (size_t i = 0; i < count; i++) {
        all = f(all, numbers[i]);
    }
    return all;
}

void each_word(const char *text, void (*f)(void *user, const char *word), void *user)
{
    char copy[TEXT_MAX];
    char *rest = NULL;
    snprintf(copy, sizeof(copy), "%s", text);
    for (char *word = strtok_r(copy, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        f(user, word);
    }
}

/* Tells one helper process from the next. */
int32_t counter(void)
{
    static int32_t count;
    return ++count;
}

void crash(void)
{
    raise(SIGSEGV);
}

void hang(void)
{
    for (;;) {
        pause();
    }
}

void leave(void)
{
    _exit(0);
}

/* Writes over what malloc keeps of its blocks. */
void smash(uint32_t bytes)
{
    char *volatile block = malloc(16);
    char *volatile next = malloc(16);
    memset((char *)block - 8, 0xff, bytes);
    free((char *)next);
    free((char *)block);
    abort();
}

int32_t eat(uint64_t bytes)
{
    char *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return 0;
    }
    for (uint64_t i = 0; i < bytes; i += 4096) {
        memory[i] = 1;
    }
    return 1;
}

static void *in_thread(void *argument)
{
    int32_t (*f)(int32_t);
    *(void **)&f = argument;
    return (void *)(intptr_t)f(1);
}

int32_t from_thread(int32_t (*f)(int32_t))
{
    pthread_t thread;
    void *result = NULL;
    if (pthread_create(&thread, NULL, in_thread, *(void **)&f) == 0) {
        pthread_join(thread, &result);
    }
    return (int32_t)(intptr_t)result;
}

int32_t reach_out(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Speaks to the engine in the helper's place. */
int32_t forge(const char *bytes, size_t count)
{
    for (int fd = 3; fd < 64; fd++) {
        if (send(fd, bytes, count, MSG_NOSIGNAL) == (ssize_t)count) {
            return fd;
        }
    }
    return -1;
}

static const kiln_function functions[] = {
    {"add8", NULL, "int8(int8, int8)", KILN_FUNCTION_POLICY | KILN_FUNCTION_CODE},
    {"add", "add8", "int8(int8, int8)", KILN_FUNCTION_POLICY},
    {NULL, NULL, NULL, 0},
};

static const kiln_plugin plugin = {
    BAD_FIELDS("functions"),
    .capabilities = KILN_CAP_EXECUTE,
    .execute = bad_execute,
    .functions = functions,
};

KILN_PLUGIN(plugin)
