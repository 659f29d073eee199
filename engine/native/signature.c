/* The parser: one pass, by descent, as deep as structs may be nested. */
#include "native/signature.h"

#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} kinds[] = {
    [KILN_NATIVE_VOID] = {"void", 0},         [KILN_NATIVE_BOOL] = {"bool", 1},
    [KILN_NATIVE_INT8] = {"int8", 1},         [KILN_NATIVE_INT16] = {"int16", 2},
    [KILN_NATIVE_INT32] = {"int32", 4},       [KILN_NATIVE_INT64] = {"int64", 8},
    [KILN_NATIVE_UINT8] = {"uint8", 1},       [KILN_NATIVE_UINT16] = {"uint16", 2},
    [KILN_NATIVE_UINT32] = {"uint32", 4},     [KILN_NATIVE_UINT64] = {"uint64", 8},
    [KILN_NATIVE_FLOAT] = {"float", 4},       [KILN_NATIVE_DOUBLE] = {"double", 8},
    [KILN_NATIVE_STRING] = {"string", 0},     [KILN_NATIVE_BYTES] = {"bytes", 0},
    [KILN_NATIVE_STRUCT] = {"struct", 0},     [KILN_NATIVE_NULL] = {"null", 0},
    [KILN_NATIVE_CALLBACK] = {"callback", 0},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* What may stand where. */
enum place { RESULT, MEMBER, PARAM, GIVEN };

typedef struct parser {
    const char *text;
    const char *at;
    kiln_native_signature *signature;
    kiln_error *err;
} parser;

size_t kiln_native_scalar_size(kiln_native_kind kind)
{
    return kinds[kind].size;
}

const char *kiln_native_kind_name(kiln_native_kind kind)
{
    return kinds[kind].name;
}

static int wrong(parser *p, const char *at, const char *what)
{
    return kiln_error_set(p->err, EINVAL, "column %zu: %s", (size_t)(at - p->text) + 1, what);
}

static void skip_blanks(parser *p)
{
    while (*p->at == ' ' || *p->at == '\t') {
        p->at++;
    }
}

static bool take(parser *p, char c)
{
    skip_blanks(p);
    if (*p->at != c) {
        return false;
    }
    p->at++;
    return true;
}

static int expect(parser *p, char c, const char *where)
{
    char what[96];
    if (take(p, c)) {
        return 0;
    }
    if (*p->at == '\0') {
        snprintf(what, sizeof(what), "\"%c\" expected %s, and it ends here", c, where);
    } else {
        snprintf(what, sizeof(what), "\"%c\" expected %s, not \"%.1s\"", c, where, p->at);
    }
    return wrong(p, p->at, what);
}

static size_t word_length(const char *at)
{
    size_t length = 0;
    while ((at[length] >= 'a' && at[length] <= 'z') ||
           (at[length] >= 'A' && at[length] <= 'Z') ||
           (at[length] >= '0' && at[length] <= '9') || at[length] == '_') {
        length++;
    }
    return length;
}

static bool take_word(parser *p, const char *word)
{
    skip_blanks(p);
    size_t length = strlen(word);
    if (word_length(p->at) != length || memcmp(p->at, word, length) != 0) {
        return false;
    }
    p->at += length;
    return true;
}

/* Index of a new entry; 0 (the result's own) never comes twice. */
static int new_type(parser *p, const char *at)
{
    if (p->signature->count == KILN_NATIVE_TYPES_MAX) {
        return wrong(p, at, "more than 64 types in one signature");
    }
    p->signature->types[p->signature->count] = (kiln_native_type){.size = KILN_NATIVE_UINT64};
    return p->signature->count++;
}

static int unknown_type(parser *p, const char *at, size_t length)
{
    const char *names[KINDS + 4];
    char word[32];
    char what[160];
    size_t count = 0;
    for (; count < KINDS; count++) {
        names[count] = kinds[count].name;
    }
    names[count++] = "out";
    names[count++] = "inout";
    names[count++] = "bare";
    names[count] = NULL;
    if (length == 0) {
        if (*at == '\0') {
            return wrong(p, at, "a type expected, and it ends here");
        }
        snprintf(what, sizeof(what), "a type expected, not \"%.1s\"", at);
        return wrong(p, at, what);
    }
    snprintf(word, sizeof(word), "%.*s", (int)length, at);
    const char *near = kiln_near_match(word, names);
    if (near != NULL) {
        snprintf(what, sizeof(what), "unknown type \"%s\", did you mean \"%s\"?", word, near);
    } else {
        snprintf(what, sizeof(what),
                 "unknown type \"%s\"; there are bool, int8 to int64, uint8 to uint64, float, "
                 "double, string, bytes, void",
                 word);
    }
    return wrong(p, at, what);
}

