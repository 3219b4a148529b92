#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/owned.h"
#include "daemon/supervisor/pid_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct fixture {
    char directory[64];
    char path[96];
    char other[96];
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    strcpy(fixture->directory, "/tmp/uroboros-files-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->path, sizeof fixture->path, "%s/one", fixture->directory);
    snprintf(fixture->other, sizeof fixture->other, "%s/two", fixture->directory);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->path);
    unlink(fixture->other);
    assert_int_equal(rmdir(fixture->directory), 0);
    free(fixture);
    return 0;
}

static void read_file(const char *path, char text[256])
{
    OWNED_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t length = read(fd, text, 255);
    text[length < 0 ? 0 : length] = '\0';
}

static void write_file(const char *path, const char *text)
{
    OWNED_FD fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void a_pid_file_holds_our_id_and_goes_at_the_end(void **state)
{
    struct fixture *fixture = *state;
    char text[256], expected[32];
    pid_t other = 0;
    assert_int_equal(pid_file_create(fixture->path, &other), 0);
    read_file(fixture->path, text);
    snprintf(expected, sizeof expected, "%d\n", (int)getpid());
    assert_string_equal(text, expected);
    pid_file_remove(fixture->path);
    assert_int_equal(access(fixture->path, F_OK), -1);
}

static void a_pid_file_of_a_running_process_is_respected(void **state)
{
    struct fixture *fixture = *state;
    pid_t other = 0;
    write_file(fixture->path, "1\n");
    assert_int_equal(pid_file_create(fixture->path, &other), -EEXIST);
    assert_int_equal(other, 1);
    pid_file_remove(fixture->path);
    assert_int_equal(access(fixture->path, F_OK), 0);
}

static void a_leftover_pid_file_is_replaced(void **state)
{
    struct fixture *fixture = *state;
    pid_t other = 0;
    write_file(fixture->path, "4194305\n"); /* beyond the largest id there can be */
    assert_int_equal(pid_file_create(fixture->path, &other), 0);
    write_file(fixture->path, "rubbish");
    assert_int_equal(pid_file_create(fixture->path, &other), 0);
}

static void a_pid_file_that_cannot_be_written_is_reported(void **state)
{
    pid_t other = 0;
    (void)state;
    assert_int_equal(pid_file_create("/nowhere/pid", &other), -ENOENT);
}

static void a_path_is_made_absolute_where_it_was_meant(void **state)
{
    char absolute[PATH_MAX], expected[PATH_MAX + 16], long_path[PATH_MAX];
    (void)state;
    pid_file_absolute("/run/site.pid", absolute);
    assert_string_equal(absolute, "/run/site.pid");
    pid_file_absolute("site.pid", absolute);
    assert_non_null(getcwd(long_path, sizeof long_path));
    snprintf(expected, sizeof expected, "%s/site.pid", long_path);
    assert_string_equal(absolute, expected);
    pid_file_absolute(NULL, absolute);
    assert_string_equal(absolute, "");
    memset(long_path, 'a', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    pid_file_absolute(long_path, absolute);
    assert_string_equal(absolute, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pid_file_holds_our_id_and_goes_at_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pid_file_of_a_running_process_is_respected, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_leftover_pid_file_is_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pid_file_that_cannot_be_written_is_reported, set_up, tear_down),
        cmocka_unit_test(a_path_is_made_absolute_where_it_was_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
