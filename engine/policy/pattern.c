#include "policy/pattern.h"

#include "policy/state.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdint.h>
#include <string.h>

enum {
    MAX_CAPTURES = 32,
    MAX_DEPTH = 200, /* of the matcher's recursion, as in LuaJIT */
    UNCLOSED = -1,
    POSITION = -2,
};

typedef struct matcher {
    lua_State *L;
    kiln_lua *lua;
    const char *start;
    const char *end;
    int captures;
    int depth;
    unsigned long steps;
    struct {
        const char *start;
        ptrdiff_t length; /* or UNCLOSED, POSITION */
    } capture[MAX_CAPTURES];
} matcher;

static const char *match(matcher *m, const char *s, const char *p);

/* Counts one step; raises when the call or the script has used up its budget. */
static void step(matcher *m)
{
    if (++m->steps > KILN_PATTERN_STEPS) {
        luaL_error(m->L, "pattern too costly: gave up after %d steps", KILN_PATTERN_STEPS);
    }
    if (m->lua->budget.tripped != 0) {
        kiln_budget_poll(&m->lua->budget, m->L);
    }
}

static int capture_index(matcher *m, int digit)
{
    digit -= '1';
    if (digit < 0 || digit >= m->captures || m->capture[digit].length == UNCLOSED) {
        return luaL_error(m->L, "invalid capture index");
    }
    return digit;
}

static int last_open_capture(matcher *m)
{
    for (int i = m->captures - 1; i >= 0; i--) {
        if (m->capture[i].length == UNCLOSED) {
            return i;
        }
    }
    return luaL_error(m->L, "invalid pattern capture");
}

/* One past the single-character class that begins at p. */
static const char *class_end(matcher *m, const char *p)
{
    switch (*p++) {
    case '%':
        if (*p == '\0') {
            luaL_error(m->L, "malformed pattern (ends with " LUA_QL("%%") ")");
        }
        return p + 1;
    case '[':
        if (*p == '^') {
            p++;
        }
        do { /* a ']' first is a plain character */
            if (*p == '\0') {
                luaL_error(m->L, "malformed pattern (missing " LUA_QL("]") ")");
            }
            if (*p++ == '%' && *p != '\0') {
                p++;
            }
        } while (*p != ']');
        return p + 1;
    default:
        return p;
    }
}

/* Classes are ASCII's, whatever the locale: as LuaJIT's. */
static bool is_class(unsigned char c, unsigned char class)
{
    bool ascii = c < 0x80;
    bool is;
    switch (class | 0x20) {
    case 'a':
        is = ascii && isalpha(c);
        break;
    case 'c':
        is = ascii && iscntrl(c);
        break;
    case 'd':
        is = ascii && isdigit(c);
        break;
    case 'g':
        is = ascii && isgraph(c);
        break;
    case 'l':
        is = ascii && islower(c);
        break;
    case 'p':
        is = ascii && ispunct(c);
        break;
    case 's':
        is = ascii && isspace(c);
        break;
    case 'u':
        is = ascii && isupper(c);
        break;
    case 'w':
        is = ascii && isalnum(c);
        break;
    case 'x':
        is = ascii && isxdigit(c);
        break;
    case 'z':
        is = c == 0;
        break;
    default:
        return class == c;
    }
    if (class >= 'a' && class <= 'z') {
        return is;
    }
    return class >= 'A' && class <= 'Z' ? !is : class == c;
}

/* p is at '[', last at the closing ']'. */
static bool in_set(unsigned char c, const char *p, const char *last)
{
    bool sense = true;
    if (p[1] == '^') {
        sense = false;
        p++;
    }
    while (++p < last) {
        if (*p == '%') {
            p++;
            if (is_class(c, (unsigned char)*p)) {
                return sense;
            }
        } else if (p[1] == '-' && p + 2 < last) {
            p += 2;
            if ((unsigned char)p[-2] <= c && c <= (unsigned char)*p) {
                return sense;
            }
        } else if ((unsigned char)*p == c) {
            return sense;
        }
    }
    return !sense;
}

