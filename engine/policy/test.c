/* `kiln test`: NAME_test.lua files as one TAP stream. */
#include "policy/test-t.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/tap.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TEST_MEMORY = 128 << 20,
    TEST_CPU_MS = 60000, /* one file */
};

static int append_lines(kiln_buffer *out, const char *text)
{
    int rc = 0;
    while (rc == 0 && *text != '\0') {
        size_t length = strcspn(text, "\n");
        rc = kiln_buffer_append(out, "#   ", 4);
        rc = rc < 0 ? rc : kiln_tap_append_text(out, text, length);
        rc = rc < 0 ? rc : kiln_buffer_append(out, "\n", 1);
        text += length + (text[length] == '\n');
    }
    return rc;
}

static void point(kiln_test_suite *running, bool ok, const char *name, const char *why)
{
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    int rc = kiln_tap_append_description(&text, running->name);
    rc = rc < 0 ? rc : kiln_buffer_append(&text, ": ", 2);
    rc = rc < 0 ? rc : kiln_tap_append_description(&text, name);
    rc = rc < 0 ? rc : kiln_buffer_append(&text, "\n", 1);
    rc = rc < 0 || ok ? rc : append_lines(&text, why != NULL ? why : "failed");
    printf("%s %u - %s", ok ? "ok" : "not ok", ++*running->number,
           rc < 0 ? "(out of memory)\n" : text.data);
    running->points++;
    if (running->options->on_test != NULL) {
        running->options->on_test(running->options->user, running->name, name,
                                  ok            ? NULL
                                  : why != NULL ? why
                                                : "failed",
                                  (double)(uv_hrtime() - running->began) / 1e9);
    }
    running->failed += !ok;
}

static int l_point(lua_State *L)
{
    kiln_test_suite *running = kiln_lua_of(L)->owner;
    point(running, lua_toboolean(L, 1) != 0, luaL_checkstring(L, 2),
          luaL_optstring(L, 3, NULL));
    return 0;
}

/* test.called(message): with the lines of the file that led to it, since a helper that
 * several cases share does not tell which of its calls failed. In an error handler. */
static int l_called(lua_State *L)
{
    enum { LINES_MAX = 8 };
    const kiln_test_suite *running = kiln_lua_of(L)->owner;
    const char *message = luaL_checkstring(L, 1);
    const char *file = kiln_script_name(running->path);
    lua_Debug where;
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    luaL_addstring(&text, message);
    for (int level = 1, lines = 0; lines < LINES_MAX && lua_getstack(L, level, &where) != 0;
         level++) {
        char place[512];
        if (lua_getinfo(L, "Sl", &where) == 0 || where.source[0] != '@' ||
            strcmp(where.source + 1, file) != 0 || strcmp(where.what, "main") == 0) {
            continue;
        }
        snprintf(place, sizeof(place), "%s:%d: ", file, where.currentline);
        if (strstr(message, place) == NULL) {
            luaL_addstring(&text, "\ncalled from ");
            luaL_addlstring(&text, place, strlen(place) - 2);
            lines++;
        }
    }
    luaL_pushresult(&text);
    return 1;
}

/* ------------------------------------------------------------------------- a file */

/* Nothing of an earlier case is left in the store, in the counters and on the clock. */
static int l_fresh(lua_State *L)
{
    kiln_test_suite *running = kiln_lua_of(L)->owner;
    kiln_shared_free(running->shared);
    kiln_metrics_free(running->metrics);
    running->shared = kiln_shared_new();
    running->metrics = kiln_metrics_new();
    running->clock = 0;
    running->began = uv_hrtime();
    return running->shared == NULL || running->metrics == NULL
               ? luaL_error(L, "not enough memory")
               : 0;
}

/* test.advance(milliseconds) */
static int l_advance(lua_State *L)
{
    lua_Number milliseconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, milliseconds >= 0 && milliseconds < 1e15, 1, "milliseconds expected");
    ((kiln_test_suite *)kiln_lua_of(L)->owner)->clock += (uint64_t)milliseconds;
    return 0;
}

