#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/owned.h"
#include "daemon/io/access_log_writer.h"
#include "daemon/io/io_core.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { SAID_EVERY_MS = 10'000, TEXT_BYTES = 4'096 };

/* Nobody writes but the test: what the ring was asked for is only noted. */
static struct {
    uint32_t count;
    int fd;
    char text[TEXT_BYTES];
} asked;

void ring_write([[maybe_unused]] struct ring *ring, int fd, const void *data, size_t bytes,
                [[maybe_unused]] ring_token token)
{
    assert_true(bytes < sizeof asked.text);
    asked.count++;
    asked.fd = fd;
    memcpy(asked.text, data, bytes);
    asked.text[bytes] = '\0';
}

struct fixture {
    struct io_core core;
    struct metrics metrics;
    struct access_log_writer writer;
    int file;
    int log;
};

static int set_up(void **state)
{
    static char format[] = "%(U)s";
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    asked.count = 0;
    fixture->log = memfd_create("log", MFD_CLOEXEC);
    log_init("test", LOG_LEVEL_INFO, fixture->log);
    fixture->core.metrics = &fixture->metrics;
    fixture->core.settings.access_log_format = format;
    access_log_writer_init(&fixture->writer, &fixture->core);
    fixture->file = memfd_create("access", MFD_CLOEXEC);
    assert_int_equal(access_log_writer_open(&fixture->writer, dup(fixture->file)), 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    access_log_writer_deinit(&fixture->writer);
    log_set_fd(STDERR_FILENO);
    close(fixture->file);
    close(fixture->log);
    free(fixture);
    return 0;
}

static void request(struct fixture *fixture, const char *path)
{
    struct access_entry entry = {.path = bytes_of((const uint8_t *)path, strlen(path))};
    access_log_append(fixture->core.access_log, &entry);
}

static void written(struct fixture *fixture, int32_t result)
{
    const struct ring_event event = {.result = result};
    access_log_writer_on_written(&fixture->writer, &event);
}

static void assert_holds(int fd, const char *expected)
{
    char text[TEXT_BYTES] = "";
    assert_true(pread(fd, text, sizeof text - 1, 0) >= 0);
    assert_string_equal(text, expected);
}

static size_t count_in_log(const struct fixture *fixture, const char *words)
{
    char text[TEXT_BYTES] = "";
    size_t count = 0;
    assert_true(pread(fixture->log, text, sizeof text - 1, 0) >= 0);
    for (const char *at = text; (at = strstr(at, words)) != NULL; at++)
        count++;
    return count;
}

static void lines_of_a_turn_are_one_write_and_the_next_waits_for_it(void **state)
{
    struct fixture *fixture = *state;
    access_log_writer_turn(&fixture->writer);
    assert_int_equal(asked.count, 0);
    request(fixture, "/a");
    request(fixture, "/b");
    access_log_writer_turn(&fixture->writer);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.fd, fixture->writer.fd);
    assert_string_equal(asked.text, "/a\n/b\n");
    request(fixture, "/c");
    access_log_writer_turn(&fixture->writer);
    assert_int_equal(asked.count, 1);
    written(fixture, 6);
    access_log_writer_turn(&fixture->writer);
    assert_string_equal(asked.text, "/c\n");
    written(fixture, 3);
}

static void what_was_not_written_is_asked_for_again(void **state)
{
    struct fixture *fixture = *state;
    request(fixture, "/abc");
    access_log_writer_turn(&fixture->writer);
    written(fixture, 2);
    access_log_writer_turn(&fixture->writer);
    assert_string_equal(asked.text, "bc\n");
    written(fixture, 3);
}

static void another_file_takes_the_place_under_the_same_number(void **state)
{
    struct fixture *fixture = *state;
    OWNED_FD other = memfd_create("other", MFD_CLOEXEC);
    int number = fixture->writer.fd;
    request(fixture, "/before");
    access_log_writer_finish(&fixture->writer);
    assert_int_equal(access_log_writer_open(&fixture->writer, dup(other)), 0);
    assert_int_equal(fixture->writer.fd, number);
    request(fixture, "/after");
    access_log_writer_finish(&fixture->writer);
    assert_holds(fixture->file, "/before\n");
    assert_holds(other, "/after\n");
}

static void lines_that_were_lost_are_counted_and_said_now_and_then(void **state)
{
    struct fixture *fixture = *state;
    fixture->core.now_ms = 1'000'000;
    for (int i = 0; i < 3; i++) {
        request(fixture, "/lost");
        access_log_writer_turn(&fixture->writer);
        written(fixture, -ENOSPC);
    }
    assert_int_equal(access_log_drops(fixture->core.access_log), 3);
    assert_int_equal(metrics_get(&fixture->metrics, METRIC_ACCESS_LOG_DROPS), 3);
    assert_int_equal(count_in_log(fixture, "1 access log lines were dropped"), 1);
    fixture->core.now_ms += SAID_EVERY_MS;
    request(fixture, "/kept");
    access_log_writer_turn(&fixture->writer);
    written(fixture, 6);
    assert_int_equal(count_in_log(fixture, "2 access log lines were dropped"), 1);
    assert_int_equal(count_in_log(fixture, "were dropped"), 2);
}

static void what_is_left_at_the_end_goes_to_the_file(void **state)
{
    struct fixture *fixture = *state;
    request(fixture, "/last");
    access_log_writer_finish(&fixture->writer);
    assert_holds(fixture->file, "/last\n");
    assert_int_equal(asked.count, 0);
}

/* The ring may still write the same octets: twice in the file would be worse than not at all. */
static void what_the_ring_has_is_not_written_twice(void **state)
{
    struct fixture *fixture = *state;
    request(fixture, "/once");
    access_log_writer_turn(&fixture->writer);
    access_log_writer_finish(&fixture->writer);
    assert_holds(fixture->file, "");
    written(fixture, 6);
}

static void a_format_that_is_wrong_leaves_the_old_one(void **state)
{
    struct fixture *fixture = *state;
    access_log_writer_set_format(&fixture->writer, "%(U)s %(nonsense");
    assert_int_equal(count_in_log(fixture, "access_log_format: "), 1);
    request(fixture, "/old");
    access_log_writer_set_format(&fixture->writer, "new %(U)s");
    request(fixture, "/new");
    access_log_writer_finish(&fixture->writer);
    assert_holds(fixture->file, "/old\nnew /new\n");
}

static void without_a_format_there_is_no_log_and_nothing_is_asked_for(void **state)
{
    struct fixture *fixture = *state;
    struct access_log_writer writer;
    struct io_core core = {.settings.access_log_format = (char[]){"%(U"}};
    access_log_writer_init(&writer, &core);
    assert_int_equal(access_log_writer_open(&writer, dup(fixture->file)), -EINVAL);
    assert_null(core.access_log);
    access_log_writer_turn(&writer);
    access_log_writer_finish(&writer);
    assert_int_equal(asked.count, 0);
    access_log_writer_deinit(&writer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(lines_of_a_turn_are_one_write_and_the_next_waits_for_it),
        TEST(what_was_not_written_is_asked_for_again),
        TEST(another_file_takes_the_place_under_the_same_number),
        TEST(lines_that_were_lost_are_counted_and_said_now_and_then),
        TEST(what_is_left_at_the_end_goes_to_the_file),
        TEST(what_the_ring_has_is_not_written_twice),
        TEST(a_format_that_is_wrong_leaves_the_old_one),
        TEST(without_a_format_there_is_no_log_and_nothing_is_asked_for),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