/* Whether c matches the single-character class from p to end. */
static bool matches_one(unsigned char c, const char *p, const char *end)
{
    switch (*p) {
    case '.':
        return true;
    case '%':
        return is_class(c, (unsigned char)p[1]);
    case '[':
        return in_set(c, p, end - 1);
    default:
        return (unsigned char)*p == c;
    }
}

/* %bxy: p is at x. */
static const char *match_balance(matcher *m, const char *s, const char *p)
{
    if (p[0] == '\0' || p[1] == '\0') {
        luaL_error(m->L, "unbalanced pattern");
    }
    if (s >= m->end || *s != *p) {
        return NULL;
    }
    char opening = p[0];
    char closing = p[1];
    int depth = 1;
    while (++s < m->end) {
        step(m);
        if (*s == closing) {
            if (--depth == 0) {
                return s + 1;
            }
        } else if (*s == opening) {
            depth++;
        }
    }
    return NULL;
}

static const char *match_most(matcher *m, const char *s, const char *p, const char *end)
{
    ptrdiff_t count = 0;
    while (s + count < m->end && matches_one((unsigned char)s[count], p, end)) {
        step(m);
        count++;
    }
    for (; count >= 0; count--) {
        step(m);
        const char *rest = match(m, s + count, end + 1);
        if (rest != NULL) {
            return rest;
        }
    }
    return NULL;
}

static const char *match_least(matcher *m, const char *s, const char *p, const char *end)
{
    for (;;) {
        step(m);
        const char *rest = match(m, s, end + 1);
        if (rest != NULL) {
            return rest;
        }
        if (s >= m->end || !matches_one((unsigned char)*s, p, end)) {
            return NULL;
        }
        s++;
    }
}

static const char *open_capture(matcher *m, const char *s, const char *p, ptrdiff_t length)
{
    if (m->captures >= MAX_CAPTURES) {
        luaL_error(m->L, "too many captures");
    }
    m->capture[m->captures].start = s;
    m->capture[m->captures].length = length;
    m->captures++;
    const char *rest = match(m, s, p);
    if (rest == NULL) {
        m->captures--;
    }
    return rest;
}

static const char *close_capture(matcher *m, const char *s, const char *p)
{
    int index = last_open_capture(m);
    m->capture[index].length = s - m->capture[index].start;
    const char *rest = match(m, s, p);
    if (rest == NULL) {
        m->capture[index].length = UNCLOSED;
    }
    return rest;
}

static const char *match_back_reference(matcher *m, const char *s, int digit)
{
    int index = capture_index(m, digit);
    /* A position capture's length is no length: nothing is that long, as in Lua. */
    size_t length = (size_t)m->capture[index].length;
    if ((size_t)(m->end - s) >= length && memcmp(m->capture[index].start, s, length) == 0) {
        return s + length;
    }
    return NULL;
}

/* %f[set]: between a character outside of the set and one inside. p is at '['. */
static bool at_frontier(matcher *m, const char *s, const char *p, const char *end)
{
    unsigned char before = s == m->start ? '\0' : (unsigned char)s[-1];
    unsigned char after = s < m->end ? (unsigned char)*s : '\0';
    return !in_set(before, p, end - 1) && in_set(after, p, end - 1);
}