static int run_suite(lua_State *L)
{
    kiln_test_suite *running = kiln_lua_of(L)->owner;
    kiln_lua_load(L, running->text, running->length, kiln_script_name(running->path));
    lua_pushliteral(L, "test");
    kiln_lua_load_own(L, kiln_test_library_lua, "=[kiln test]");
    lua_createtable(L, 0, 5);
    lua_pushcfunction(L, l_called);
    lua_setfield(L, -2, "called");
    lua_pushcfunction(L, l_fresh);
    lua_setfield(L, -2, "fresh");
    lua_pushcfunction(L, l_advance);
    lua_setfield(L, -2, "advance");
    lua_pushcfunction(L, l_point);
    lua_setfield(L, -2, "point");
    lua_pushcfunction(L, kiln_test_execute);
    lua_setfield(L, -2, "execute");
    lua_call(L, 1, 1);
    lua_rawset(L, -4);
    lua_call(L, 0, 0);
    return 0;
}

/* The policy that a NAME_test.lua stands beside counts also when its tests never run it. */
static int cover_own(kiln_coverage *coverage, const char *path, const char *name,
                     kiln_error *err)
{
    auto_free char *policy = kiln_test_policy_path(path, name);
    if (policy == NULL) {
        return kiln_error_set(err, -ENOMEM, "out of memory");
    }
    return access(policy, F_OK) == 0 ? kiln_coverage_add(coverage, policy, err) : 0;
}

static int test_file(const char *path, unsigned *number, kiln_coverage *coverage,
                     const kiln_policy_test_options *options, kiln_error *err)
{
    kiln_test_suite running = {.path = path,
                               .number = number,
                               .options = options,
                               .coverage = coverage,
                               .began = uv_hrtime()};
    auto_free char *text = NULL;
    const char *slash = strrchr(path, '/');
    snprintf(running.name, sizeof(running.name), "%s", slash != NULL ? slash + 1 : path);
    char *ending = strstr(running.name, "_test.lua");
    if (ending != NULL) {
        *ending = '\0';
    }
    kiln_error why = KILN_ERROR_INIT;
    int rc =
        coverage != NULL && ending != NULL ? cover_own(coverage, path, running.name, &why) : 0;
    rc = rc < 0 ? rc : kiln_script_read(path, &text, &running.length, &why);
    if (rc == 0) {
        running.text = text;
        rc = kiln_lua_new(TEST_MEMORY, TEST_CPU_MS, TEST_CPU_MS, &running.lua, err);
        if (rc < 0) {
            return rc;
        }
        running.lua->owner = &running;
        rc = kiln_lua_protect(running.lua, run_suite, NULL, &why);
        kiln_lua_free(running.lua);
        kiln_shared_free(running.shared);
        kiln_metrics_free(running.metrics);
    }
    if (rc < 0) {
        point(&running, false, "runs to its end", why.text);
    } else if (running.points == 0) {
        point(&running, false, "holds a test", "no test.case was run");
    }
    return (int)running.failed;
}

int kiln_policy_test_files(const char *const *paths, size_t count,
                           const kiln_policy_test_options *options, kiln_error *err)
{
    unsigned number = 0;
    int failed = 0;
    kiln_coverage *coverage = options->coverage ? kiln_coverage_new() : NULL;
    if (options->coverage && coverage == NULL) {
        return kiln_error_set(err, -ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < count && failed >= 0; i++) {
        int rc = test_file(paths[i], &number, coverage, options, err);
        failed = rc < 0 ? rc : failed + rc;
    }
    if (failed >= 0) {
        printf("1..%u\n", number);
        if (coverage != NULL) {
            kiln_coverage_print(coverage, stdout);
        }
        if (fflush(stdout) != 0) {
            failed = kiln_error_errno(err, errno, "standard output");
        }
    }
    kiln_coverage_free(coverage);
    return failed;
}