static int take_kind(parser *p, kiln_native_kind *kind)
{
    skip_blanks(p);
    const char *at = p->at;
    size_t length = word_length(at);
    for (int i = 0; i < KINDS; i++) {
        if (i != KILN_NATIVE_STRUCT && strlen(kinds[i].name) == length &&
            memcmp(kinds[i].name, at, length) == 0) {
            *kind = (kiln_native_kind)i;
            p->at += length;
            return 0;
        }
    }
    return unknown_type(p, at, length);
}

/* After "[": N and "]", or "]". */
static int take_count(parser *p, kiln_native_type *type)
{
    skip_blanks(p);
    const char *at = p->at;
    unsigned long count = 0;
    if (take(p, ']')) {
        return type->kind == KILN_NATIVE_BYTES
                   ? wrong(p, at, "bytes[] is written bytes; bytes[N] has N of them")
                   : 0;
    }
    while (*p->at >= '0' && *p->at <= '9' && count <= KILN_NATIVE_FIXED_MAX) {
        count = count * 10 + (unsigned long)(*p->at++ - '0');
    }
    if (p->at == at || count == 0 || count > KILN_NATIVE_FIXED_MAX) {
        return wrong(p, at, "a number from 1 to 1048576 expected");
    }
    type->fixed = (uint32_t)count;
    return expect(p, ']', "after the number");
}

static int parse_type(parser *p, enum place place, unsigned depth);

/* Members or parameters up to `end`, chained; *first is the index of the first. */
static int parse_list(parser *p, enum place place, char end, unsigned depth, uint8_t *first)
{
    uint8_t last = 0;
    unsigned count = 0;
    *first = 0;
    if (place != MEMBER && take(p, end)) {
        return 0;
    }
    do {
        skip_blanks(p);
        if (++count > KILN_NATIVE_PARAMS_MAX) {
            return wrong(p, p->at, "more than 24 in one list");
        }
        int index = parse_type(p, place, depth);
        if (index < 0) {
            return index;
        }
        if (last == 0) {
            *first = (uint8_t)index;
        } else {
            p->signature->types[last].next = (uint8_t)index;
        }
        last = (uint8_t)index;
    } while (take(p, ','));
    return expect(p, end,
                  place == MEMBER ? "or \",\" after a member" : "or \",\" after a type");
}

static int parse_callback(parser *p, int index)
{
    uint8_t first = 0;
    p->signature->has_callback = true;
    int result = parse_type(p, RESULT, KILN_NATIVE_DEPTH_MAX);
    if (result < 0) {
        return result;
    }
    kiln_native_kind kind = p->signature->types[result].kind;
    if (kind != KILN_NATIVE_VOID && !kiln_native_is_scalar(kind)) {
        return wrong(p, p->at, "a callback gives a number, a bool or void");
    }
    int rc = expect(p, '(', "after what the callback gives");
    rc = rc < 0 ? rc : parse_list(p, GIVEN, ')', KILN_NATIVE_DEPTH_MAX, &first);
    p->signature->types[index].first = (uint8_t)result;
    p->signature->types[result].next = first;
    return rc < 0 ? rc : index;
}

