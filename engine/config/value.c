#include "config/value.h"

#include "base/utf8.h"
#include "config/config.h"
#include "config/place.h"
#include "config/reader.h"
#include "config/units.h"
#include "connection/arn.h"
#include "native/signature.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int parse_bool(const char *text, int64_t *number, kiln_error *err)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            *number = i % 2;
            return 0;
        }
    }
    return kiln_error_set(err, EINVAL, "is neither true nor false");
}

/* In the unit in which a person would write it. */
static const char *show_number(uint32_t type, uint64_t number, char *text, size_t size)
{
    static const struct {
        uint64_t factor;
        const char *name;
    } times[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}},
      sizes[] = {
          {1ULL << 40, "T"}, {1ULL << 30, "G"}, {1ULL << 20, "M"}, {1ULL << 10, "K"}, {1, "B"}};
    size_t i = 0;
    if (type == KILN_TYPE_DECIMAL) {
        snprintf(text, size, "%g", (double)number / 1000);
        return text;
    }
    if (type != KILN_OPTION_DURATION && type != KILN_OPTION_SIZE) {
        snprintf(text, size, "%" PRIu64, number);
        return text;
    }
    const bool time = type == KILN_OPTION_DURATION;
    while (i < 4 && (number == 0 || number % (time ? times[i].factor : sizes[i].factor) != 0)) {
        i++;
    }
    snprintf(text, size, "%" PRIu64 "%s", number / (time ? times[i].factor : sizes[i].factor),
             time ? times[i].name : sizes[i].name);
    return text;
}

static int check_bounds(const kiln_key *key, int64_t number, kiln_error *err)
{
    char bound[32];
    if (key->most == 0) {
        return 0; /* a declared option: its owner checks */
    }
    if (number < 0 && key->type == KILN_OPTION_INTEGER) {
        return kiln_error_set(err, ERANGE, "is negative; the least is %s",
                              show_number(key->type, key->least, bound, sizeof(bound)));
    }
    if ((uint64_t)number < key->least) {
        return kiln_error_set(
            err, ERANGE, "is too small; the least is %s%s",
            show_number(key->type, key->least, bound, sizeof(bound)),
            (key->flags & KILN_KEY_EMPTY) != 0 ? ", and an empty value is no limit" : "");
    }
    if ((uint64_t)number > key->most) {
        return kiln_error_set(err, ERANGE, "is too large; the most is %s",
                              show_number(key->type, key->most, bound, sizeof(bound)));
    }
    return 0;
}

static int check_choice(const kiln_key *key, const char *word, kiln_error *err)
{
    char list[256] = "";
    for (const char *const *choice = key->choices; *choice != NULL; choice++) {
        if (strcmp(*choice, word) == 0) {
            return 0;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof(list) - used, "%s%s", used > 0 ? ", " : "", *choice);
    }
    const char *near = kiln_near_match(word, key->choices);
    if (near != NULL) {
        return kiln_error_set(err, EINVAL, "holds \"%.*s\", did you mean \"%s\"? It may be: %s",
                              KILN_SHOWN(word), near, list);
    }
    return kiln_error_set(err, EINVAL, "holds \"%.*s\"; it may be: %s", KILN_SHOWN(word), list);
}

static int check_assignment(const char *word, kiln_error *err)
{
    size_t length = strcspn(word, "=");
    bool good = length > 0 && word[length] == '=' && !(word[0] >= '0' && word[0] <= '9');
    for (size_t i = 0; good && i < length; i++) {
        good = word[i] == '_' || (word[i] >= '0' && word[i] <= '9') ||
               (word[i] >= 'a' && word[i] <= 'z') || (word[i] >= 'A' && word[i] <= 'Z');
    }
    if (!good) {
        return kiln_error_set(err, EINVAL, "holds \"%.*s\", which is not NAME=value",
                              KILN_SHOWN(word));
    }
    return 0;
}

static int check_extension(const char *word, kiln_error *err)
{
    size_t length = strlen(word);
    if (length < 2 || length > 16 || word[0] != '.' || strpbrk(word + 1, "./\\ ") != NULL) {
        return kiln_error_set(err, EINVAL, "holds \"%.*s\", which is no extension like .py",
                              KILN_SHOWN(word));
    }
    return 0;
}

static int check_name(const char *word, kiln_error *err)
{
    if (!kiln_ini_name_valid(word, strlen(word))) {
        return kiln_error_set(err, EINVAL,
                              "holds \"%.*s\", which is no name: letters, digits, _ - + #",
                              KILN_SHOWN(word));
    }
    return 0;
}