/* The end of the match of p at s, or NULL. */
static const char *match(matcher *m, const char *s, const char *p)
{
    if (++m->depth > MAX_DEPTH) {
        luaL_error(m->L, "pattern too complex");
    }
    const char *found = NULL;
    for (;;) {
        step(m);
        if (*p == '\0') {
            found = s;
            break;
        }
        if (*p == '(') {
            found = p[1] == ')' ? open_capture(m, s, p + 2, POSITION)
                                : open_capture(m, s, p + 1, UNCLOSED);
            break;
        }
        if (*p == ')') {
            found = close_capture(m, s, p + 1);
            break;
        }
        if (*p == '$' && p[1] == '\0') {
            found = s == m->end ? s : NULL;
            break;
        }
        if (*p == '%' && p[1] == 'b') {
            s = match_balance(m, s, p + 2);
            if (s == NULL) {
                break;
            }
            p += 4;
            continue;
        }
        if (*p == '%' && p[1] == 'f') {
            p += 2;
            if (*p != '[') {
                luaL_error(m->L, "missing " LUA_QL("[") " after " LUA_QL("%%f") " in pattern");
            }
            const char *set_end = class_end(m, p);
            if (!at_frontier(m, s, p, set_end)) {
                break;
            }
            p = set_end;
            continue;
        }
        if (*p == '%' && isdigit((unsigned char)p[1])) {
            s = match_back_reference(m, s, (unsigned char)p[1]);
            if (s == NULL) {
                break;
            }
            p += 2;
            continue;
        }
        const char *end = class_end(m, p);
        bool one = s < m->end && matches_one((unsigned char)*s, p, end);
        if (*end == '?') {
            if (one && (found = match(m, s + 1, end + 1)) != NULL) {
                break;
            }
            p = end + 1;
            continue;
        }
        if (*end == '*') {
            found = match_most(m, s, p, end);
            break;
        }
        if (*end == '+') {
            found = one ? match_most(m, s + 1, p, end) : NULL;
            break;
        }
        if (*end == '-') {
            found = match_least(m, s, p, end);
            break;
        }
        if (!one) {
            break;
        }
        s++;
        p = end;
    }
    m->depth--;
    return found;
}

static void push_capture(matcher *m, int index, const char *s, const char *e)
{
    if (index >= m->captures) {
        if (index != 0) {
            luaL_error(m->L, "invalid capture index");
        }
        lua_pushlstring(m->L, s, (size_t)(e - s));
        return;
    }
    if (m->capture[index].length == UNCLOSED) {
        luaL_error(m->L, "unfinished capture");
    }
    if (m->capture[index].length == POSITION) {
        lua_pushinteger(m->L, m->capture[index].start - m->start + 1);
    } else {
        lua_pushlstring(m->L, m->capture[index].start, (size_t)m->capture[index].length);
    }
}

/* The captures; none: the whole match, unless s is NULL. */
static int push_captures(matcher *m, const char *s, const char *e)
{
    int count = m->captures == 0 && s != NULL ? 1 : m->captures;
    luaL_checkstack(m->L, count, "too many captures");
    for (int i = 0; i < count; i++) {
        push_capture(m, i, s, e);
    }
    return count;
}

static matcher matcher_new(lua_State *L, const char *s, size_t length)
{
    return (matcher){.L = L, .lua = kiln_lua_of(L), .start = s, .end = s + length};
}

static const char *match_at(matcher *m, const char *s, const char *p)
{
    m->captures = 0;
    m->depth = 0;
    return match(m, s, p);
}

/* Lua's optional third argument as an offset: at most length. */
static size_t offset_argument(lua_State *L, int index, size_t length)
{
    /* LuaJIT reads it as a 32-bit integer. */
    ptrdiff_t at = (int32_t)luaL_optinteger(L, index, 1);
    at = at < 0 ? at + (ptrdiff_t)length : at - 1;
    if (at < 0) {
        return 0;
    }
    return (size_t)at > length ? length : (size_t)at;
}

static int find_or_match(lua_State *L, bool find)
{
    size_t length;
    size_t pattern_length;
    const char *s = luaL_checklstring(L, 1, &length);
    const char *p = luaL_checklstring(L, 2, &pattern_length);
    size_t offset = offset_argument(L, 3, length);
    if (find && (lua_toboolean(L, 4) || strcspn(p, "^$*+?.([%-") == pattern_length)) {
        /* memmem is linear, whatever the needle. */
        const char *at = memmem(s + offset, length - offset, p, pattern_length);
        if (at == NULL) {
            lua_pushnil(L);
            return 1;
        }
        lua_pushinteger(L, at - s + 1);
        lua_pushinteger(L, at - s + (ptrdiff_t)pattern_length);
        return 2;
    }
    bool anchored = *p == '^';
    matcher m = matcher_new(L, s, length);
    p += anchored;
    for (const char *at = s + offset; at <= m.end; at++) {
        const char *end = match_at(&m, at, p);
        if (end != NULL) {
            if (!find) {
                return push_captures(&m, at, end);
            }
            lua_pushinteger(L, at - s + 1);
            lua_pushinteger(L, end - s);
            return 2 + push_captures(&m, NULL, NULL);
        }
        if (anchored) {
            break;
        }
    }
    lua_pushnil(L);
    return 1;
}

