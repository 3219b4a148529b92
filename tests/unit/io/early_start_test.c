#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/io/early_start.h"
#include "tests/unit/io/io_scene.h"

enum { PIECE = 65'536, MIB = 1'048'576, LENGTH = 64 * MIB };

/* An exchange whose body comes as the test says. The octets themselves are of no interest, so every piece is the same
 * block. */
struct stage {
    struct scene scene;
    struct scene_owner owner;
    struct http_exchange *exchange;
    struct message request;
};

static void open_stage(struct stage *stage, uint32_t places, int64_t length)
{
    *stage = (struct stage){};
    scene_open(&stage->scene, NULL);
    stage->scene.core.settings.request_buffering = BUFFERING_AUTO;
    stage->scene.core.app_buffers_requests = true;
    if (places > 0)
        scene_app_up(&stage->scene, 0, places, CONTROL_APP_WSGI);
    stage->exchange = scene_exchange(&stage->scene, &stage->owner);
    stage->exchange->record->content_length = length;
    stage->exchange->started_us = stage->scene.core.now_us;
}

static void close_stage(struct stage *stage)
{
    scene_let_go(&stage->scene, stage->exchange);
    if (stage->request.kind == MESSAGE_REQUEST)
        scene_done(&stage->scene, 0, &stage->request);
    scene_turn(&stage->scene);
    assert_int_equal(stage->scene.core.early.count, 0);
    scene_close(&stage->scene);
}

/* That much has come, in so many microseconds. */
static bool try_after(struct stage *stage, uint64_t bytes, uint64_t took_us)
{
    stage->exchange->body_bytes = bytes;
    stage->scene.core.now_us = stage->exchange->started_us + took_us;
    return early_start_try(&stage->scene.dispatch, stage->exchange);
}

/* A piece of body arrives. */
static void feed(struct stage *stage)
{
    struct io_core *core = &stage->scene.core;
    struct loan loan;
    uint8_t *memory;
    uint32_t capacity;
    assert_int_equal(buffer_pool_stage(&core->buffers, PIECE, &loan, &memory, &capacity), 0);
    assert_int_equal(http_exchange_body_append(core, stage->exchange, loan, memory, PIECE), 0);
    buffer_pool_drop(&core->buffers, &loan);
    dispatch_body(&stage->scene.dispatch, stage->exchange);
}

/* The application reads all that is there. */
static void consume(struct stage *stage)
{
    struct message message;
    while (scene_take(&stage->scene, 0, &message))
        continue;
    (void)http_exchange_body_consumed(&stage->scene.core, stage->exchange, PIECE);
}

/* It has begun early, and its application has read what there was. */
static void begin_and_starve(struct stage *stage)
{
    open_stage(stage, 4, LENGTH);
    stage->exchange->body_ended = false;
    assert_true(try_after(stage, MIB, 2'000));
    feed(stage);
    assert_true(dispatch_submit(&stage->scene.dispatch, stage->exchange));
    stage->request = scene_begin(&stage->scene, 0);
    consume(stage);
}

/* ---- who may ---------------------------------------------------------------------------------------------------- */

static void a_fast_client_with_a_long_body_starts_early_and_is_counted(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 4, LENGTH);
    assert_true(try_after(&stage, MIB, 2'000));
    assert_int_equal(stage.scene.core.early.count, 1);
    assert_int_equal(metrics_get(stage.scene.metrics, METRIC_EARLY_STARTS), 1);
    early_start_end(&stage.scene.core, stage.exchange);
    early_start_end(&stage.scene.core, stage.exchange);
    assert_int_equal(stage.scene.core.early.count, 0);
    close_stage(&stage);
}

static void what_fits_into_memory_is_held(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 4, MIB);
    assert_false(try_after(&stage, MIB - 1, 1));
    close_stage(&stage);
}

static void memory_is_used_first(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 4, LENGTH);
    const uint32_t next = stage.scene.core.setup.shape.upload_buffer_bytes;
    assert_false(try_after(&stage, MIB - next, 1));
    assert_true(try_after(&stage, MIB - next + 1, 1));
    close_stage(&stage);
}

static void without_memory_a_client_shows_its_pace_all_the_same(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 4, LENGTH);
    stage.scene.core.settings.request_buffer_max = 0;
    assert_false(try_after(&stage, EARLY_START_BYTES_MIN - 1, 1));
    assert_true(try_after(&stage, EARLY_START_BYTES_MIN, 1));
    close_stage(&stage);
}

static void a_slow_client_is_held_however_little_is_missing(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 4, MIB + 1);
    assert_false(try_after(&stage, MIB, MIB / EARLY_START_RATE_MIN + 1));
    assert_true(try_after(&stage, MIB, MIB / EARLY_START_RATE_MIN));
    close_stage(&stage);
}

