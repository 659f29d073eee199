/* Every fault that the loader can see, each with its own line; the plugins are
 * t/plugins/NAME.c, and files that no compiler makes are crafted here. */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "plugin/loader.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char folder[] = "/tmp/kiln-loader-test-XXXXXX";

static const char *built(const char *name)
{
    static char path[4096];
    const char *build = getenv("KILN_BUILD");
    snprintf(path, sizeof(path), "%s/t/plugins/%s.so", build != NULL ? build : "build", name);
    return path;
}

static const char *made(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof(path), "%s/%s.so", folder, name);
    return path;
}

static void refused(const char *path, int code, const char *why)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_loaded_plugin *loaded = NULL;
    int rc = kiln_plugin_load(path, false, &loaded, &err);
    if (rc == 0) {
        kiln_plugin_unload(loaded);
        fail_msg("%s was loaded", path);
    }
    if (strstr(err.text, why) == NULL || rc != code) {
        fail_msg("%s: got %d \"%s\", want %d \"...%s...\"", path, rc, err.text, code, why);
    }
    assert_int_equal(err.code, rc);
    assert_null(strchr(err.text, '\n'));
    assert_non_null(strstr(err.text, path)); /* which file */
    assert_null(loaded);
}

static void read_whole(const char *path, kiln_buffer *buffer)
{
    auto_fclose FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char chunk[4096];
    size_t got = 0;
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        assert_int_equal(kiln_buffer_append(buffer, chunk, got), 0);
    }
}

static void write_whole(const char *path, const void *data, size_t length)
{
    auto_fclose FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, length, file), length);
}

