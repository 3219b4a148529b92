#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/owned.h"
#include "daemon/supervisor/child_environment.h"
#include "daemon/supervisor/log_files.h"
#include "daemon/supervisor/pid_file.h"
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Three small modules around files and strings. */

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

/* Pid file --------------------------------------------------------------------------------------------------- */

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

/* Log files -------------------------------------------------------------------------------------------------- */

static void logs_are_appended_to_and_reopened_by_name(void **state)
{
    struct fixture *fixture = *state;
    struct settings settings = {.errorlog = fixture->path, .accesslog = fixture->other};
    struct log_files files;
    char why[LOG_FILES_WHY_BYTES], moved[128], text[256];
    write_file(fixture->path, "old\n");
    assert_int_equal(log_files_open(&files, &settings, why), 0);
    assert_int_equal(write(files.error, "new\n", 4), 4);
    read_file(fixture->path, text);
    assert_string_equal(text, "old\nnew\n");

    snprintf(moved, sizeof moved, "%s.1", fixture->path);
    assert_int_equal(rename(fixture->path, moved), 0);
    assert_int_equal(log_files_reopen(&files, &settings, why), 0);
    assert_int_equal(write(files.error, "fresh\n", 6), 6);
    read_file(fixture->path, text);
    assert_string_equal(text, "fresh\n");
    assert_int_equal(unlink(moved), 0);
    log_files_deinit(&files);
}

static void a_log_that_cannot_be_opened_is_named_and_the_old_ones_stay(void **state)
{
    struct fixture *fixture = *state;
    struct settings settings = {.errorlog = fixture->path};
    struct log_files files;
    char why[LOG_FILES_WHY_BYTES], bad[] = "/nowhere/access.log";
    assert_int_equal(log_files_open(&files, &settings, why), 0);
    assert_int_equal(files.access, -1);
    int error = files.error;
    settings.accesslog = bad;
    assert_int_equal(log_files_reopen(&files, &settings, why), -ENOENT);
    assert_string_equal(why, "cannot open accesslog = /nowhere/access.log: No such file or directory");
    assert_int_equal(files.error, error);
    assert_true(fcntl(error, F_GETFD) >= 0);
    log_files_deinit(&files);
}

static void a_dash_means_the_standard_streams(void **state)
{
    struct settings settings = {.errorlog = (char[]){"-"}, .accesslog = (char[]){"-"}};
    struct log_files files;
    struct stat ours, theirs;
    char why[LOG_FILES_WHY_BYTES];
    (void)state;
    assert_int_equal(log_files_open(&files, &settings, why), 0);
    assert_int_equal(fstat(files.access, &ours) | fstat(STDOUT_FILENO, &theirs), 0);
    assert_true(ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev);
    assert_true(files.error > STDERR_FILENO && files.access > STDERR_FILENO);
    log_files_deinit(&files);
}

/* Child environment ------------------------------------------------------------------------------------------ */

static char *text(const char *constant)
{
    return (char *)(uintptr_t)constant;
}

static void later_lists_win_and_a_bare_name_removes(void **state)
{
    (void)state;
    char *const base[] = {text("A=1"), text("B=2"), text("AB=3"), NULL};
    char *first_items[] = {text("A=first"), text("C=4"), text("B")};
    char *second_items[] = {text("C=second"), text("D="), text("NOT_THERE")};
    const struct string_list first = {3, first_items}, second = {3, second_items};
    const struct string_list *const changes[] = {&first, &second};
    OWNED_MEMORY char **result = child_environment_create(base, changes, 2);
    static const char *const expected[] = {"AB=3", "A=first", "C=second", "D="};
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(result[i], expected[i]);
    assert_null(result[4]);
}

static void no_changes_give_the_same_environment(void **state)
{
    (void)state;
    char *const base[] = {text("A=1"), NULL};
    OWNED_MEMORY char **result = child_environment_create(base, NULL, 0);
    assert_string_equal(result[0], "A=1");
    assert_null(result[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_pid_file_holds_our_id_and_goes_at_the_end),
        TEST(a_pid_file_of_a_running_process_is_respected),
        TEST(a_leftover_pid_file_is_replaced),
        TEST(a_pid_file_that_cannot_be_written_is_reported),
        TEST(logs_are_appended_to_and_reopened_by_name),
        TEST(a_log_that_cannot_be_opened_is_named_and_the_old_ones_stay),
        TEST(a_dash_means_the_standard_streams),
        TEST(later_lists_win_and_a_bare_name_removes),
        TEST(no_changes_give_the_same_environment),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
