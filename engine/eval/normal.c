#include "eval/normal.h"

#include "base/cleanup.h"
#include "config/config.h"
#include "notebook/json_text.h"

#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* What a mask may cost on a text that code has made. */
enum { MATCH_LIMIT = 1000000, DEPTH_LIMIT = 1000, HEAP_LIMIT_KIB = 65536, MASKS_MAX = 64 };

typedef struct rule {
    unsigned form;
    char *pattern;
} rule;

struct kiln_normal {
    rule *rules;
    size_t rule_count;
    pcre2_code *masks[MASKS_MAX];
    size_t mask_count;
    pcre2_match_context *limits;
};

static const struct {
    const char *name;
    unsigned form;
} forms[] = {
    {"lines", KILN_NORMAL_LINES},   {"json", KILN_NORMAL_JSON},
    {"pixels", KILN_NORMAL_PIXELS}, {"mask", KILN_NORMAL_MASK},
    {"bytes", KILN_NORMAL_BYTES},   {"lines+mask", KILN_NORMAL_LINES | KILN_NORMAL_MASK},
};
enum { FORMS = sizeof(forms) / sizeof(forms[0]) };

static int add_rule(kiln_normal *normal, const char *word, kiln_error *err)
{
    const char *colon = strchr(word, ':');
    char how[32];
    snprintf(how, sizeof(how), "%.*s", (int)strcspn(word, ":"), word);
    if (colon == NULL || colon[1] == '\0') {
        return kiln_error_set(err, EINVAL, "\"%.60s\" is no HOW:PATTERN, like json:*.json",
                              word);
    }
    for (size_t i = 0; i < FORMS; i++) {
        if (strcmp(forms[i].name, how) == 0) {
            normal->rules[normal->rule_count] = (rule){forms[i].form, strdup(colon + 1)};
            return normal->rules[normal->rule_count++].pattern != NULL
                       ? 0
                       : kiln_error_set(err, ENOMEM, "out of memory");
        }
    }
    const char *names[FORMS + 1] = {NULL};
    for (size_t i = 0; i < FORMS; i++) {
        names[i] = forms[i].name;
    }
    const char *near = kiln_near_match(how, names);
    return kiln_error_set(err, EINVAL, "\"%s\" is no way to compare%s%s%s", how,
                          near != NULL ? ", did you mean \""
                                       : "; there are lines, json, pixels, mask, lines+mask, "
                                         "bytes",
                          near != NULL ? near : "", near != NULL ? "\"?" : "");
}

static int add_mask(kiln_normal *normal, const char *pattern, kiln_error *err)
{
    int code;
    PCRE2_SIZE at;
    if (normal->mask_count == MASKS_MAX) {
        return kiln_error_set(err, EDOM, "more than %d masks; put some together", MASKS_MAX);
    }
    pcre2_code *made =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                      PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (made == NULL) {
        char why[120] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof(why));
        return kiln_error_set(err, EDOM, "\"%.80s\": %s, at its character %zu", pattern, why,
                              (size_t)at + 1);
    }
    normal->masks[normal->mask_count++] = made;
    return 0;
}

