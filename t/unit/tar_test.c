/* tar_test.c - the archives of the container plugin: what is written is read back, in any
 * pieces; a tree is made, changed and taken away beneath its folder alone. */
/* NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../plugins/container/tar.c"
#include "../../plugins/container/unpack.c"
/* NOLINTEND(bugprone-suspicious-include) */

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const tar_owner nobody = {65534, 65534};

static void add(tar_buffer *tar, const char *name, const char *content)
{
    size_t size = content != NULL ? strlen(content) : 0;
    assert_int_equal(tar_begin(tar, name, content == NULL, 0644, nobody, size, 1), 0);
    if (size > 0) {
        memcpy(tar_content(tar, size), content, size);
    }
}

static int make_place(void)
{
    char path[] = "/tmp/kiln-tar-XXXXXX";
    assert_non_null(mkdtemp(path));
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    return fd;
}

static void drop_place(int fd)
{
    char link[64], path[64] = "";
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    assert_true(readlink(link, path, sizeof(path) - 1) > 0);
    int above = open("/tmp", O_RDONLY | O_DIRECTORY);
    assert_int_equal(tree_remove(above, path + strlen("/tmp/")), 0);
    close(above);
    close(fd);
}

static int unpack_all(int fd, const tar_buffer *tar, size_t piece, size_t *left_out)
{
    struct unpack *unpack = unpack_open(fd, "work", 4096, 8);
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < tar->length; at += piece) {
        size_t left = tar->length - at;
        rc = unpack_push(unpack, tar->data + at, left < piece ? left : piece);
    }
    rc = rc == 0 ? unpack_finish(unpack, left_out) : rc;
    unpack_free(unpack);
    return rc;
}

static void read_back(int fd, const char *name, const char *want)
{
    char text[256];
    int file = tree_open(fd, name, O_RDONLY, 0);
    assert_true(file >= 0);
    ssize_t n = read(file, text, sizeof(text) - 1);
    assert_true(n >= 0);
    text[n] = '\0';
    close(file);
    assert_string_equal(text, want);
}

static void every_piece(void **state)
{
    (void)state;
    char name[400] = "work/d/";
    tar_buffer tar = {0};
    size_t left_out = 7;
    memset(name + strlen(name), 'n', 200);
    add(&tar, "work", NULL);
    add(&tar, "work/a", "first");
    add(&tar, "work/d", NULL);
    add(&tar, name, "long");
    assert_int_equal(tar_finish(&tar), 0);
    for (size_t piece = 1; piece < 1100; piece += piece < 20 ? 1 : 97) {
        int fd = make_place();
        assert_int_equal(unpack_all(fd, &tar, piece, &left_out), 0);
        assert_int_equal(left_out, 0);
        read_back(fd, "a", "first");
        read_back(fd, name + strlen("work/"), "long");
        drop_place(fd);
    }
    free(tar.data);
}

static void changes(void **state)
{
    (void)state;
    int fd = make_place();
    size_t left_out;
    struct stat first, second;
    tar_buffer one = {0}, two = {0};
    add(&one, "work/a", "same");
    add(&one, "work/b", "old");
    add(&one, "work/d", NULL);
    add(&one, "work/d/e", "gone");
    assert_int_equal(tar_finish(&one), 0);
    assert_int_equal(unpack_all(fd, &one, 512, &left_out), 0);
    assert_int_equal(fstatat(fd, "a", &first, 0), 0);
    add(&two, "work/a", "same");
    add(&two, "work/b", "new");
    add(&two, "work/d", "now a file");
    assert_int_equal(tar_finish(&two), 0);
    assert_int_equal(unpack_all(fd, &two, 512, &left_out), 0);
    assert_int_equal(fstatat(fd, "a", &second, 0), 0);
    assert_memory_equal(&first.st_ctim, &second.st_ctim, sizeof(first.st_ctim));
    read_back(fd, "b", "new");
    read_back(fd, "d", "now a file");
    two.length = 512; /* cut: nothing is taken away */
    assert_int_equal(unpack_all(fd, &two, 512, &left_out), -EPROTO);
    read_back(fd, "d", "now a file");
    drop_place(fd);
    free(one.data);
    free(two.data);
}

static void refused(void **state)
{
    static const struct {
        const char *name;
        int rc;
    } names[] = {
        {"work/../x", -EPROTO}, {"/work/x", -EPROTO}, {"workx/x", -EPROTO},
        {"x", -EPROTO},         {"work//x", -EPROTO}, {"work/./x", -EPROTO},
        {"work/no/x", -EPROTO}, {"work", -EPROTO},    {"work/x", 0},
    };
    (void)state;
    size_t left_out;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int fd = make_place();
        tar_buffer tar = {0};
        add(&tar, names[i].name, "x");
        assert_int_equal(tar_finish(&tar), 0);
        assert_int_equal(unpack_all(fd, &tar, 512, &left_out), names[i].rc);
        free(tar.data);
        drop_place(fd);
    }
}

static void limits(void **state)
{
    (void)state;
    char name[32], large[5000];
    size_t left_out;
    tar_buffer many = {0}, big = {0};
    for (int i = 0; i < 9; i++) {
        snprintf(name, sizeof(name), "work/%d", i);
        add(&many, name, "");
    }
    assert_int_equal(tar_finish(&many), 0);
    memset(large, 'x', sizeof(large));
    large[4097] = '\0';
    add(&big, "work/x", large);
    assert_int_equal(tar_finish(&big), 0);
    int fd = make_place();
    assert_int_equal(unpack_all(fd, &many, 512, &left_out), -EMFILE);
    assert_int_equal(unpack_all(fd, &big, 512, &left_out), -EDQUOT);
    drop_place(fd);
    free(many.data);
    free(big.data);
}

/* What stands in the folder is never followed, whoever put it there. */
static void nothing_is_followed(void **state)
{
    (void)state;
    int fd = make_place(), other = make_place();
    char link[64];
    size_t left_out;
    struct stat what;
    tar_buffer tar = {0}, through = {0};
    snprintf(link, sizeof(link), "/proc/self/fd/%d", other);
    assert_int_equal(symlinkat(link, fd, "d"), 0);
    assert_int_equal(symlinkat(link, fd, "f"), 0);
    add(&tar, "work/d", NULL);
    add(&tar, "work/d/x", "inside");
    add(&tar, "work/f", "a file");
    assert_int_equal(tar_finish(&tar), 0);
    assert_int_equal(unpack_all(fd, &tar, 512, &left_out), 0);
    read_back(fd, "d/x", "inside");
    read_back(fd, "f", "a file");
    assert_int_equal(fstatat(other, "x", &what, 0), -1);
    /* Nor on the way. */
    assert_int_equal(mkdirat(other, "e", 0700), 0);
    assert_int_equal(symlinkat(link, fd, "l"), 0);
    add(&through, "work/l/e/x", "outside");
    assert_int_equal(tar_finish(&through), 0);
    assert_int_equal(unpack_all(fd, &through, 512, &left_out), -EPROTO);
    assert_int_equal(fstatat(other, "e/x", &what, 0), -1);
    assert_int_equal(tree_open(fd, "/", O_RDONLY | O_DIRECTORY, 0), -EXDEV);
    free(tar.data);
    free(through.data);
    drop_place(fd);
    drop_place(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_piece),
        cmocka_unit_test(changes),
        cmocka_unit_test(refused),
        cmocka_unit_test(limits),
        cmocka_unit_test(nothing_is_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
