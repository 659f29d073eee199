#include "config/reader.h"

#include "base/utf8.h"
#include "config/place.h"

#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef struct reader {
    const char *file;
    const char *at, *end; /* what is unread */
    unsigned line;        /* of the line that was read last, from 1 */
    const kiln_ini_handler *handler;
    kiln_error *err;
    int failure;       /* 0, or why it stopped */
    bool awaiting;     /* an entry was handed to inih and has not come back */
    size_t key_length; /* of that entry */
    size_t value_length;
} reader;

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int kiln_ini_key_valid(const char *name, size_t length)
{
    if (length == 0 || length > KILN_INI_KEY_MAX) {
        return 0;
    }
    for (size_t i = 0; i < length; i++) {
        if (!letter_or_digit(name[i]) && name[i] != '_' && name[i] != '-') {
            return 0;
        }
    }
    return 1;
}

int kiln_ini_name_valid(const char *name, size_t length)
{
    if (length == 0 || length > KILN_INI_SECTION_MAX || name[0] == '-') {
        return 0;
    }
    for (size_t i = 0; i < length; i++) {
        if (!letter_or_digit(name[i]) && strchr("_-+#", name[i]) == NULL) {
            return 0;
        }
    }
    return 1;
}

/* 0, or a sentence on the first byte that no text of ours may hold. */
static const char *text_fault(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\0') {
            return "a NUL byte; save the file as UTF-8 text";
        }
        if (c == '\r') {
            return "a carriage return inside the line; end lines with a newline";
        }
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return "a control character; take it out";
        }
    }
    if (!kiln_utf8_valid(text, length)) {
        return "bytes that are not UTF-8; write it in UTF-8";
    }
    return NULL;
}

int kiln_ini_value_check(const char *value, size_t length, kiln_error *err)
{
    if (length > KILN_INI_VALUE_MAX) {
        return kiln_error_set(err, EINVAL,
                              "a value of %zu bytes, at most %d are read; make it shorter",
                              length, KILN_INI_VALUE_MAX);
    }
    const char *fault = text_fault(value, length);
    return fault == NULL ? 0 : kiln_error_set(err, EINVAL, "%s", fault);
}

