/* workdir_test.c - files in and out of a directory that hostile code can change. */
#include "files/beneath.h"
#include "files/workdir.h"

#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

/* A root with work/ and code/ as the sandbox makes it, and a folder for what comes out. */
typedef struct fixture {
    char path[64];
    int root_fd, work_fd, out_fd;
    json_t *files;
    json_t *refused; /* ["name: why"] */
    kiln_manifest *before;
    kiln_error err;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    const char *tmp = getenv("TMPDIR");
    snprintf(f->path, sizeof(f->path), "%s/kiln-workdir-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->path));
    int base = open(f->path, O_PATH | O_DIRECTORY);
    mkdirat(base, "root", 0755);
    mkdirat(base, "out", 0755);
    f->root_fd = openat(base, "root", O_PATH | O_DIRECTORY);
    mkdirat(f->root_fd, "work", 0755);
    mkdirat(f->root_fd, "code", 0755);
    f->work_fd = openat(f->root_fd, "work", O_PATH | O_DIRECTORY);
    f->out_fd = openat(base, "out", O_PATH | O_DIRECTORY);
    close(base);
    f->files = json_array();
    f->refused = json_array();
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static int teardown(void **state)
{
    fixture *f = *state;
    kiln_manifest_free(f->before);
    json_decref(f->files);
    json_decref(f->refused);
    close(f->root_fd);
    close(f->work_fd);
    close(f->out_fd);
    int rc = nftw(f->path, remove_one, 64, FTW_DEPTH | FTW_PHYS);
    free(f);
    return rc;
}

static void make(fixture *f, const char *name, const char *text)
{
    auto_close int fd = openat(f->work_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void on_refused(void *user, const char *name, const char *why)
{
    fixture *f = user;
    json_array_append_new(f->refused, json_sprintf("%s: %s", name, why));
}

static void take(fixture *f)
{
    kiln_manifest_free(f->before);
    f->before = kiln_manifest_take(f->root_fd, KILN_AREA_WORK, &f->err);
    assert_non_null(f->before);
}

static void collect(fixture *f)
{
    json_array_clear(f->files);
    json_array_clear(f->refused);
    assert_int_equal(kiln_workdir_collect(f->root_fd, KILN_AREA_WORK, &f->before, f->out_fd,
                                          "OUT", f->files, on_refused, f, &f->err),
                     0);
}

static const json_t *collected(const fixture *f, const char *name)
{
    size_t i;
    json_t *file;
    json_array_foreach(f->files, i, file)
    {
        if (strcmp(json_string_value(json_object_get(file, "name")), name) == 0) {
            return file;
        }
    }
    return NULL;
}

/* "" when no line begins with `name`. */
static const char *why_refused(const fixture *f, const char *name)
{
    size_t i;
    json_t *line;
    json_array_foreach(f->refused, i, line)
    {
        const char *text = json_string_value(line);
        if (strncmp(text, name, strlen(name)) == 0 && text[strlen(name)] == ':') {
            return text + strlen(name);
        }
    }
    return "";
}

static char *content_at(int dir_fd, const char *name)
{
    static char text[4096];
    auto_close int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW);
    if (fd < 0) {
        return NULL;
    }
    ssize_t length = read(fd, text, sizeof(text) - 1);
    text[length > 0 ? length : 0] = '\0';
    return text;
}

/* Nothing of ours may stay beside the files. */
static size_t count_entries(int dir_fd)
{
    auto_close int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY);
    _Alignas(8) char names[65536];
    size_t count = 0;
    long got;
    while ((got = getdents64(fd, names, sizeof(names))) > 0) {
        for (long at = 0; at < got;) {
            const struct dirent64 *entry = (const void *)(names + at);
            count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
            at += entry->d_reclen;
        }
    }
    return count;
}

/* ------------------------------------------------------------------ files in */

static void write_makes_folders_and_modes(void **state)
{
    fixture *f = *state;
    struct stat st;
    assert_int_equal(
        kiln_workdir_write(f->root_fd, "work", "a/b/c.txt", "hello", 5, 0640, &f->err), 0);
    assert_string_equal(content_at(f->work_fd, "a/b/c.txt"), "hello");
    assert_int_equal(fstatat(f->work_fd, "a/b/c.txt", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(kiln_workdir_write(f->root_fd, "code", "main.py", "x", 1, 0755, &f->err),
                     0);
    assert_string_equal(content_at(f->root_fd, "code/main.py"), "x");
    assert_int_equal(kiln_workdir_write(f->root_fd, "work", "empty", NULL, 0, 0644, &f->err),
                     0);
    assert_string_equal(content_at(f->work_fd, "empty"), "");
}

static void write_replaces_what_stands_there(void **state)
{
    fixture *f = *state;
    make(f, "victim", "untouched");
    assert_int_equal(symlinkat("victim", f->work_fd, "link"), 0);
    assert_int_equal(linkat(f->work_fd, "victim", f->work_fd, "hard", 0), 0);
    assert_int_equal(mkfifoat(f->work_fd, "fifo", 0600), 0);
    const char *const names[] = {"link", "hard", "fifo"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(
            kiln_workdir_write(f->root_fd, "work", names[i], "new", 3, 0644, &f->err), 0);
        assert_string_equal(content_at(f->work_fd, names[i]), "new");
    }
    assert_string_equal(content_at(f->work_fd, "victim"), "untouched");
    mkdirat(f->work_fd, "folder", 0755);
    assert_int_equal(kiln_workdir_write(f->root_fd, "work", "folder", "x", 1, 0644, &f->err),
                     -EISDIR);
    assert_non_null(strstr(f->err.text, "work/folder: a folder stands in its place"));
}

static void write_never_leaves_the_directory(void **state)
{
    fixture *f = *state;
    const char *const bad[] = {"../x", "/x", "a/../../x", "", ".", "..", "a//b", "a/"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_true(kiln_workdir_write(f->root_fd, "work", bad[i], "x", 1, 0644, &f->err) < 0);
    }
    /* The code's links in the place of folders. */
    assert_int_equal(symlinkat("..", f->work_fd, "up"), 0);
    assert_int_equal(symlinkat("/tmp", f->work_fd, "away"), 0);
    assert_true(kiln_workdir_write(f->root_fd, "work", "up/x", "x", 1, 0644, &f->err) < 0);
    assert_true(kiln_workdir_write(f->root_fd, "work", "away/x", "x", 1, 0644, &f->err) < 0);
    assert_int_equal(faccessat(f->root_fd, "x", F_OK, 0), -1);
    /* work itself replaced by a link */
    renameat(f->root_fd, "work", f->root_fd, "gone");
    assert_int_equal(symlinkat("code", f->root_fd, "work"), 0);
    assert_true(kiln_workdir_write(f->root_fd, "work", "x", "x", 1, 0644, &f->err) < 0);
    assert_null(kiln_manifest_take(f->root_fd, KILN_AREA_WORK, &f->err));
    unlinkat(f->root_fd, "work", 0);
    renameat(f->root_fd, "gone", f->root_fd, "work");
}

static void write_belongs_to_the_owner_of_the_directory(void **state)
{
    fixture *f = *state;
    struct stat st;
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(fchownat(f->root_fd, "work", 123456, 123457, 0), 0);
    assert_int_equal(kiln_workdir_write(f->root_fd, "work", "a/b", "x", 1, 0644, &f->err), 0);
    const char *const names[] = {"a", "a/b"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fstatat(f->work_fd, names[i], &st, 0), 0);
        assert_int_equal(st.st_uid, 123456);
        assert_int_equal(st.st_gid, 123457);
    }
    /* and the engine is itself again: this needs its capabilities */
    assert_int_equal(fchownat(f->root_fd, "work", 0, 0, 0), 0);
    assert_int_equal(fchmodat(f->root_fd, "work/a", 0, 0), 0);
    assert_int_equal(faccessat(f->work_fd, "a/b", R_OK, 0), 0);
}

static void put_reads_contents_and_host_files(void **state)
{
    fixture *f = *state;
    char path[128];
    snprintf(path, sizeof(path), "%s/host.csv", f->path);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "1,2\n", 4), 4);
    close(fd);
    kiln_request *request = kiln_request_new();
    kiln_request_add_file(request, "in/data.csv", path, NULL, 0, NULL);
    kiln_request_add_file(request, "bytes", NULL, "a\0b", 3, NULL);
    kiln_request_add_file(request, "proc", "/proc/self/stat", NULL, 0, NULL);
    assert_int_equal(kiln_workdir_put(f->root_fd, KILN_AREA_WORK, request, &f->err), 0);
    assert_string_equal(content_at(f->work_fd, "in/data.csv"), "1,2\n");
    struct stat st;
    fstatat(f->work_fd, "bytes", &st, 0);
    assert_int_equal(st.st_size, 3);
    fstatat(f->work_fd, "proc", &st, 0);
    assert_true(st.st_size > 0);
    kiln_request_free(request);
}

static void put_refuses_what_is_no_file(void **state)
{
    fixture *f = *state;
    char fifo[128];
    snprintf(fifo, sizeof(fifo), "%s/fifo", f->path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const struct {
        const char *path;
        int code;
    } bad[] = {
        {f->path, -EISDIR}, {fifo, -EINVAL}, {"/dev/zero", -EINVAL}, {"/nowhere", -ENOENT}};
    for (size_t i = 0; i < 4; i++) {
        kiln_request *request = kiln_request_new();
        kiln_request_add_file(request, "x", bad[i].path, NULL, 0, NULL);
        assert_int_equal(kiln_workdir_put(f->root_fd, KILN_AREA_WORK, request, &f->err),
                         bad[i].code);
        assert_non_null(strstr(f->err.text, bad[i].path));
        kiln_request_free(request);
    }
    assert_int_equal(count_entries(f->work_fd), 0);
}

/* ----------------------------------------------------------------- files out */

static void collect_tells_made_and_changed(void **state)
{
    fixture *f = *state;
    make(f, "same", "1");
    make(f, "grown", "1");
    make(f, "rewritten", "1");
    make(f, "removed", "1");
    take(f);
    make(f, "grown", "12");
    make(f, "rewritten", "2"); /* same size, likely in the same tick of the clock */
    unlinkat(f->work_fd, "removed", 0);
    mkdirat(f->work_fd, "sub", 0755);
    make(f, "sub/plot.png", "hello");
    collect(f);
    assert_int_equal(json_array_size(f->files), 3);
    assert_int_equal(json_array_size(f->refused), 0);
    assert_non_null(collected(f, "grown"));
    assert_non_null(collected(f, "rewritten"));
    const json_t *file = collected(f, "sub/plot.png");
    assert_non_null(file);
    assert_string_equal(json_string_value(json_object_get(file, "path")), "OUT/sub/plot.png");
    assert_string_equal(json_string_value(json_object_get(file, "mime_type")), "image/png");
    assert_int_equal(json_integer_value(json_object_get(file, "size")), 5);
    assert_string_equal(json_string_value(json_object_get(file, "sha256")),
                        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_string_equal(content_at(f->out_fd, "sub/plot.png"), "hello");
    assert_string_equal(content_at(f->out_fd, "grown"), "12");
    struct stat st;
    fstatat(f->out_fd, "grown", &st, 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    assert_int_equal(count_entries(f->out_fd), 3);
    /* Nothing since: nothing told. */
    take(f);
    collect(f);
    assert_int_equal(json_array_size(f->files), 0);
}

static void collect_without_a_place_only_tells(void **state)
{
    fixture *f = *state;
    take(f);
    make(f, "x.txt", "x");
    json_t *files = json_array();
    assert_int_equal(kiln_workdir_collect(f->root_fd, KILN_AREA_WORK, &f->before, -1, NULL,
                                          files, NULL, NULL, &f->err),
                     0);
    assert_int_equal(json_array_size(files), 1);
    assert_true(json_is_null(json_object_get(json_array_get(files, 0), "path")));
    assert_int_equal(
        strlen(json_string_value(json_object_get(json_array_get(files, 0), "sha256"))), 64);
    json_decref(files);
}

static void collect_refuses_links_fifos_sockets_devices(void **state)
{
    fixture *f = *state;
    take(f);
    make(f, "good", "1");
    make(f, "hard1", "1");
    linkat(f->work_fd, "hard1", f->work_fd, "hard2", 0);
    assert_int_equal(symlinkat("/etc/shadow", f->work_fd, "shadow"), 0);
    assert_int_equal(symlinkat("/", f->work_fd, "slash"), 0);
    assert_int_equal(mkfifoat(f->work_fd, "fifo", 0666), 0);
    auto_close int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/root/work/sock", f->path);
    assert_int_equal(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
    bool device = mknodat(f->work_fd, "null", S_IFCHR | 0666, makedev(1, 3)) == 0;
    collect(f);
    assert_int_equal(json_array_size(f->files), 1);
    assert_non_null(collected(f, "good"));
    assert_non_null(strstr(why_refused(f, "shadow"), "symbolic link"));
    assert_non_null(strstr(why_refused(f, "slash"), "symbolic link"));
    assert_non_null(strstr(why_refused(f, "hard1"), "hard links"));
    assert_non_null(strstr(why_refused(f, "hard2"), "hard links"));
    assert_non_null(strstr(why_refused(f, "fifo"), "FIFO"));
    assert_non_null(strstr(why_refused(f, "sock"), "socket"));
    if (device) {
        assert_non_null(strstr(why_refused(f, "null"), "device"));
    }
    assert_int_equal(count_entries(f->out_fd), 1);
    /* Told once: they are no news to the next execution. */
    take(f);
    collect(f);
    assert_int_equal(json_array_size(f->refused), 0);
}

static void collect_keeps_odd_names_literal_or_refuses(void **state)
{
    fixture *f = *state;
    char longest[NAME_MAX + 1];
    memset(longest, 'n', NAME_MAX);
    longest[NAME_MAX] = '\0';
    take(f);
    make(f, "-rf", "1");
    make(f, "a b;$(id)\"'*", "1");
    make(f, "\xc3\xa9\xe2\x82\xac", "1");
    make(f, longest, "1");
    make(f, "...", "1");
    make(f, "new\nline", "1");
    make(f, "esc\x1b[31m", "1");
    make(f, "latin\xe9", "1");
    make(f, "over\xc0\xaflong", "1");
    make(f, "c1\xc2\x9b", "1");
    collect(f);
    assert_int_equal(json_array_size(f->files), 5);
    assert_non_null(collected(f, "-rf"));
    assert_non_null(collected(f, "a b;$(id)\"'*"));
    assert_non_null(collected(f, "..."));
    assert_non_null(collected(f, longest));
    assert_int_equal(json_array_size(f->refused), 5);
    assert_non_null(strstr(why_refused(f, "new\\x0aline"), "control characters"));
    assert_non_null(strstr(why_refused(f, "esc\\x1b[31m"), "control characters"));
    assert_non_null(strstr(why_refused(f, "latin\\xe9"), "UTF-8"));
    assert_non_null(strstr(why_refused(f, "over\\xc0\\xaflong"), "UTF-8"));
    assert_non_null(strstr(why_refused(f, "c1\\xc2\\x9b"), "control characters"));
}

static void collect_bounds_sparse_files(void **state)
{
    fixture *f = *state;
    take(f);
    make(f, "huge", "1");
    make(f, "holes", "1");
    make(f, "few", "1");
    auto_close int huge = openat(f->work_fd, "huge", O_WRONLY);
    off_t size = (off_t)1 << 50; /* 1024 TiB, or what the file system takes */
    while (ftruncate(huge, size) < 0) {
        size >>= 1;
    }
    assert_true(size > (off_t)1 << 31);
    auto_close int holes = openat(f->work_fd, "holes", O_WRONLY);
    assert_int_equal(ftruncate(holes, 900 << 20), 0);
    auto_close int few = openat(f->work_fd, "few", O_WRONLY);
    assert_int_equal(ftruncate(few, 3 << 20), 0);
    collect(f);
    assert_int_equal(json_array_size(f->files), 1);
    assert_non_null(collected(f, "few"));
    assert_non_null(strstr(why_refused(f, "huge"), "too large"));
    assert_non_null(strstr(why_refused(f, "holes"), "sparse"));
    assert_int_equal(count_entries(f->out_fd), 1);
}

static void collect_bounds_depth(void **state)
{
    fixture *f = *state;
    take(f);
    auto_close int at = fcntl(f->work_fd, F_DUPFD_CLOEXEC, 3);
    int levels[200];
    for (int i = 0; i < 200; i++) {
        assert_int_equal(mkdirat(at, "d", 0755), 0);
        int next = openat(at, "d", O_PATH | O_DIRECTORY);
        levels[i] = at;
        at = next;
        if (i == 5) {
            auto_close int fd = openat(at, "reachable", O_WRONLY | O_CREAT, 0644);
            assert_true(fd >= 0);
        }
    }
    collect(f);
    assert_int_equal(json_array_size(f->files), 1);
    assert_non_null(collected(f, "d/d/d/d/d/d/reachable"));
    assert_int_equal(json_array_size(f->refused), 1);
    assert_non_null(strstr(json_string_value(json_array_get(f->refused, 0)), "too deep"));
    for (int i = 199; i >= 0; i--) {
        close(at);
        at = levels[i];
        if (i == 5) {
            auto_close int sixth = openat(at, "d", O_PATH | O_DIRECTORY);
            unlinkat(sixth, "reachable", 0);
        }
        assert_int_equal(unlinkat(at, "d", AT_REMOVEDIR), 0);
    }
}

static void collect_bounds_the_count(void **state)
{
    fixture *f = *state;
    take(f);
    for (int i = 0; i < 50000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "f%05d", i);
        auto_close int fd = openat(f->work_fd, name, O_WRONLY | O_CREAT, 0644);
        assert_true(fd >= 0);
    }
    assert_int_equal(kiln_workdir_collect(f->root_fd, KILN_AREA_WORK, &f->before, -1, NULL,
                                          f->files, on_refused, f, &f->err),
                     0);
    assert_int_equal(json_array_size(f->files), KILN_COLLECT_FILES_MAX);
    assert_int_equal(json_array_size(f->refused), 1);
    assert_string_equal(json_string_value(json_array_get(f->refused, 0)),
                        "output files: 40000 more than the 10000 that are collected were left");
    take(f);
    collect(f);
    assert_int_equal(json_array_size(f->files), 0);
}

static void collect_counts_refusals_beyond_a_hundred(void **state)
{
    fixture *f = *state;
    take(f);
    for (int i = 0; i < 250; i++) {
        char name[32];
        snprintf(name, sizeof(name), "l%d", i);
        assert_int_equal(symlinkat("x", f->work_fd, name), 0);
    }
    collect(f);
    assert_int_equal(json_array_size(f->refused), 101);
    assert_string_equal(json_string_value(json_array_get(f->refused, 100)),
                        "output files: 150 more were refused");
}

/* The output folder is the user's: what stands in it is replaced, but links in it are not
 * followed, and a folder is not removed for a file. */
static void collect_into_a_folder_that_holds_something(void **state)
{
    fixture *f = *state;
    auto_close int old = openat(f->out_fd, "old", O_WRONLY | O_CREAT, 0600);
    assert_true(old >= 0 && write(old, "old content", 11) == 11);
    char elsewhere[128];
    snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", f->path);
    assert_int_equal(mkdir(elsewhere, 0755), 0);
    assert_int_equal(symlinkat(elsewhere, f->out_fd, "dir"), 0);
    assert_int_equal(symlinkat("old", f->out_fd, "link"), 0);
    assert_int_equal(mkdirat(f->out_fd, "taken", 0755), 0);
    take(f);
    make(f, "old", "new");
    make(f, "link", "a file now");
    make(f, "taken", "1");
    mkdirat(f->work_fd, "dir", 0755);
    make(f, "dir/x", "1");
    collect(f);
    assert_string_equal(content_at(f->out_fd, "old"), "new");
    assert_string_equal(content_at(f->out_fd, "link"), "a file now");
    assert_non_null(strstr(why_refused(f, "dir/x"), "cannot be made in the output folder"));
    assert_non_null(strstr(why_refused(f, "taken"), "cannot take its place"));
    auto_close int away = open(elsewhere, O_PATH | O_DIRECTORY);
    assert_int_equal(count_entries(away), 0);
    assert_int_equal(count_entries(f->out_fd), 4);
}

/* A process that goes on changing the tree while it is collected: whatever comes of it, no
 * wait, nothing from outside, and every hash is of what was written. */
typedef struct racer {
    fixture *f;
    atomic_bool stop;
} racer;

static void *race(void *user)
{
    racer *r = user;
    int work = r->f->work_fd;
    while (!atomic_load(&r->stop)) {
        unlinkat(work, "swap", 0);
        symlinkat("/etc/passwd", work, "swap");
        unlinkat(work, "swap", 0);
        mkfifoat(work, "swap", 0666);
        unlinkat(work, "swap", 0);
        make(r->f, "swap", "inside");
        renameat(work, "d1", work, "d2");
        symlinkat("/etc", work, "d1");
        unlinkat(work, "d1", 0);
        renameat(work, "d2", work, "d1");
        auto_close int grow = openat(work, "grow", O_WRONLY | O_CREAT | O_APPEND, 0644);
        ssize_t ignored = write(grow, "0123456789abcdef", 16);
        (void)ignored;
    }
    return NULL;
}

static void collect_survives_a_race(void **state)
{
    fixture *f = *state;
    take(f);
    mkdirat(f->work_fd, "d1", 0755);
    make(f, "d1/passwd", "inside");
    racer r = {.f = f};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, race, &r), 0);
    for (int i = 0; i < 300; i++) {
        collect(f);
        const char *const names[] = {"swap", "d1/passwd"};
        for (int k = 0; k < 2; k++) {
            const json_t *file = collected(f, names[k]);
            if (file != NULL && json_integer_value(json_object_get(file, "size")) != 0) {
                assert_string_equal(content_at(f->out_fd, names[k]), "inside");
            }
        }
    }
    atomic_store(&r.stop, true);
    pthread_join(thread, NULL);
}

static void work_directory_without_permissions(void **state)
{
    fixture *f = *state;
    make(f, "x", "1");
    assert_int_equal(fchmodat(f->root_fd, "work", 0, 0), 0);
    f->before = kiln_manifest_take(f->root_fd, KILN_AREA_WORK, &f->err);
    assert_non_null(f->before);
    assert_int_equal(kiln_workdir_write(f->root_fd, "work", "y", "2", 1, 0644, &f->err), 0);
    collect(f);
    assert_non_null(collected(f, "y"));
    fchmodat(f->root_fd, "work", 0755, 0);
}

/* --------------------------------------------------------- displayed images */

static void output_file_gets_a_free_name(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kiln_output_file_add(f->out_fd, "OUT", "figure.png", "image/png",
                                              "png!", 4, f->files, &f->err),
                         0);
    }
    assert_int_equal(json_array_size(f->files), 3);
    assert_non_null(collected(f, "figure.png"));
    assert_non_null(collected(f, "figure-2.png"));
    const json_t *third = collected(f, "figure-3.png");
    assert_non_null(third);
    assert_string_equal(json_string_value(json_object_get(third, "path")), "OUT/figure-3.png");
    assert_string_equal(content_at(f->out_fd, "figure-3.png"), "png!");
    assert_int_equal(count_entries(f->out_fd), 3);
    assert_true(kiln_output_file_add(f->out_fd, "OUT", "../x.png", "image/png", "x", 1,
                                     f->files, &f->err) < 0);
    /* Without a place the names are still apart. */
    assert_int_equal(
        kiln_output_file_add(-1, NULL, "figure.png", "image/png", "x", 1, f->files, &f->err),
        0);
    assert_non_null(collected(f, "figure-4.png"));
}