int kiln_normal_new(const char *const *rules, const char *const *masks, kiln_normal **out,
                    kiln_error *err)
{
    size_t count = 0;
    while (rules[count] != NULL) {
        count++;
    }
    kiln_normal *normal = calloc(1, sizeof(*normal));
    if (normal != NULL) {
        normal->rules = calloc(count + 1, sizeof(*normal->rules));
        normal->limits = pcre2_match_context_create(NULL);
    }
    if (normal == NULL || normal->rules == NULL || normal->limits == NULL) {
        kiln_normal_free(normal);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    pcre2_set_match_limit(normal->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(normal->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(normal->limits, HEAP_LIMIT_KIB);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = add_rule(normal, rules[i], err);
    }
    for (; rc == 0 && *masks != NULL; masks++) {
        rc = add_mask(normal, *masks, err);
    }
    if (rc < 0) {
        kiln_normal_free(normal);
        return rc;
    }
    *out = normal;
    return 0;
}

void kiln_normal_free(kiln_normal *normal)
{
    if (normal == NULL) {
        return;
    }
    for (size_t i = 0; i < normal->rule_count; i++) {
        free(normal->rules[i].pattern);
    }
    for (size_t i = 0; i < normal->mask_count; i++) {
        pcre2_code_free(normal->masks[i]);
    }
    pcre2_match_context_free(normal->limits);
    free(normal->rules);
    free(normal);
}

unsigned kiln_normal_of(const kiln_normal *normal, const char *name)
{
    const char *slash = strrchr(name, '/');
    for (size_t i = 0; i < normal->rule_count; i++) {
        const rule *one = &normal->rules[i];
        bool whole = strchr(one->pattern, '/') != NULL || slash == NULL;
        if (fnmatch(one->pattern, whole ? name : slash + 1, FNM_PERIOD) == 0) {
            return one->form;
        }
    }
    return KILN_NORMAL_BYTES;
}

/* CR LF and CR become LF; the last line has its end, too. */
static int apply_lines(kiln_buffer *text)
{
    size_t to = 0;
    for (size_t i = 0; i < text->length; i++) {
        if (text->data[i] != '\r') {
            text->data[to++] = text->data[i];
        } else if (i + 1 == text->length || text->data[i + 1] != '\n') {
            text->data[to++] = '\n';
        }
    }
    if (text->data != NULL) {
        text->length = to;
        text->data[to] = '\0';
    }
    return to > 0 && text->data[to - 1] != '\n' ? kiln_buffer_append(text, "\n", 1) : 0;
}

static int apply_json(kiln_buffer *text, kiln_error *err)
{
    json_error_t fault;
    auto_buffer kiln_buffer out = KILN_BUFFER_INIT;
    auto_json json_t *json =
        json_loadb(text->data != NULL ? text->data : "", text->length,
                   JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &fault);
    if (json == NULL) {
        return kiln_error_set(err, EINVAL, "is no JSON: line %d: %s", fault.line, fault.text);
    }
    if (kiln_json_write(json, JSON_SORT_KEYS | JSON_INDENT(1) | JSON_ENCODE_ANY, &out) < 0 ||
        kiln_buffer_append(&out, "\n", 1) < 0) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    kiln_buffer swapped = *text;
    *text = out;
    out = swapped;
    return 0;
}

static int apply_mask(const kiln_normal *normal, const pcre2_code *mask, kiln_buffer *text,
                      kiln_error *err)
{
    static const char replacement[] = "<masked>";
    auto_buffer kiln_buffer out = KILN_BUFFER_INIT;
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(mask, NULL);
    size_t room = text->length + text->length / 2 + 64;
    int rc = match == NULL ? PCRE2_ERROR_NOMEMORY : PCRE2_ERROR_NOMEMORY - 1000;
    while (match != NULL) {
        PCRE2_SIZE length = room;
        if (kiln_buffer_reserve(&out, room) < 0) {
            rc = PCRE2_ERROR_NOMEMORY;
            break;
        }
        rc = pcre2_substitute(
            mask, (PCRE2_SPTR)(text->data != NULL ? text->data : ""), text->length, 0,
            PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_OVERFLOW_LENGTH, match, normal->limits,
            (PCRE2_SPTR)replacement, sizeof(replacement) - 1, (PCRE2_UCHAR *)out.data, &length);
        if (rc == PCRE2_ERROR_NOMEMORY && length > room) {
            room = length;
            continue;
        }
        out.length = rc >= 0 ? length : 0;
        break;
    }
    pcre2_match_data_free(match);
    if (rc < 0) {
        char why[120] = "";
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof(why));
        return kiln_error_set(err, EINVAL, "a mask could not be applied: %s", why);
    }
    kiln_buffer swapped = *text;
    *text = out;
    out = swapped;
    return 0;
}

int kiln_normal_apply(const kiln_normal *normal, unsigned form, const kiln_buffer *bytes,
                      kiln_buffer *out, kiln_error *err)
{
    if (kiln_buffer_append(out, bytes->data != NULL ? bytes->data : "", bytes->length) < 0) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    int rc = 0;
    if ((form & KILN_NORMAL_JSON) != 0) {
        rc = apply_json(out, err);
    }
    if (rc == 0 && (form & KILN_NORMAL_LINES) != 0 && apply_lines(out) < 0) {
        rc = kiln_error_set(err, ENOMEM, "out of memory");
    }
    for (size_t i = 0; rc == 0 && (form & KILN_NORMAL_MASK) != 0 && i < normal->mask_count;
         i++) {
        rc = apply_mask(normal, normal->masks[i], out, err);
    }
    return rc;
}
