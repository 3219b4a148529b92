#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/io/access_log.h"

/* Lines are numbered, so that order and loss can be seen. */
#define FORMAT "%(B)s %(U)s"

static struct access_log *new_log(void)
{
    struct access_log *log = NULL;
    const char *problem = NULL;
    assert_int_equal(access_log_create(FORMAT, &log, &problem), 0);
    return log;
}

static void append(struct access_log *log, uint64_t number, size_t path_bytes)
{
    static uint8_t path[ACCESS_VALUE_BYTES_MAX];
    memset(path, 'p', sizeof path);
    struct access_entry entry = {.body_bytes = number, .path = bytes_of(path, path_bytes)};
    access_log_append(log, &entry);
}

/* Where a writer puts what it took. */
struct sink {
    size_t used;
    char text[4 << 20];
};

static struct sink *new_sink(void)
{
    struct sink *sink = calloc(1, sizeof *sink);
    assert_non_null(sink);
    return sink;
}

static void keep(struct sink *sink, struct bytes bytes)
{
    assert_true(sink->used + bytes.length < sizeof sink->text);
    memcpy(sink->text + sink->used, bytes.data, bytes.length);
    sink->used += bytes.length;
}

static bool write_at_most(struct access_log *log, struct sink *sink, size_t bytes_max)
{
    struct bytes bytes;
    if (!access_log_take(log, &bytes))
        return false;
    if (bytes.length > bytes_max)
        bytes.length = bytes_max;
    keep(sink, bytes);
    access_log_written(log, (int64_t)bytes.length);
    return true;
}

static void write_all(struct access_log *log, struct sink *sink)
{
    while (write_at_most(log, sink, SIZE_MAX)) {
    }
}

static void fail_once(struct access_log *log, int error)
{
    struct bytes bytes;
    assert_true(access_log_take(log, &bytes));
    access_log_written(log, error);
}

/* The numbers of all lines in the order written; a line that is not whole is a failure. */
static size_t read_numbers(struct sink *sink, uint64_t *numbers, size_t count_max)
{
    size_t count = 0;
    for (char *line = strtok(sink->text, "\n"); line; line = strtok(NULL, "\n")) {
        char *path;
        assert_true(count < count_max);
        numbers[count++] = strtoull(line, &path, 10);
        assert_int_equal(*path, ' ');
        assert_int_equal(strspn(path + 1, "p"), strlen(path + 1));
    }
    return count;
}

static void a_bad_format_is_refused(void **state)
{
    (void)state;
    struct access_log *log = NULL;
    const char *problem = NULL;
    assert_int_equal(access_log_create("%(h", &log, &problem), -EINVAL);
    assert_non_null(problem);
    assert_null(log);
    access_log_destroy(NULL);
}

static void another_format_is_for_the_lines_to_come(void **state)
{
    (void)state;
    struct access_log *log = new_log();
    struct sink *sink = new_sink();
    const char *problem = NULL;
    append(log, 1, 1);
    assert_int_equal(access_log_set_format(log, "after %(B)s", &problem), 0);
    append(log, 2, 1);
    assert_int_equal(access_log_set_format(log, "%(B", &problem), -EINVAL);
    assert_non_null(problem);
    append(log, 3, 1);
    write_all(log, sink);
    assert_string_equal(sink->text, "1 p\nafter 2\nafter 3\n");
    free(sink);
    access_log_destroy(log);
}

static void an_empty_log_has_nothing_to_write(void **state)
{
    (void)state;
    struct access_log *log = new_log();
    struct bytes bytes;
    assert_false(access_log_take(log, &bytes));
    assert_int_equal(access_log_waiting(log), 0);
    access_log_destroy(log);
}

static void lines_leave_in_batches_and_in_order(void **state)
{
    (void)state;
    struct access_log *log = new_log();
    struct bytes bytes;
    append(log, 1, 1);
    append(log, 2, 1);
    assert_int_equal(access_log_waiting(log), 8);
    assert_true(access_log_take(log, &bytes));
    assert_true(bytes_equal(bytes, BYTES_LITERAL("1 p\n2 p\n")));
    assert_int_equal(access_log_waiting(log), 0);

    /* One write at a time, while further lines gather. */
    append(log, 3, 1);
    struct bytes other;
    assert_false(access_log_take(log, &other));
    assert_int_equal(access_log_waiting(log), 4);
    assert_true(bytes_equal(bytes, BYTES_LITERAL("1 p\n2 p\n")));
    access_log_written(log, (int64_t)bytes.length);
    assert_true(access_log_take(log, &bytes));
    assert_true(bytes_equal(bytes, BYTES_LITERAL("3 p\n")));
    access_log_written(log, (int64_t)bytes.length);
    assert_false(access_log_take(log, &bytes));
    access_log_destroy(log);
}

static void a_partial_write_goes_on_where_it_stopped(void **state)
{
    (void)state;
    struct access_log *log = new_log();
    struct sink *sink = new_sink();
    for (uint64_t i = 0; i < 10; i++)
        append(log, i, i);
    size_t waiting = access_log_waiting(log);
    while (write_at_most(log, sink, 3)) {
        append(log, 1000, 5);
        if (sink->used > 90)
            break;
    }
    write_all(log, sink);
    assert_true(sink->used > waiting);
    uint64_t numbers[64];
    size_t count = read_numbers(sink, numbers, 64);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(numbers[i], i < 10 ? i : 1000);
    assert_int_equal(access_log_waiting(log), 0);
    free(sink);
    access_log_destroy(log);
}