/* The one way by which anything of the code's is opened, by itself: none of its refusals
 * may hang on what callers look at before. */
static void opened_beneath_or_not_at_all(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *path;
        int expected;
    } paths[] = {{"../code", -EXDEV},        {"inner/../../code", -EXDEV},
                 {"/etc/passwd", -EXDEV},    {"inner/file", 0},
                 {"link", -ELOOP},           {"folder/file", -ELOOP},
                 {"folder/../file", -ELOOP}, {"absolute/passwd", -ELOOP},
                 {"magic", -ELOOP}};
    mkdirat(f->work_fd, "inner", 0755);
    close(openat(f->work_fd, "inner/file", O_WRONLY | O_CREAT, 0644));
    symlinkat("inner/file", f->work_fd, "link");
    symlinkat("inner", f->work_fd, "folder");
    symlinkat("/etc", f->work_fd, "absolute");
    symlinkat("/proc/self/root", f->work_fd, "magic");
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        int fd = kiln_open_beneath(f->work_fd, paths[i].path, O_RDONLY, 0, false);
        assert_int_equal(fd < 0 ? fd : 0, paths[i].expected);
        if (fd >= 0) {
            close(fd);
        }
    }
    /* A FIFO opens at once, though nobody writes. */
    mkfifoat(f->work_fd, "fifo", 0600);
    int fd = kiln_open_beneath(f->work_fd, "fifo", O_RDONLY, 0, false);
    assert_true(fd >= 0);
    close(fd);
}

