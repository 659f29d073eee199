/* log.h - what the engine says of itself, a line an event, on standard error.
 * Never code, input, environment values or secrets. Thread: any. */
#ifndef KILN_BASE_LOG_H
#define KILN_BASE_LOG_H

#include <stdbool.h>

typedef enum kiln_log_level {
    KILN_LOG_ERROR,
    KILN_LOG_WARNING,
    KILN_LOG_INFO,
    KILN_LOG_DEBUG,
} kiln_log_level;

/* Default: warning. */
void kiln_log_set_level(kiln_log_level level);
kiln_log_level kiln_log_level_now(void);
bool kiln_log_enabled(kiln_log_level level);
/* "kiln: LEVEL: SUBJECT: text\n" in one write(2). */
void kiln_log(kiln_log_level level, const char *subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
