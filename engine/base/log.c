#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static atomic_int threshold = KILN_LOG_WARNING;

void kiln_log_set_level(kiln_log_level level)
{
    atomic_store(&threshold, (int)level);
}

kiln_log_level kiln_log_level_now(void)
{
    return (kiln_log_level)atomic_load(&threshold);
}

bool kiln_log_enabled(kiln_log_level level)
{
    return (int)level <= atomic_load(&threshold);
}

void kiln_log(kiln_log_level level, const char *subject, const char *format, ...)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if (!kiln_log_enabled(level)) {
        return;
    }
    int saved = errno;
    char line[2048];
    int used = snprintf(line, sizeof(line), "kiln: %s: %s: ", names[level], subject);
    va_list args;
    va_start(args, format);
    if (used > 0 && used < (int)sizeof(line)) {
        int more = vsnprintf(line + used, sizeof(line) - (size_t)used, format, args);
        used = more < 0 ? used : used + more;
    }
    va_end(args);
    if (used >= (int)sizeof(line)) {
        used = (int)sizeof(line) - 1;
    }
    for (int i = 0; i < used; i++) {
        if (line[i] == '\n' || line[i] == '\r') {
            line[i] = ' ';
        }
    }
    line[used] = '\n';
    /* A log that cannot be written has nowhere to complain. */
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)used + 1);
    (void)ignored;
    errno = saved;
}
