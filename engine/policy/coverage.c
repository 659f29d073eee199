#include "policy/coverage.h"

#include "base/cleanup.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

typedef struct covered_script {
    char *path;
    char *name;   /* as its chunk is called: scripts/deny.lua */
    size_t lines; /* of the arrays; line n is at n - 1 */
    bool *code;   /* there is something to run in it */
    bool *ran;
} covered_script;

struct kiln_coverage {
    covered_script *list;
    size_t count;
};

kiln_coverage *kiln_coverage_new(void)
{
    return calloc(1, sizeof(kiln_coverage));
}

static void free_script(covered_script *script)
{
    free(script->path);
    free(script->name);
    free(script->code);
    free(script->ran);
}

void kiln_coverage_free(kiln_coverage *coverage)
{
    for (size_t i = 0; coverage != NULL && i < coverage->count; i++) {
        free_script(&coverage->list[i]);
    }
    if (coverage != NULL) {
        free(coverage->list);
    }
    free(coverage);
}

/* The lines of a function's bytecode and of those inside it: the only thing here that
 * knows LuaJIT's insides, through its own jit.util. In a state of its own; nothing of the
 * script is run. */
static const char lines_lua[] =
    "local util, chunk, mark = require('jit.util'), ...\n"
    "local function walk(f)\n"
    "  local info = util.funcinfo(f)\n"
    "  for pc = 1, info.bytecodes - 1 do mark(util.funcinfo(f, pc).currentline) end\n"
    "  for n = -1, -1e9, -1 do\n"
    "    local k = util.funck(f, n)\n"
    "    if not k then break end\n"
    "    if type(k) == 'proto' then walk(k) end\n"
    "  end\n"
    "end\n"
    "walk(chunk)\n";

/* A line of `end`s and brackets has nothing but the return that the compiler put there. */
static bool only_closes(const char *line, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (strncmp(line + i, "end", 3) == 0) {
            i += 2;
        } else if (strchr(" \t\r(){},;", line[i]) == NULL) {
            return false;
        }
    }
    return true;
}

static const char *find_line(const char *text, size_t number, size_t *length)
{
    const char *line = text;
    for (size_t i = 1; i < number && line != NULL; i++) {
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    *length = line != NULL ? strcspn(line, "\n") : 0;
    return line;
}

static int l_mark(lua_State *L)
{
    covered_script *script = lua_touserdata(L, lua_upvalueindex(1));
    const char *text = lua_touserdata(L, lua_upvalueindex(2));
    lua_Integer number = lua_tointeger(L, 1);
    size_t length;
    if (number >= 1 && (size_t)number <= script->lines) {
        const char *line = find_line(text, (size_t)number, &length);
        script->code[number - 1] = line != NULL && !only_closes(line, length);
    }
    return 0;
}

static int find_lines(covered_script *script, const char *text, size_t length, kiln_error *err)
{
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        return kiln_error_set(err, -ENOMEM, "%s: out of memory", script->path);
    }
    luaL_openlibs(L);
    int rc = luaL_loadbufferx(L, lines_lua, sizeof(lines_lua) - 1, "=coverage", "t");
    rc = rc != 0 ? rc : luaL_loadbufferx(L, text, length, script->name, "t");
    if (rc == 0) {
        lua_pushlightuserdata(L, script);
        lua_pushlightuserdata(L, (char *)(uintptr_t)text);
        lua_pushcclosure(L, l_mark, 2);
        rc = lua_pcall(L, 2, 0, 0);
    }
    if (rc != 0) {
        kiln_error_set(err, -EINVAL, "%s: %s", script->path, lua_tostring(L, -1));
    }
    lua_close(L);
    return rc != 0 ? -EINVAL : 0;
}

static covered_script *find_script(const kiln_coverage *coverage, const char *name)
{
    for (size_t i = 0; i < coverage->count; i++) {
        if (strcmp(coverage->list[i].name, name) == 0) {
            return &coverage->list[i];
        }
    }
    return NULL;
}

int kiln_coverage_add(kiln_coverage *coverage, const char *path, kiln_error *err)
{
    if (find_script(coverage, kiln_script_name(path)) != NULL) {
        return 0;
    }
    auto_free char *text = NULL;
    size_t length;
    int rc = kiln_script_read(path, &text, &length, err);
    if (rc < 0) {
        return rc;
    }
    text[length] = '\0'; /* kiln_script_read has room for it */
    covered_script *grown =
        reallocarray(coverage->list, coverage->count + 1, sizeof(*coverage->list));
    if (grown == NULL) {
        return kiln_error_set(err, -ENOMEM, "%s: out of memory", path);
    }
    coverage->list = grown;
    covered_script *script = &grown[coverage->count];
    *script = (covered_script){.path = strdup(path), .name = strdup(kiln_script_name(path))};
    for (const char *p = text; p != NULL; p = strchr(p, '\n')) {
        script->lines++;
        p += p > text || *p == '\n';
    }
    script->code = calloc(script->lines, sizeof(bool));
    script->ran = calloc(script->lines, sizeof(bool));
    if (script->path == NULL || script->name == NULL || script->code == NULL ||
        script->ran == NULL) {
        rc = kiln_error_set(err, -ENOMEM, "%s: out of memory", path);
    } else {
        rc = find_lines(script, text, length, err);
    }
    if (rc < 0) {
        free_script(script);
        return rc;
    }
    coverage->count++;
    return 0;
}

static void on_line(lua_State *L, lua_Debug *where)
{
    const kiln_coverage *coverage = kiln_lua_of(L)->coverage;
    if (lua_getinfo(L, "S", where) == 0 || where->source[0] != '@' || where->currentline < 1) {
        return;
    }
    covered_script *script = find_script(coverage, where->source + 1);
    if (script != NULL && (size_t)where->currentline <= script->lines) {
        script->ran[where->currentline - 1] = true;
    }
}

void kiln_coverage_watch(kiln_coverage *coverage, kiln_lua *lua)
{
    lua->coverage = coverage;
    kiln_budget_set_hook(&lua->budget, on_line, LUA_MASKLINE);
}

static void print_script(const covered_script *script, FILE *to)
{
    size_t code = 0;
    size_t ran = 0;
    for (size_t i = 0; i < script->lines; i++) {
        code += script->code[i];
        ran += script->code[i] && script->ran[i];
    }
    fprintf(to, "# coverage %s: %zu of %zu lines (%zu%%)", script->name, ran, code,
            code > 0 ? ran * 100 / code : 100);
    const char *before = ", not run:";
    for (size_t i = 0; i < script->lines; i++) {
        if (!script->code[i] || script->ran[i]) {
            continue;
        }
        size_t last = i;
        for (size_t k = i; k < script->lines && !(script->code[k] && script->ran[k]); k++) {
            last = script->code[k] ? k : last;
        }
        fprintf(to, last > i ? "%s %zu-%zu" : "%s %zu", before, i + 1, last + 1);
        before = "";
        i = last;
    }
    fputc('\n', to);
}

void kiln_coverage_print(const kiln_coverage *coverage, FILE *to)
{
    for (size_t i = 0; i < coverage->count; i++) {
        print_script(&coverage->list[i], to);
    }
}