static int check_words(const kiln_key *key, const char *const *words, kiln_error *err)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        int rc = 0;
        if (key->choices != NULL) {
            rc = check_choice(key, words[i], err);
        } else if ((key->flags & KILN_KEY_NAMES) != 0) {
            rc = check_name(words[i], err);
        } else if ((key->flags & KILN_KEY_ASSIGNMENTS) != 0) {
            rc = check_assignment(words[i], err);
        } else if ((key->flags & KILN_KEY_EXTENSIONS) != 0) {
            rc = check_extension(words[i], err);
        }
        if (rc < 0) {
            return rc;
        }
        for (size_t j = 0; (key->flags & KILN_KEY_UNIQUE) != 0 && j < i; j++) {
            if (strcmp(words[i], words[j]) == 0) {
                return kiln_error_set(err, EINVAL, "holds \"%.*s\" twice",
                                      KILN_SHOWN(words[i]));
            }
        }
    }
    return 0;
}

static int parse_path(const char *text, const char *base, kiln_arena *arena, const char **path,
                      kiln_error *err)
{
    char folder[PATH_MAX];
    if (text[0] == '/') {
        *path = text;
        return 0;
    }
    if (text[0] == '~') {
        return kiln_error_set(err, EINVAL,
                              "begins with ~, which is not expanded; write it whole");
    }
    if (base == NULL) {
        base = getcwd(folder, sizeof(folder));
        if (base == NULL) {
            return kiln_error_errno(err, errno,
                                    "is relative to a working directory that is gone");
        }
    }
    size_t length = strlen(base) + 1 + strlen(text);
    char *whole = kiln_arena_alloc(arena, length + 1);
    if (whole == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    snprintf(whole, length + 1, "%s/%s", strcmp(base, "/") == 0 ? "" : base, text);
    *path = whole;
    return 0;
}

/* User ids below 1000 are the system's own, 65534 and the last two mean nobody. */
static int parse_uid_range(const char *text, kiln_value *value, kiln_error *err)
{
    char first[24];
    const char *dash = strchr(text, '-');
    if (dash == NULL || dash == text || (size_t)(dash - text) >= sizeof(first)) {
        return kiln_error_set(err, EINVAL, "is no range; write it like 1900000000-1900065535");
    }
    memcpy(first, text, (size_t)(dash - text));
    first[dash - text] = '\0';
    if (dash[1] < '0' || dash[1] > '9' || text[0] < '0' || text[0] > '9' ||
        kiln_units_integer(first, &value->number, err) < 0 ||
        kiln_units_integer(dash + 1, &value->last, err) < 0) {
        return kiln_error_set(err, EINVAL, "is no range; write it like 1900000000-1900065535");
    }
    if (value->number > value->last) {
        return kiln_error_set(err, EINVAL, "is a range that ends before it begins");
    }
    if (value->number < 1000 || value->last > 4294967293 ||
        (value->number <= 65535 && value->last >= 65534)) {
        return kiln_error_set(err, ERANGE,
                              "holds user ids that are taken (below 1000, 65534, 65535, above "
                              "4294967293)");
    }
    return 0;
}

static int parse_signature(const char *text, kiln_error *err)
{
    kiln_native_signature signature;
    int rc = kiln_native_signature_parse(text, &signature, err);
    return rc < 0 ? kiln_error_wrap(err, "is no signature") : 0;
}

static int parse(const kiln_key *key, const char *base, kiln_arena *arena, kiln_value *value,
                 kiln_error *err)
{
    uint64_t magnitude = 0;
    int rc = 0;
    switch (key->type) {
    case KILN_OPTION_STRING:
        return (key->flags & KILN_KEY_NAMES) != 0 ? check_name(value->text, err) : 0;
    case KILN_OPTION_BOOL:
        return parse_bool(value->text, &value->number, err);
    case KILN_OPTION_INTEGER:
        rc = kiln_units_integer(value->text, &value->number, err);
        break;
    case KILN_TYPE_DECIMAL:
        rc = kiln_units_decimal(value->text, &magnitude, err);
        value->number = (int64_t)magnitude;
        break;
    case KILN_OPTION_DURATION:
        rc = kiln_units_duration(value->text, &magnitude, err);
        value->number = (int64_t)magnitude;
        break;
    case KILN_OPTION_SIZE:
        rc = kiln_units_size(value->text, &magnitude, err);
        value->number = (int64_t)magnitude;
        break;
    case KILN_OPTION_LIST:
        rc = kiln_words_split(value->text, true, arena, &value->words, err);
        return rc < 0 ? rc : check_words(key, value->words, err);
    case KILN_TYPE_COMMAND:
        rc = kiln_words_split(value->text, false, arena, &value->words, err);
        if (rc == 0 && value->words[0] != NULL && value->words[0][0] == '\0') {
            return kiln_error_set(err, EINVAL, "is a command whose first word is empty");
        }
        return rc;
    case KILN_TYPE_PATH:
        return parse_path(value->text, base, arena, &value->text, err);
    case KILN_TYPE_CHOICE:
        return check_choice(key, value->text, err);
    case KILN_TYPE_UID_RANGE:
        return parse_uid_range(value->text, value, err);
    case KILN_TYPE_ARN:
        return kiln_arn_parse(value->text, &(kiln_arn){.id = ""}, err);
    case KILN_TYPE_ENDPOINT:
        return kiln_git_url_check(value->text, true, err);
    case KILN_TYPE_SIGNATURE:
        return parse_signature(value->text, err);
    case KILN_TYPE_LIBRARY:
        return strchr(value->text, '/') != NULL
                   ? parse_path(value->text, base, arena, &value->text, err)
                   : 0;
    default:
        return kiln_error_set(err, EINVAL, "is of a type %u that there is not", key->type);
    }
    return rc < 0 ? rc : check_bounds(key, value->number, err);
}

/* host.option's form: numbers in the base unit, one space between words. */
static const char *make_plain(const kiln_key *key, const kiln_value *value, kiln_arena *arena)
{
    char number[24];
    if (value->words != NULL) {
        char *plain = kiln_arena_alloc(arena, strlen(value->text) + 2);
        char *end = plain;
        for (size_t i = 0; end != NULL && value->words[i] != NULL; i++) {
            if (i > 0) {
                *end++ = ' ';
            }
            end = stpcpy(end, value->words[i]);
        }
        return plain;
    }
    switch (value->text[0] == '\0' ? KILN_OPTION_STRING : key->type) {
    case KILN_OPTION_BOOL:
        return value->number != 0 ? "true" : "false";
    case KILN_OPTION_INTEGER:
    case KILN_OPTION_DURATION:
    case KILN_OPTION_SIZE:
        snprintf(number, sizeof(number), "%" PRId64, value->number);
        return kiln_arena_text(arena, number, strlen(number));
    default:
        return value->text;
    }
}

int kiln_value_parse(const kiln_key *key, const char *text, const char *base, kiln_arena *arena,
                     kiln_value *value, kiln_error *err)
{
    static const char *const none[] = {NULL};
    size_t length = strlen(text);
    if (length > 0 && kiln_ini_value_check(text, length, err) < 0) {
        return kiln_error_wrap(err, "%s", key->name);
    }
    *value = (kiln_value){.text = kiln_arena_text(arena, text, length)};
    if (value->text == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    value->plain = value->text;
    if (length == 0) {
        value->words = key->type == KILN_OPTION_LIST ? none : NULL;
        if ((key->flags & KILN_KEY_EMPTY) == 0) {
            return kiln_error_set(err, EINVAL, "%s is empty; give it a value, like %s",
                                  key->name, key->default_value);
        }
        return 0;
    }
    int rc = parse(key, base, arena, value, err);
    if (rc == -ENOMEM) {
        return rc;
    }
    if (rc < 0) {
        char sentence[sizeof(err->text)];
        memcpy(sentence, err->text, sizeof(sentence));
        if (key->type == KILN_TYPE_ENDPOINT) { /* it may hold a password */
            return kiln_error_wrap(err, "%s", key->name);
        }
        return kiln_error_set(err, EINVAL, "%s = \"%.*s\" %s", key->name, KILN_SHOWN(text),
                              sentence);
    }
    /* Only separators: as good as empty, and as bad. */
    if (value->words != NULL && value->words[0] == NULL && (key->flags & KILN_KEY_EMPTY) == 0) {
        return kiln_error_set(err, EINVAL, "%s is empty; give it a value, like %s", key->name,
                              key->default_value);
    }
    value->plain = make_plain(key, value, arena);
    return value->plain == NULL ? kiln_error_set(err, ENOMEM, "out of memory") : 0;
}

json_t *kiln_text_to_json(const char *text)
{
    auto_buffer kiln_buffer valid = KILN_BUFFER_INIT;
    if (kiln_utf8_append(&valid, text, strlen(text), false) < 0) {
        return NULL;
    }
    return json_stringn(valid.data != NULL ? valid.data : "", valid.length);
}

json_t *kiln_value_to_json(const kiln_key *key, const kiln_value *value)
{
    if (value->words != NULL) {
        json_t *array = json_array();
        for (size_t i = 0; array != NULL && value->words[i] != NULL; i++) {
            if (json_array_append_new(array, json_string(value->words[i])) < 0) {
                json_decref(array);
                return NULL;
            }
        }
        return array;
    }
    if (value->text[0] == '\0') {
        return json_null();
    }
    switch (key->type) {
    case KILN_OPTION_BOOL:
        return json_boolean(value->number);
    case KILN_OPTION_INTEGER:
    case KILN_OPTION_DURATION:
    case KILN_OPTION_SIZE:
        return json_integer(value->number);
    case KILN_TYPE_DECIMAL:
        return json_real((double)value->number / 1000);
    default:
        return kiln_text_to_json(value->text);
    }
}