static int l_find(lua_State *L)
{
    return find_or_match(L, true);
}

static int l_match(lua_State *L)
{
    return find_or_match(L, false);
}

static int gmatch_next(lua_State *L)
{
    size_t length;
    const char *s = lua_tolstring(L, lua_upvalueindex(1), &length);
    const char *p = lua_tostring(L, lua_upvalueindex(2));
    matcher m = matcher_new(L, s, length);
    for (const char *at = s + lua_tointeger(L, lua_upvalueindex(3)); at <= m.end; at++) {
        const char *end = match_at(&m, at, p);
        if (end != NULL) {
            lua_pushinteger(L, end - s + (end == at)); /* past an empty match */
            lua_replace(L, lua_upvalueindex(3));
            return push_captures(&m, at, end);
        }
    }
    return 0;
}

static int l_gmatch(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, gmatch_next, 3);
    return 1;
}

static int l_seek(lua_State *L)
{
    size_t length;
    const char *s = luaL_checklstring(L, 1, &length);
    const char *p = luaL_checkstring(L, 2);
    size_t offset = (size_t)luaL_checkinteger(L, 3) - 1;
    bool anchored = *p == '^';
    matcher m = matcher_new(L, s, length);
    p += anchored;
    for (const char *at = s + offset; offset <= length && at <= m.end; at++) {
        const char *end = match_at(&m, at, p);
        if (end != NULL) {
            lua_pushinteger(L, at - s + 1);
            lua_pushinteger(L, end - s + 1);
            return 2 + push_captures(&m, at, end);
        }
        if (anchored) {
            break;
        }
    }
    return 0;
}

/* Adds the replacement text, %0 to %9 being captures. */
static void add_replacement(matcher *m, luaL_Buffer *buffer, const char *text, size_t length,
                            const char *s, const char *e)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '%') {
            luaL_addchar(buffer, text[i]);
            continue;
        }
        i++; /* the NUL after the text, at worst */
        if (!isdigit((unsigned char)text[i])) {
            luaL_addchar(buffer, text[i]);
        } else if (text[i] == '0') {
            luaL_addlstring(buffer, s, (size_t)(e - s));
        } else {
            push_capture(m, text[i] - '1', s, e);
            luaL_addvalue(buffer);
        }
    }
}

static int l_substitute(lua_State *L)
{
    size_t length;
    size_t text_length;
    const char *s = luaL_checklstring(L, 1, &length);
    const char *p = luaL_checkstring(L, 2);
    const char *text = luaL_checklstring(L, 3, &text_length);
    lua_Number most = luaL_optnumber(L, 4, (lua_Number)length + 1);
    bool anchored = *p == '^';
    matcher m = matcher_new(L, s, length);
    luaL_Buffer buffer;
    int count = 0;
    p += anchored;
    luaL_buffinit(L, &buffer);
    while (count < most) {
        const char *end = match_at(&m, s, p);
        if (end != NULL) {
            count++;
            add_replacement(&m, &buffer, text, text_length, s, end);
        }
        if (end != NULL && end > s) {
            s = end;
        } else if (s < m.end) {
            luaL_addchar(&buffer, *s);
            s++;
        } else {
            break;
        }
        if (anchored) {
            break;
        }
    }
    luaL_addlstring(&buffer, s, (size_t)(m.end - s));
    luaL_pushresult(&buffer);
    lua_pushinteger(L, count);
    return 2;
}

void kiln_pattern_push(lua_State *L)
{
    static const struct {
        const char *name;
        lua_CFunction function;
    } functions[] = {
        {"find", l_find}, {"match", l_match},           {"gmatch", l_gmatch},
        {"seek", l_seek}, {"substitute", l_substitute},
    };
    lua_createtable(L, 0, 5);
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        lua_pushcfunction(L, functions[i].function);
        lua_setfield(L, -2, functions[i].name);
    }
}