static void a_fast_client_is_held_where_much_is_missing(void **state)
{
    (void)state;
    struct stage stage;
    const int64_t in_time = (int64_t)EARLY_START_RATE_MIN * EARLY_START_REST_US_MAX;
    open_stage(&stage, 4, MIB + in_time + EARLY_START_RATE_MIN);
    assert_false(try_after(&stage, MIB, MIB / EARLY_START_RATE_MIN));
    stage.exchange->record->content_length = MIB + in_time;
    assert_true(try_after(&stage, MIB, MIB / EARLY_START_RATE_MIN));
    close_stage(&stage);
}

static void a_body_of_unknown_length_may_be_as_long_as_any(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 4, -1);
    assert_false(try_after(&stage, MIB, 20'000)); /* 52 octets in a microsecond: 1 GiB takes 20 s */
    assert_true(try_after(&stage, MIB, 1'000));
    early_start_end(&stage.scene.core, stage.exchange);
    stage.scene.core.settings.limit_request_body = 0;
    assert_false(try_after(&stage, MIB, 1));
    close_stage(&stage);
}

static void a_quarter_of_the_threads_and_no_more(void **state)
{
    (void)state;
    static const struct {
        uint32_t places, rings, ring, allowed;
    } cases[] = {{3, 1, 0, 0}, {4, 1, 0, 1}, {8, 1, 0, 2}, {4, 2, 0, 1}, {4, 2, 1, 0}, {12, 2, 1, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stage stage;
        open_stage(&stage, cases[i].places, LENGTH);
        stage.scene.core.setup.shape.rings = cases[i].rings;
        stage.scene.core.setup.index = cases[i].ring;
        stage.scene.core.early.count = cases[i].allowed;
        assert_false(try_after(&stage, MIB, 1));
        if (cases[i].allowed > 0) {
            stage.scene.core.early.count = cases[i].allowed - 1;
            assert_true(try_after(&stage, MIB, 1));
            early_start_end(&stage.scene.core, stage.exchange);
        }
        stage.scene.core.early.count = 0;
        stage.scene.core.setup.shape.rings = 1;
        stage.scene.core.setup.index = 0;
        close_stage(&stage);
    }
}

static void while_no_thread_is_free_a_body_is_held(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 4, LENGTH);
    struct scene_owner others[4] = {};
    struct http_exchange *busy[4];
    for (size_t i = 0; i < 4; i++)
        busy[i] = scene_submit(&stage.scene, &others[i]);
    assert_false(try_after(&stage, MIB, 1));
    scene_let_go(&stage.scene, busy[0]);
    assert_true(try_after(&stage, MIB, 1));
    for (size_t i = 1; i < 4; i++)
        scene_let_go(&stage.scene, busy[i]);
    close_stage(&stage);
}

static void buffering_that_is_asked_for_holds_every_body(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 4, LENGTH);
    stage.scene.core.settings.request_buffering = BUFFERING_ON;
    assert_false(try_after(&stage, MIB, 1));
    close_stage(&stage);
}

/* ---- clients that become slow ----------------------------------------------------------------------------------- */

static void a_client_that_keeps_its_thread_waiting_is_told_408_and_its_app_stays(void **state)
{
    (void)state;
    struct stage stage;
    begin_and_starve(&stage);
    scene_wait(&stage.scene, EARLY_START_WAIT_MS_MAX - 100);
    assert_int_equal(stage.owner.failures, 0);
    scene_wait(&stage.scene, 1'200);
    assert_int_equal(stage.owner.failures, 1);
    assert_int_equal(stage.owner.status, 408);
    assert_false(scene_told_stuck(&stage.scene));
    close_stage(&stage);
}

static void waits_add_up(void **state)
{
    (void)state;
    struct stage stage;
    begin_and_starve(&stage);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(stage.owner.failures, 0);
        scene_wait(&stage.scene, 1'100); /* an octet now and then is no pace */
        feed(&stage);
        scene_wait(&stage.scene, 2'000); /* the application takes its time: not the client's fault */
        consume(&stage);
    }
    scene_wait(&stage.scene, 1'100);
    assert_int_equal(stage.owner.status, 408);
    close_stage(&stage);
}

static void waits_for_the_client_do_not_count_for_timeout(void **state)
{
    (void)state;
    struct stage stage;
    begin_and_starve(&stage);
    scene_wait(&stage.scene, 1'100); /* the watch sees that it has begun */
    scene_wait(&stage.scene, 7'900);
    feed(&stage);
    early_start_end(&stage.scene.core, stage.exchange); /* it was the last piece */
    scene_wait(&stage.scene, 29'000);
    assert_int_equal(stage.owner.failures, 0);
    scene_wait(&stage.scene, 3'000);
    assert_int_equal(stage.owner.status, 504);
    assert_true(scene_told_stuck(&stage.scene));
    close_stage(&stage);
}

static void who_was_waited_for_ends_early_starts_for_a_while(void **state)
{
    (void)state;
    struct stage stage;
    struct scene_owner owner = {};
    begin_and_starve(&stage);
    struct io_core *core = &stage.scene.core;
    scene_wait(&stage.scene, EARLY_START_GRACE_MS + stage.exchange->promised_ms + 1);
    stage.exchange->body_ended = true;
    early_start_end(core, stage.exchange);
    struct http_exchange *next = scene_exchange(&stage.scene, &owner);
    next->record->content_length = LENGTH;
    next->body_bytes = MIB;
    next->started_us = core->now_us;
    assert_false(early_start_try(&stage.scene.dispatch, next));
    core->settings.timeout_ms = 0;
    scene_wait(&stage.scene, EARLY_START_PAUSE_MS);
    next->started_us = core->now_us;
    assert_true(early_start_try(&stage.scene.dispatch, next));
    scene_let_go(&stage.scene, next);
    close_stage(&stage);
}

static void a_short_wait_ends_nothing(void **state)
{
    (void)state;
    struct stage stage;
    begin_and_starve(&stage);
    assert_int_equal(stage.exchange->promised_ms, 126); /* 63 MiB, as fast as one in 2 ms */
    scene_wait(&stage.scene, EARLY_START_GRACE_MS + 126);
    stage.exchange->body_ended = true;
    early_start_end(&stage.scene.core, stage.exchange);
    assert_int_equal(stage.scene.core.early.paused_until_ms, 0);
    close_stage(&stage);
}

static void who_promises_much_and_goes_ends_them_too(void **state)
{
    (void)state;
    struct stage stage;
    begin_and_starve(&stage);
    scene_wait(&stage.scene, EARLY_START_GRACE_MS + 1);
    early_start_end(&stage.scene.core, stage.exchange);
    assert_true(stage.scene.core.early.paused_until_ms > stage.scene.core.now_ms);
    close_stage(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fast_client_with_a_long_body_starts_early_and_is_counted),
        cmocka_unit_test(what_fits_into_memory_is_held),
        cmocka_unit_test(memory_is_used_first),
        cmocka_unit_test(without_memory_a_client_shows_its_pace_all_the_same),
        cmocka_unit_test(a_slow_client_is_held_however_little_is_missing),
        cmocka_unit_test(a_fast_client_is_held_where_much_is_missing),
        cmocka_unit_test(a_body_of_unknown_length_may_be_as_long_as_any),
        cmocka_unit_test(a_quarter_of_the_threads_and_no_more),
        cmocka_unit_test(while_no_thread_is_free_a_body_is_held),
        cmocka_unit_test(buffering_that_is_asked_for_holds_every_body),
        cmocka_unit_test(a_client_that_keeps_its_thread_waiting_is_told_408_and_its_app_stays),
        cmocka_unit_test(waits_add_up),
        cmocka_unit_test(waits_for_the_client_do_not_count_for_timeout),
        cmocka_unit_test(who_was_waited_for_ends_early_starts_for_a_while),
        cmocka_unit_test(a_short_wait_ends_nothing),
        cmocka_unit_test(who_promises_much_and_goes_ends_them_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