/* What may follow the name: [], [N], :length, &. */
static int parse_suffixes(parser *p, const char *at, enum place place, kiln_native_type *type)
{
    int rc = 0;
    bool counted = type->kind == KILN_NATIVE_BYTES;
    if (take(p, '[')) {
        if (!counted && !kiln_native_is_scalar(type->kind)) {
            return wrong(p, at, "only numbers, bools and bytes can be many");
        }
        if (place == MEMBER || (place == RESULT && !counted)) {
            return wrong(p, at, "not possible here: a result is bytes[N], a member a number");
        }
        type->array = !counted;
        rc = take_count(p, type);
    }
    bool sized = (counted || type->array) && type->fixed == 0;
    if (rc == 0 && take(p, ':')) {
        const char *size_at = p->at;
        rc = take_kind(p, &type->size);
        if (rc == 0 && (!sized || type->bare || !kiln_native_is_integer(type->size))) {
            return wrong(p, size_at, "an integer type for the length of bytes or T[] expected");
        }
    }
    if (rc == 0 && take(p, '&')) {
        if (!sized || type->bare || !type->out) {
            return wrong(p, p->at - 1,
                         "\"&\" is for the length of out bytes, out T[], and inout");
        }
        type->told = true;
    }
    if (rc == 0 && type->bare && !sized) {
        return wrong(p, at, "bare is for bytes and T[]: others have no length");
    }
    return rc;
}

static int check_place(parser *p, const char *at, enum place place,
                       const kiln_native_type *type)
{
    switch (type->kind) {
    case KILN_NATIVE_VOID:
        return place == RESULT ? 0 : wrong(p, at, "void is for results");
    case KILN_NATIVE_NULL:
        return (place == PARAM || place == GIVEN) && !type->out
                   ? 0
                   : wrong(p, at, "null is for parameters");
    case KILN_NATIVE_CALLBACK:
        return place == PARAM && !type->out && !type->bare
                   ? 0
                   : wrong(p, at, "callback is for parameters");
    case KILN_NATIVE_STRING:
        return place != MEMBER && !type->out
                   ? 0
                   : wrong(p, at, "string is for what goes in, and for results");
    case KILN_NATIVE_BYTES:
        if (place == MEMBER || (place == RESULT && type->fixed == 0)) {
            return wrong(p, at, "bytes are for parameters; as a result, bytes[N]");
        }
        break;
    default:
        break;
    }
    if (type->bare && place != PARAM) {
        return wrong(p, at, "bare is for the parameters of the function");
    }
    return 0;
}

/* Index of the type, or negative. */
static int parse_type(parser *p, enum place place, unsigned depth)
{
    skip_blanks(p);
    const char *at = p->at;
    int index = new_type(p, at);
    if (index < 0) {
        return index;
    }
    kiln_native_type *type = &p->signature->types[index];
    bool inout = place == PARAM && take_word(p, "inout");
    type->out = inout || (place == PARAM && take_word(p, "out"));
    type->in = inout || !type->out;
    type->bare = place == PARAM && take_word(p, "bare");
    if (take(p, '{')) {
        if (place == GIVEN || type->bare || depth >= KILN_NATIVE_DEPTH_MAX) {
            return wrong(p, at, "a struct cannot be here, or not so deep");
        }
        type->kind = KILN_NATIVE_STRUCT;
        int rc = parse_list(p, MEMBER, '}', depth + 1, &type->first);
        return rc < 0 ? rc : index;
    }
    int rc = take_kind(p, &type->kind);
    if (rc < 0) {
        return rc;
    }
    rc = check_place(p, at, place, type);
    if (rc == 0 && type->kind == KILN_NATIVE_CALLBACK) {
        return parse_callback(p, index);
    }
    rc = rc < 0 ? rc : parse_suffixes(p, at, place, type);
    rc = rc < 0 ? rc : check_place(p, at, place, type);
    return rc < 0 ? rc : index;
}

int kiln_native_signature_parse(const char *text, kiln_native_signature *signature,
                                kiln_error *err)
{
    memset(signature, 0, sizeof(*signature));
    parser p = {text, text, signature, err};
    int rc = parse_type(&p, RESULT, 0);
    rc = rc < 0 ? rc : expect(&p, '(', "after the result's type");
    rc = rc < 0 ? rc : parse_list(&p, PARAM, ')', 0, &signature->params);
    if (rc < 0) {
        return rc;
    }
    signature->has_errno = take_word(&p, "errno");
    skip_blanks(&p);
    return *p.at == '\0' ? 0 : wrong(&p, p.at, "the end, or errno, expected");
}

bool kiln_native_name_valid(const char *name)
{
    unsigned words = 1;
    for (;; words++) {
        size_t length = word_length(name);
        if (length == 0 || length > 48 || name[0] == '_' ||
            (name[0] >= '0' && name[0] <= '9')) {
            return false;
        }
        name += length;
        if (*name != '.' || words == 2) {
            return *name == '\0';
        }
        name++;
    }
}
