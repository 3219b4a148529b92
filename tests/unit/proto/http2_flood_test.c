#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proto/http2_flood.h"

enum { START_MS = 1'000'000 };

struct scene {
    struct http2_counts counts;
    struct http2_glitches glitches;
};

static struct scene begin(void)
{
    struct scene scene;
    http2_flood_init(&scene.counts, &scene.glitches, START_MS);
    return scene;
}

static void a_bucket_holds_a_thousand(void **state)
{
    (void)state;
    struct scene scene = begin();
    for (int i = 0; i < 100; i++)
        assert_true(http2_flood_take(&scene.glitches, 10, START_MS));
    assert_false(http2_flood_take(&scene.glitches, 1, START_MS));
}

static void nothing_more_than_a_bucket_is_ever_taken(void **state)
{
    (void)state;
    struct scene scene = begin();
    assert_false(http2_flood_take(&scene.glitches, HTTP2_WEIGHT_ALL, START_MS));
    assert_int_equal(scene.glitches.tokens, 0);
}

static void a_bucket_fills_by_33_a_second(void **state)
{
    (void)state;
    struct scene scene = begin();
    assert_true(http2_flood_take(&scene.glitches, 1'000, START_MS));
    assert_false(http2_flood_take(&scene.glitches, 34, START_MS + 1'000));
    /* What was asked for and not there is gone. */
    assert_true(http2_flood_take(&scene.glitches, 33, START_MS + 2'000));
    assert_false(http2_flood_take(&scene.glitches, 1, START_MS + 2'000));
}

static void a_bucket_fills_however_often_it_is_asked(void **state)
{
    (void)state;
    struct scene scene = begin();
    assert_true(http2_flood_take(&scene.glitches, 1'000, START_MS));
    for (uint64_t ms = 1; ms <= 1'000; ms++)
        assert_true(http2_flood_take(&scene.glitches, 0, START_MS + ms));
    assert_int_equal(scene.glitches.tokens, 33);
}

static void a_bucket_never_overflows(void **state)
{
    (void)state;
    struct scene scene = begin();
    assert_true(http2_flood_take(&scene.glitches, 1'000, START_MS + 86'400'000));
    assert_true(http2_flood_take(&scene.glitches, 1'000, START_MS + 2 * 86'400'000));
    assert_false(http2_flood_take(&scene.glitches, 1, START_MS + 2 * 86'400'000));
}

static uint32_t weight_of_many(struct scene *scene, enum http2_flood flood, uint32_t count, uint64_t now_ms)
{
    uint32_t weight = 0;
    for (uint32_t i = 0; i < count; i++)
        weight += http2_flood_weight(&scene->counts, flood, now_ms);
    return weight;
}

static void what_is_usual_is_free(void **state)
{
    (void)state;
    struct scene scene = begin();
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_PING, 10, START_MS), 0);
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_PING, 5, START_MS), 5);
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_SETTINGS, 100, START_MS), 0);
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_SETTINGS, 1, START_MS), HTTP2_WEIGHT_ALL);
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_UNKNOWN, 103, START_MS), 3);
}

static void what_has_a_span_is_free_again(void **state)
{
    (void)state;
    struct scene scene = begin();
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_PING, 11, START_MS), 1);
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_PING, 1, START_MS + 9'999), 1);
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_PING, 10, START_MS + 10'000), 0);
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_PRIORITY, 101, START_MS), 1);
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_PRIORITY, 1, START_MS + 86'400'000), 1);
}

static void what_we_made_usual_outlives_a_span(void **state)
{
    (void)state;
    struct scene scene = begin();
    http2_flood_allow(&scene.counts, HTTP2_FLOOD_PING, 50);
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_PING, 5, START_MS), 0);
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_PING, 56, START_MS + 10'000), 1);
}

static void what_we_do_makes_more_usual(void **state)
{
    (void)state;
    struct scene scene = begin();
    http2_flood_allow(&scene.counts, HTTP2_FLOOD_WINDOW_UPDATE, 10);
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_WINDOW_UPDATE, 111, START_MS), 1);
    for (int i = 0; i < 1'000; i++)
        http2_flood_allow(&scene.counts, HTTP2_FLOOD_WINDOW_UPDATE, 10'000'000);
    assert_int_equal(weight_of_many(&scene, HTTP2_FLOOD_WINDOW_UPDATE, 1'000'001, START_MS), 1);
}

static void framing_may_exceed_payload_by_a_mebibyte_a_minute(void **state)
{
    (void)state;
    struct scene scene = begin();
    assert_true(http2_flood_ratio(&scene.counts, 1'048'576, 0, START_MS));
    assert_true(http2_flood_ratio(&scene.counts, 1'000, 1'000, START_MS));
    assert_false(http2_flood_ratio(&scene.counts, 1, 0, START_MS + 59'999));

    scene = begin();
    assert_true(http2_flood_ratio(&scene.counts, 1'048'576, 0, START_MS));
    assert_true(http2_flood_ratio(&scene.counts, 1'048'576, 0, START_MS + 60'000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_holds_a_thousand),
        cmocka_unit_test(nothing_more_than_a_bucket_is_ever_taken),
        cmocka_unit_test(a_bucket_fills_by_33_a_second),
        cmocka_unit_test(a_bucket_fills_however_often_it_is_asked),
        cmocka_unit_test(a_bucket_never_overflows),
        cmocka_unit_test(what_is_usual_is_free),
        cmocka_unit_test(what_has_a_span_is_free_again),
        cmocka_unit_test(what_we_made_usual_outlives_a_span),
        cmocka_unit_test(what_we_do_makes_more_usual),
        cmocka_unit_test(framing_may_exceed_payload_by_a_mebibyte_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