static void loads_what_is_right(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_loaded_plugin *loaded = NULL;
    if (kiln_plugin_load(built("misbehave"), false, &loaded, &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(loaded->plugin.name, "misbehave");
    assert_string_equal(loaded->path, built("misbehave"));
    assert_null(loaded->plugin.worker);
    kiln_plugin_unload(loaded);

    assert_int_equal(kiln_plugin_load(built("bad_worker"), false, &loaded, &err), 0);
    assert_ptr_equal(loaded->plugin.worker, &loaded->worker);
    assert_non_null(loaded->worker.execute);
    assert_null(loaded->worker.analyze);
    kiln_plugin_unload(loaded);

    unsigned major = 77, minor = 77;
    assert_int_equal(kiln_plugin_read_note(built("misbehave"), &major, &minor, &err), 0);
    assert_int_equal(major, KILN_ABI_MAJOR);
    assert_int_equal(minor, KILN_ABI_MINOR);
}

static void refuses_other_versions(void **state)
{
    (void)state;
    char both[64];
    snprintf(both, sizeof(both), "ABI %d.0, this engine has %d.%d", KILN_ABI_MAJOR + 1,
             KILN_ABI_MAJOR, KILN_ABI_MINOR);
    refused(built("wrong_major"), -EINVAL, both);
    snprintf(both, sizeof(both), "ABI %d.%d, newer than this engine's %d.%d", KILN_ABI_MAJOR,
             KILN_ABI_MINOR + 1, KILN_ABI_MAJOR, KILN_ABI_MINOR);
    refused(built("newer_minor"), -EINVAL, both);
    refused(built("lying_note"), -EINVAL, "its struct says ABI");
    refused(built("no_note"), -ENOEXEC, "no Kiln note");
    refused(built("short_note"), -EINVAL, "damaged note");
}

static void refuses_short_structs(void **state)
{
    (void)state;
    refused(built("short_struct"), -EINVAL, "kiln_plugin of ");
    refused(built("short_worker"), -EINVAL, "kiln_worker of ");
}

static void refuses_missing_callbacks(void **state)
{
    (void)state;
    refused(built("no_capability"), -EINVAL, "neither EXECUTE nor WORKER");
    refused(built("no_execute"), -EINVAL, "EXECUTE needs the callback execute");
    refused(built("no_session_close"), -EINVAL, "SESSIONS needs the callback session_close");
    refused(built("no_interrupt"), -EINVAL, "INTERRUPT needs the callback interrupt");
    refused(built("no_worker"), -EINVAL, "WORKER needs the callback worker");
    refused(built("no_preload"), -EINVAL, "WORKER needs the callback worker.preload");
    refused(built("no_analyze"), -EINVAL, "ANALYZE needs the callback worker.analyze");
    refused(built("no_query"), -EINVAL, "QUERY needs the callback query");
    refused(built("bad_option"), -EINVAL, "option \"colour\"");
    refused(built("other_name"), -EINVAL, "it calls itself \"another\"");
}

static void passes_on_the_linkers_words(void **state)
{
    (void)state;
    refused(built("no_entry"), -ENOEXEC, "undefined symbol: " KILN_PLUGIN_ENTRY);
    refused(built("null_entry"), -EINVAL, "its entry returned nothing");
    refused(built("undefined_symbol"), -ENOEXEC,
            "undefined symbol: kiln_test_no_library_has_this");
    refused(built("missing_library"), -ENOEXEC,
            "libkiln-test-stub.so.1: cannot open shared object file");
}

static void refuses_what_is_no_object(void **state)
{
    (void)state;
    refused(made("absent"), -ENOENT, "cannot be opened");
    write_whole(made("text"), "int main(void) { return 0; }\n", 29);
    refused(made("text"), -ENOEXEC, "not an ELF shared object");
    write_whole(made("empty"), "", 0);
    refused(made("empty"), -ENOEXEC, "not an ELF shared object");
    assert_int_equal(mkdir(made("directory"), 0700), 0);
    refused(made("directory"), -ENOEXEC, "not a regular file");
    assert_int_equal(mkfifo(made("fifo"), 0600), 0);
    refused(made("fifo"), -ENOEXEC, "not a regular file"); /* and does not wait for a writer */
    refused("/bin/sh", -ENOEXEC, "no Kiln note");
}

/* One byte of a good plugin's ELF header changed. */
static void refused_patched(size_t offset, unsigned char value, const char *why)
{
    auto_buffer kiln_buffer object = KILN_BUFFER_INIT;
    read_whole(built("misbehave"), &object);
    object.data[offset] = (char)value;
    write_whole(made("misbehave"), object.data, object.length);
    refused(made("misbehave"), -ENOEXEC, why);
}

static void refuses_other_machines(void **state)
{
    (void)state;
    refused_patched(4, 1, "not a shared object for this machine");   /* 32 bit */
    refused_patched(5, 2, "not a shared object for this machine");   /* big endian */
    refused_patched(18, 40, "not a shared object for this machine"); /* ARM */
    refused_patched(16, 1, "not a shared object for this machine");  /* object file */
    refused_patched(56, 0, "program headers");
    refused_patched(57, 0xff, "program headers");
    refused_patched(54, 3, "program headers");  /* size of one */
    refused_patched(32 + 3, 0x7f, "it is cut"); /* program headers beyond the end */
}

/* However much is missing, it is refused, and never by SIGBUS: pages of a mapping
 * beyond the end of the file kill whoever touches them. */
static void refuses_cut_objects(void **state)
{
    (void)state;
    auto_buffer kiln_buffer object = KILN_BUFFER_INIT;
    read_whole(built("misbehave"), &object);
    for (size_t length = 1; length < object.length / 2; length += length / 2 + 1) {
        write_whole(made("misbehave"), object.data, length);
        refused(made("misbehave"), -ENOEXEC, "");
    }
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"text", "empty", "fifo", "misbehave"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unlink(made(names[i]));
    }
    rmdir(made("directory"));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_what_is_right),
        cmocka_unit_test(refuses_other_versions),
        cmocka_unit_test(refuses_short_structs),
        cmocka_unit_test(refuses_missing_callbacks),
        cmocka_unit_test(passes_on_the_linkers_words),
        cmocka_unit_test(refuses_what_is_no_object),
        cmocka_unit_test(refuses_other_machines),
        cmocka_unit_test(refuses_cut_objects),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
