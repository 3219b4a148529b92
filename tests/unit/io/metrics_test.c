#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/io/metrics.h"

static char output[256 * 1024];

static const char *expose(const struct metrics_source *sources, size_t count)
{
    int64_t length = metrics_expose(sources, count, output, sizeof output);
    assert_true(length > 0);
    assert_int_equal(strlen(output), length);
    return output;
}

static const char *expose_one(const struct metrics *metrics)
{
    return expose(&(struct metrics_source){metrics, 0}, 1);
}

static void assert_line(const char *text, const char *line)
{
    char with_ends[256];
    snprintf(with_ends, sizeof with_ends, "\n%s\n", line);
    if (!strstr(text, with_ends))
        fail_msg("no line '%s'", line);
}

static void counters_and_gauges_are_exposed_with_their_kind(void **state)
{
    (void)state;
    struct metrics metrics = {};
    metrics_add(&metrics, METRIC_REQUESTS, 41);
    metrics_add(&metrics, METRIC_REQUESTS, 1);
    metrics_set(&metrics, METRIC_CONNECTIONS_ACTIVE, 9);
    metrics_subtract(&metrics, METRIC_CONNECTIONS_ACTIVE, 2);
    const char *text = expose_one(&metrics);
    assert_line(text, "# TYPE uroboros_requests counter");
    assert_line(text, "uroboros_requests_total{ring=\"0\"} 42");
    assert_line(text, "# TYPE uroboros_connections_active gauge");
    assert_line(text, "uroboros_connections_active{ring=\"0\"} 7");
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
}

static void every_close_reason_has_a_word_and_feeds_its_counter(void **state)
{
    (void)state;
    struct metrics metrics = {};
    for (int reason = 0; reason < CLOSE_REASON_COUNT; reason++)
        for (int i = 0; i <= reason; i++)
            metrics_count_close(&metrics, (enum close_reason)reason);
    const char *text = expose_one(&metrics);
    for (int reason = 0; reason < CLOSE_REASON_COUNT; reason++) {
        char line[128];
        snprintf(line, sizeof line, "uroboros_connections_closed_total{ring=\"0\",reason=\"%s\"} %d",
                 close_reason_word((enum close_reason)reason), reason + 1);
        assert_line(text, line);
    }
    assert_string_equal(close_reason_word(CLOSE_KEEPALIVE_IDLE), "keepalive_idle");
}

static void responses_count_by_class_and_odd_statuses_with_the_nearest(void **state)
{
    (void)state;
    static const struct {
        uint16_t status;
        enum metric metric;
    } cases[] = {{100, METRIC_RESPONSES_1XX}, {103, METRIC_RESPONSES_1XX}, {200, METRIC_RESPONSES_2XX},
                 {299, METRIC_RESPONSES_2XX}, {304, METRIC_RESPONSES_3XX}, {404, METRIC_RESPONSES_4XX},
                 {503, METRIC_RESPONSES_5XX}, {999, METRIC_RESPONSES_5XX}, {0, METRIC_RESPONSES_1XX}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct metrics metrics = {};
        metrics_count_response(&metrics, cases[i].status);
        for (int metric = 0; metric < METRIC_COUNT; metric++)
            assert_int_equal(metrics_get(&metrics, (enum metric)metric), metric == (int)cases[i].metric);
    }
}

static void several_processes_stand_side_by_side_in_each_family(void **state)
{
    (void)state;
    struct metrics pages[2] = {};
    metrics_add(&pages[0], METRIC_LOOP_TURNS, 5);
    metrics_add(&pages[1], METRIC_LOOP_TURNS, UINT64_MAX);
    struct metrics_source sources[] = {{&pages[0], 0}, {&pages[1], 7}};
    const char *text = expose(sources, 2);
    assert_non_null(strstr(text, "# TYPE uroboros_loop_turns counter\n"
                                 "uroboros_loop_turns_total{ring=\"0\"} 5\n"
                                 "uroboros_loop_turns_total{ring=\"7\"} 18446744073709551615\n#"));
}

/* Prometheus refuses a family that comes twice, and a sample that comes twice. */
static void no_family_and_no_sample_comes_twice_and_each_has_a_help_text(void **state)
{
    (void)state;
    struct metrics metrics = {};
    char *lines[1024];
    size_t count = 0;
    expose_one(&metrics);
    for (char *line = strtok(output, "\n"); line; line = strtok(NULL, "\n")) {
        assert_true(count < sizeof lines / sizeof lines[0]);
        assert_null(strstr(line, "  "));
        assert_null(strstr(line, " ."));
        for (size_t i = 0; i < count; i++)
            assert_string_not_equal(lines[i], line);
        lines[count++] = line;
    }
    assert_true(count > METRIC_COUNT);
}

static void an_output_that_is_too_small_is_refused_at_any_size(void **state)
{
    (void)state;
    struct metrics metrics = {};
    struct metrics_source source = {&metrics, 0};
    int64_t length = metrics_expose(&source, 1, output, sizeof output);
    for (int64_t capacity = 0; capacity <= length; capacity += capacity < 200 ? 1 : 97) {
        char *exact = malloc((size_t)capacity + 1); /* its own block, so that an overrun is seen */
        assert_non_null(exact);
        assert_int_equal(metrics_expose(&source, 1, exact, (size_t)capacity), -ENOSPC);
        free(exact);
    }
    assert_int_equal(metrics_expose(&source, 1, output, (size_t)length + 1), length);
}

static void every_reason_and_every_name_is_documented(void **state)
{
    (void)state;
    static char text[64 * 1024];
    FILE *file = fopen(TESTS_DIR "/../docs/logging.md", "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);

    static const char *const rows[] = {
#define REASON_ROW(symbol, word, help)              "| `" word "` | " help " |\n",
#define NAME_ROW(symbol, kind, family, label, help) "| `" family "` | ",
        CLOSE_REASONS(REASON_ROW) METRICS(NAME_ROW)
#undef REASON_ROW
#undef NAME_ROW
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!strstr(text, rows[i]))
            fail_msg("docs/logging.md has no row that begins %s", rows[i]);
}

enum { ADDITIONS = 100000 };

static void *add_many(void *argument)
{
    for (int i = 0; i < ADDITIONS; i++)
        metrics_add(argument, METRIC_COMPLETIONS, 1);
    return NULL;
}

/* The judge is the thread sanitizer. */
static void a_page_may_be_read_while_its_owner_writes(void **state)
{
    (void)state;
    struct metrics metrics = {};
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, add_many, &metrics), 0);
    uint64_t last = 0;
    while (last < ADDITIONS) {
        uint64_t seen = metrics_get(&metrics, METRIC_COMPLETIONS);
        assert_true(seen >= last);
        last = seen;
    }
    pthread_join(writer, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_and_gauges_are_exposed_with_their_kind),
        cmocka_unit_test(every_close_reason_has_a_word_and_feeds_its_counter),
        cmocka_unit_test(responses_count_by_class_and_odd_statuses_with_the_nearest),
        cmocka_unit_test(several_processes_stand_side_by_side_in_each_family),
        cmocka_unit_test(no_family_and_no_sample_comes_twice_and_each_has_a_help_text),
        cmocka_unit_test(every_reason_and_every_name_is_documented),
        cmocka_unit_test(an_output_that_is_too_small_is_refused_at_any_size),
        cmocka_unit_test(a_page_may_be_read_while_its_owner_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