static void eagain_and_eintr_lose_nothing(void **state)
{
    (void)state;
    struct access_log *log = new_log();
    struct sink *sink = new_sink();
    append(log, 7, 1);
    fail_once(log, -EAGAIN);
    assert_int_equal(access_log_waiting(log), 4);
    fail_once(log, -EINTR);
    write_all(log, sink);
    assert_string_equal(sink->text, "7 p\n");
    assert_int_equal(access_log_drops(log), 0);
    free(sink);
    access_log_destroy(log);
}

static void an_error_drops_and_counts_what_was_taken_and_nothing_else(void **state)
{
    (void)state;
    struct access_log *log = new_log();
    struct sink *sink = new_sink();
    append(log, 1, 1);
    append(log, 2, 1);
    fail_once(log, -ENOSPC);
    assert_int_equal(access_log_drops(log), 2);
    append(log, 3, 1);
    write_all(log, sink);
    assert_string_equal(sink->text, "3 p\n");
    free(sink);
    access_log_destroy(log);
}

static void a_line_torn_by_an_error_does_not_swallow_the_next(void **state)
{
    (void)state;
    struct access_log *log = new_log();
    struct sink *sink = new_sink();
    append(log, 1, 1);
    append(log, 2, 1);
    assert_true(write_at_most(log, sink, 6)); /* "1 p\n2 " */
    fail_once(log, -ENOSPC);
    assert_int_equal(access_log_drops(log), 1);

    append(log, 3, 1);
    fail_once(log, -ENOSPC); /* not even the line end got out */
    append(log, 4, 1);
    write_all(log, sink);
    append(log, 5, 1);
    write_all(log, sink);
    assert_string_equal(sink->text, "1 p\n2 \n4 p\n5 p\n");
    assert_int_equal(access_log_drops(log), 2);
    free(sink);
    access_log_destroy(log);
}

static void an_error_after_a_whole_line_leaves_no_empty_line(void **state)
{
    (void)state;
    struct access_log *log = new_log();
    struct sink *sink = new_sink();
    append(log, 1, 1);
    append(log, 2, 1);
    assert_true(write_at_most(log, sink, 4));
    fail_once(log, -EIO);
    append(log, 3, 1);
    write_all(log, sink);
    assert_string_equal(sink->text, "1 p\n3 p\n");
    free(sink);
    access_log_destroy(log);
}

static void a_writer_that_stands_still_costs_lines_beyond_one_mebibyte(void **state)
{
    (void)state;
    struct access_log *log = new_log();
    struct sink *sink = new_sink();
    struct bytes bytes;
    append(log, 0, 1000);
    assert_true(access_log_take(log, &bytes));
    uint64_t number = 1;
    while (access_log_drops(log) == 0)
        append(log, number++, 1000);
    assert_in_range(access_log_waiting(log), 900 * 1024, 1024 * 1024);
    uint64_t first_dropped = number - 1;
    for (int i = 0; i < 9; i++)
        append(log, number++, 1000);
    assert_int_equal(access_log_drops(log), 10);

    /* When it moves again nothing else is missing, and new lines are kept. */
    keep(sink, bytes);
    access_log_written(log, (int64_t)bytes.length);
    append(log, number, 1000);
    write_all(log, sink);
    assert_int_equal(access_log_drops(log), 10);
    uint64_t numbers[2048];
    size_t count = read_numbers(sink, numbers, 2048);
    assert_int_equal(count, first_dropped + 1);
    for (size_t i = 0; i + 1 < count; i++)
        assert_int_equal(numbers[i], i);
    assert_int_equal(numbers[count - 1], number);
    free(sink);
    access_log_destroy(log);
}

/* Random sizes, partial writes and errors: what is neither written nor counted as dropped does not exist. */
static void every_line_is_either_written_whole_once_or_counted(void **state)
{
    (void)state;
    struct access_log *log = new_log();
    struct sink *sink = new_sink();
    uint64_t number = 0;
    srand(2);
    for (int step = 0; step < 3000; step++) {
        if (rand() % 4)
            append(log, number++, (size_t)rand() % 1200);
        else if (rand() % 8)
            write_at_most(log, sink, 1 + (size_t)rand() % 3000);
        else if (access_log_waiting(log))
            fail_once(log, rand() % 2 ? -EAGAIN : -EINTR);
    }
    write_all(log, sink);
    static uint64_t numbers[4096];
    size_t count = read_numbers(sink, numbers, 4096);
    for (size_t i = 1; i < count; i++)
        assert_true(numbers[i] > numbers[i - 1]);
    assert_int_equal(count + access_log_drops(log), number);
    free(sink);
    access_log_destroy(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_format_is_refused),
        cmocka_unit_test(another_format_is_for_the_lines_to_come),
        cmocka_unit_test(an_empty_log_has_nothing_to_write),
        cmocka_unit_test(lines_leave_in_batches_and_in_order),
        cmocka_unit_test(a_partial_write_goes_on_where_it_stopped),
        cmocka_unit_test(eagain_and_eintr_lose_nothing),
        cmocka_unit_test(an_error_drops_and_counts_what_was_taken_and_nothing_else),
        cmocka_unit_test(a_line_torn_by_an_error_does_not_swallow_the_next),
        cmocka_unit_test(an_error_after_a_whole_line_leaves_no_empty_line),
        cmocka_unit_test(a_writer_that_stands_still_costs_lines_beyond_one_mebibyte),
        cmocka_unit_test(every_line_is_either_written_whole_once_or_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