static void mime_types(void **state)
{
    (void)state;
    assert_string_equal(kiln_mime_type("a/b.PNG"), "image/png");
    assert_string_equal(kiln_mime_type("x.tar.gz"), "application/gzip");
    assert_string_equal(kiln_mime_type("a.png/noext"), "application/octet-stream");
    assert_string_equal(kiln_mime_type(".png"), "application/octet-stream");
    assert_string_equal(kiln_mime_type("d/.png"), "application/octet-stream");
    assert_string_equal(kiln_mime_type("x."), "application/octet-stream");
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* A look is of one directory, and not of another that has taken its place. */
static void a_look_is_of_one_directory(void **state)
{
    fixture *f = *state;
    take(f);
    assert_true(kiln_manifest_is_of(f->before, f->root_fd, KILN_AREA_WORK));
    assert_int_equal(fchmodat(f->root_fd, KILN_AREA_WORK, 0, 0), 0);
    assert_false(kiln_manifest_is_of(f->before, f->root_fd, KILN_AREA_WORK));
    take(f); /* the permissions are given back */
    assert_true(kiln_manifest_is_of(f->before, f->root_fd, KILN_AREA_WORK));
    assert_int_equal(renameat(f->root_fd, KILN_AREA_WORK, f->root_fd, "old"), 0);
    assert_false(kiln_manifest_is_of(f->before, f->root_fd, KILN_AREA_WORK));
    assert_int_equal(symlinkat("old", f->root_fd, KILN_AREA_WORK), 0);
    assert_false(kiln_manifest_is_of(f->before, f->root_fd, KILN_AREA_WORK));
    assert_int_equal(unlinkat(f->root_fd, KILN_AREA_WORK, 0), 0);
    assert_int_equal(mkdirat(f->root_fd, KILN_AREA_WORK, 0755), 0);
    assert_false(kiln_manifest_is_of(f->before, f->root_fd, KILN_AREA_WORK));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(write_makes_folders_and_modes),
        WITH_FIXTURE(write_replaces_what_stands_there),
        WITH_FIXTURE(write_never_leaves_the_directory),
        WITH_FIXTURE(write_belongs_to_the_owner_of_the_directory),
        WITH_FIXTURE(put_reads_contents_and_host_files),
        WITH_FIXTURE(put_refuses_what_is_no_file),
        WITH_FIXTURE(collect_tells_made_and_changed),
        WITH_FIXTURE(collect_without_a_place_only_tells),
        WITH_FIXTURE(collect_refuses_links_fifos_sockets_devices),
        WITH_FIXTURE(collect_keeps_odd_names_literal_or_refuses),
        WITH_FIXTURE(collect_bounds_sparse_files),
        WITH_FIXTURE(collect_bounds_depth),
        WITH_FIXTURE(collect_bounds_the_count),
        WITH_FIXTURE(collect_counts_refusals_beyond_a_hundred),
        WITH_FIXTURE(collect_into_a_folder_that_holds_something),
        WITH_FIXTURE(collect_survives_a_race),
        WITH_FIXTURE(work_directory_without_permissions),
        WITH_FIXTURE(a_look_is_of_one_directory),
        WITH_FIXTURE(output_file_gets_a_free_name),
        WITH_FIXTURE(opened_beneath_or_not_at_all),
        cmocka_unit_test(mime_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
