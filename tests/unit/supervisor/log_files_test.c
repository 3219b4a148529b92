#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/owned.h"
#include "daemon/supervisor/log_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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

static void an_access_log_that_is_turned_off_goes_nowhere(void **state)
{
    struct fixture *fixture = *state;
    struct settings settings = {.errorlog = fixture->path, .accesslog = fixture->other};
    struct log_files files;
    char why[LOG_FILES_WHY_BYTES], text[256];
    assert_int_equal(log_files_open(&files, &settings, why), 0);
    settings.accesslog = NULL;
    assert_int_equal(log_files_reopen(&files, &settings, why), 0);
    assert_int_equal(write(files.access, "lost", 4), 4);
    read_file(fixture->other, text);
    assert_string_equal(text, "");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(logs_are_appended_to_and_reopened_by_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_that_cannot_be_opened_is_named_and_the_old_ones_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_access_log_that_is_turned_off_goes_nowhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_dash_means_the_standard_streams, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