static int fault(reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int fault(reader *r, const char *format, ...)
{
    char text[sizeof(r->err->text)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    r->failure = kiln_error_set(r->err, EINVAL, "%s:%u: %s", r->file, r->line, text);
    return r->failure;
}

static void trim(const char **from, const char **to)
{
    while (*from < *to && blank(**from)) {
        (*from)++;
    }
    while (*from < *to && blank((*to)[-1])) {
        (*to)--;
    }
}

/* "[ runtime   python ]" into out as "[runtime python]". */
static int read_section(reader *r, const char *from, const char *to, char *out)
{
    const char *close = memchr(from, ']', (size_t)(to - from));
    if (close == NULL) {
        return fault(r, "the section's name has no end, write [NAME]");
    }
    if (close + 1 != to) {
        return fault(r, "text after the section's \"]\"; a comment has a line to itself");
    }
    size_t length = 0;
    out[length++] = '[';
    const char *p = from + 1;
    const char *last = close;
    trim(&p, &last);
    for (; p < last; p++) {
        if (blank(*p) && blank(out[length - 1])) {
            continue;
        }
        if (length > KILN_INI_SECTION_MAX) {
            return fault(r, "the section's name is longer than %d bytes, choose a shorter one",
                         KILN_INI_SECTION_MAX);
        }
        out[length++] = *p == '\t' ? ' ' : *p;
    }
    if (length == 1) {
        return fault(r, "the section has no name, write [NAME]");
    }
    out[length] = '\0';
    int rc = r->handler->section(r->handler->user, out + 1, r->line, r->err);
    if (rc < 0) {
        r->failure = rc;
        return rc;
    }
    memcpy(out + length, "]\n", 3);
    return 0;
}

/* "key  =  value" into out as "key=value". */
static int read_entry(reader *r, const char *from, const char *to, char *out)
{
    const char *equals = from;
    while (equals < to && *equals != '=' && *equals != ':') {
        equals++;
    }
    if (equals == to) {
        return fault(r,
                     "\"%.*s\" is no `key = value`; a value is one line, and a comment "
                     "begins with #",
                     kiln_shown_length(from, (size_t)(to - from)), from);
    }
    const char *key = from, *key_end = equals;
    trim(&key, &key_end);
    if (*equals == ':') {
        return fault(r, "\":\" after \"%.*s\", write \"=\"",
                     kiln_shown_length(key, (size_t)(key_end - key)), key);
    }
    if (key == key_end) {
        return fault(r, "no key before the \"=\", write `key = value`");
    }
    if (!kiln_ini_key_valid(key, (size_t)(key_end - key))) {
        return fault(r, "\"%.*s\" is no key: at most %d letters, digits, _ and -",
                     kiln_shown_length(key, (size_t)(key_end - key)), key, KILN_INI_KEY_MAX);
    }
    const char *value = equals + 1, *value_end = to;
    trim(&value, &value_end);
    r->key_length = (size_t)(key_end - key);
    r->value_length = (size_t)(value_end - value);
    if (r->value_length > KILN_INI_VALUE_MAX) {
        return fault(r, "a value of %zu bytes, at most %d are read; make it shorter",
                     r->value_length, KILN_INI_VALUE_MAX);
    }
    memcpy(out, key, r->key_length);
    out[r->key_length] = '=';
    memcpy(out + r->key_length + 1, value, r->value_length);
    memcpy(out + r->key_length + 1 + r->value_length, "\n", 2);
    r->awaiting = true;
    return 0;
}

/* inih's fgets: the next line that says something, checked and plain. NULL: the end, or
 * r->failure. */
static char *next_line(char *out, int size, void *stream)
{
    reader *r = stream;
    if (r->failure != 0) {
        return NULL;
    }
    if (r->awaiting || size < KILN_INI_LINE_MAX + 3) {
        fault(r, "inih did not read this line as it stands, please report it");
        return NULL;
    }
    while (r->at < r->end) {
        const char *from = r->at;
        const char *to = memchr(from, '\n', (size_t)(r->end - from));
        r->at = to == NULL ? r->end : to + 1;
        to = to == NULL ? r->end : to;
        r->line++;
        if (to > from && to[-1] == '\r') {
            to--;
        }
        if (to - from > KILN_INI_LINE_MAX) {
            fault(r, "a line of %zu bytes, at most %d are read; make it shorter",
                  (size_t)(to - from), KILN_INI_LINE_MAX);
            return NULL;
        }
        const char *wrong = text_fault(from, (size_t)(to - from));
        if (wrong != NULL) {
            fault(r, "%s", wrong);
            return NULL;
        }
        trim(&from, &to);
        if (from == to || *from == '#' || *from == ';') {
            continue;
        }
        int rc = *from == '[' ? read_section(r, from, to, out) : read_entry(r, from, to, out);
        return rc < 0 ? NULL : out;
    }
    return NULL;
}

static int on_entry(void *user, const char *section, const char *name, const char *value)
{
    reader *r = user;
    (void)section; /* on_section had it whole */
    if (r->failure != 0) {
        return 0;
    }
    if (!r->awaiting || value == NULL || strlen(name) != r->key_length ||
        strlen(value) != r->value_length) {
        fault(r, "inih did not read this line as it stands, please report it");
        return 0;
    }
    r->awaiting = false;
    int rc = r->handler->entry(r->handler->user, name, value, r->line, r->err);
    if (rc < 0) {
        r->failure = rc;
        return 0;
    }
    return 1;
}

int kiln_ini_parse(const char *file, const char *data, size_t length,
                   const kiln_ini_handler *handler, kiln_error *err)
{
    reader r = {.file = file, .at = data, .end = data + length, .handler = handler, .err = err};
    static const char bom[] = "\xef\xbb\xbf";
    if (length >= 3 && memcmp(data, bom, 3) == 0) {
        r.at += 3;
    }
    ini_max_line = KILN_INI_LINE_MAX + 16;
    ini_use_stack = true;
    ini_allow_inline_comments = false;
    ini_allow_multiline = false;
    ini_allow_no_value = false;
    ini_allow_bom = false;
    ini_stop_on_first_error = true;
    int rc = ini_parse_stream(next_line, &r, on_entry, &r);
    if (r.failure == 0 && (rc != 0 || r.awaiting || r.at != r.end)) {
        fault(&r, "inih did not read this line as it stands, please report it");
    }
    return r.failure;
}
