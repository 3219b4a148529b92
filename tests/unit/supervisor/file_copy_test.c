#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/supervisor/file_copy.h"
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    char directory[64];
    char path[96];
    struct file_copy copy;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    strcpy(fixture->directory, "/tmp/uroboros-copy-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->path, sizeof fixture->path, "%s/file", fixture->directory);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[96];
    file_copy_deinit(&fixture->copy);
    snprintf(command, sizeof command, "rm -r %s", fixture->directory);
    free(fixture);
    return system(command);
}

static void write_at(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void assert_holds(const struct file_copy *copy, const char *text)
{
    char content[64] = "";
    assert_int_equal(pread(copy->fd, content, sizeof content - 1, 0), strlen(text));
    assert_string_equal(content, text);
}

static void a_copy_keeps_what_the_file_held(void **state)
{
    struct fixture *fixture = *state;
    write_at(fixture->path, "one");
    assert_int_equal(file_copy_take(fixture->path, &fixture->copy), 0);
    write_at(fixture->path, "two");
    assert_holds(&fixture->copy, "one");
    assert_string_equal(fixture->copy.path, fixture->path);
}

static void nobody_can_change_it(void **state)
{
    struct fixture *fixture = *state;
    write_at(fixture->path, "one");
    assert_int_equal(file_copy_take(fixture->path, &fixture->copy), 0);
    assert_int_equal(pwrite(fixture->copy.fd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(fixture->copy.fd, 1), -1);
    assert_int_equal(fcntl(fixture->copy.fd, F_GETFD), FD_CLOEXEC);
}

static void a_file_that_is_written_renamed_over_or_gone_is_not_current(void **state)
{
    struct fixture *fixture = *state;
    char other[96];

    write_at(fixture->path, "one");
    assert_int_equal(file_copy_take(fixture->path, &fixture->copy), 0);
    assert_true(file_copy_is_current(&fixture->copy));
    write_at(fixture->path, "two!");
    assert_false(file_copy_is_current(&fixture->copy));

    file_copy_deinit(&fixture->copy);
    assert_int_equal(file_copy_take(fixture->path, &fixture->copy), 0);
    snprintf(other, sizeof other, "%s/other", fixture->directory);
    write_at(other, "two!");
    assert_int_equal(rename(other, fixture->path), 0);
    assert_false(file_copy_is_current(&fixture->copy));

    file_copy_deinit(&fixture->copy);
    assert_int_equal(file_copy_take(fixture->path, &fixture->copy), 0);
    assert_int_equal(unlink(fixture->path), 0);
    assert_false(file_copy_is_current(&fixture->copy));
}

static void an_exchanged_link_is_seen(void **state)
{
    struct fixture *fixture = *state;
    char first[96], second[96], link[96];

    snprintf(first, sizeof first, "%s/first", fixture->directory);
    snprintf(second, sizeof second, "%s/second", fixture->directory);
    snprintf(link, sizeof link, "%s/link", fixture->directory);
    write_at(first, "one");
    write_at(second, "two");
    assert_int_equal(symlink("first", fixture->path), 0);
    assert_int_equal(file_copy_take(fixture->path, &fixture->copy), 0);
    assert_holds(&fixture->copy, "one");
    assert_int_equal(symlink("second", link), 0);
    assert_int_equal(rename(link, fixture->path), 0);
    assert_false(file_copy_is_current(&fixture->copy));
}

static void what_is_no_such_file_is_an_error(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(file_copy_take(fixture->path, &fixture->copy), -ENOENT);
    assert_int_equal(file_copy_take(fixture->directory, &fixture->copy), -EISDIR);
    write_at(fixture->path, "");
    assert_int_equal(file_copy_take(fixture->path, &fixture->copy), -ENODATA);
    assert_int_equal(truncate(fixture->path, FILE_COPY_BYTES_MAX + 1), 0);
    assert_int_equal(file_copy_take(fixture->path, &fixture->copy), -EFBIG);
    assert_null(fixture->copy.path);
}

/* A device or a pipe has no length that could be asked for before. */
static void an_endless_file_is_too_long(void **state)
{
    struct fixture *fixture = *state;
    assert_int_not_equal(file_copy_take("/dev/zero", &fixture->copy), 0);
    assert_null(fixture->copy.path);
}

static void no_file_is_always_current(void **)
{
    struct file_copy none = FILE_COPY_NONE;
    assert_true(file_copy_is_current(&none));
    file_copy_deinit(&none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_copy_keeps_what_the_file_held),
        TEST(nobody_can_change_it),
        TEST(a_file_that_is_written_renamed_over_or_gone_is_not_current),
        TEST(an_exchanged_link_is_seen),
        TEST(what_is_no_such_file_is_an_error),
        TEST(an_endless_file_is_too_long),
        cmocka_unit_test(no_file_is_always_current),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
