#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/io/io_scene.h"

static void late_replies_give_their_blocks_back(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    struct message none;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = scene_submit(&scene, &owner);
    struct message request = scene_begin(&scene, 0);
    struct message late = request;
    late.generation++;
    struct message piece = scene_piece(&scene, 0, &late, MESSAGE_BODY, 7, BYTES_LITERAL("late"));
    scene_reply(&scene, 0, &piece);
    scene_turns(&scene, 2);
    assert_false(scene_take(&scene, 0, &none));
    assert_int_equal(owner.replies, 0);
    assert_int_equal(scene.apps[0].blocks_returned, 1);
    assert_int_equal(scene.apps[0].last_block, 7);
    scene_let_go(&scene, exchange);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void octets_outside_an_arena_are_a_502_and_counted(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {0xffffffff, 1 << 30};
    for (size_t i = 0; i < 2; i++) {
        struct scene scene;
        struct scene_owner owner = {};
        scene_open(&scene, NULL);
        scene_app_up(&scene, 0, 1, 0);
        struct http_exchange *exchange = scene_submit(&scene, &owner);
        struct message request = scene_begin(&scene, 0);
        struct message piece = scene_piece(&scene, 0, &request, MESSAGE_RESPONSE, 0, BYTES_LITERAL("x"));
        if (i == 0)
            piece.body_length = lengths[i];
        else
            piece.head_length = lengths[i];
        scene_reply(&scene, 0, &piece);
        scene_turn(&scene);
        assert_int_equal(owner.failures, 1);
        assert_int_equal(owner.status, 502);
        assert_int_equal(metrics_get(scene.metrics, METRIC_MESSAGES_INVALID), 1);
        scene_let_go(&scene, exchange);
        scene_done(&scene, 0, &request);
        scene_close(&scene);
    }
}

static void slots_and_kinds_that_do_not_exist_are_counted_and_nothing_else(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    scene_reply(&scene, 0, &(struct message){.kind = MESSAGE_DONE, .slot = scene.core.setup.shape.slots});
    scene_reply(&scene, 0, &(struct message){.kind = MESSAGE_DONE, .slot = UINT32_MAX});
    scene_reply(&scene, 0, &(struct message){.kind = 200});
    scene_reply(&scene, 0, &(struct message){.kind = MESSAGE_DONE});
    scene_turn(&scene);
    assert_int_equal(metrics_get(scene.metrics, METRIC_MESSAGES_INVALID), 3);
    scene_close(&scene);
}

/* The request was never claimed, so breaking it off frees it at once: while the message that did it is looked at. */
static void a_reply_to_a_request_that_was_not_begun_may_break_it_off_and_end_it(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(scene_take(&scene, 0, &request));
    struct message piece = scene_piece(&scene, 0, &request, MESSAGE_RESPONSE, 0, BYTES_LITERAL("x"));
    piece.body_length = UINT32_MAX;
    piece.flags = MESSAGE_END | MESSAGE_WAS_DONE;
    scene_reply(&scene, 0, &piece);
    scene_turns(&scene, 4);
    assert_non_null(strstr(scene_heard(&scene, fd), "HTTP/1.1 502"));
    assert_int_equal(scene.core.exchanges.live, 0);
    assert_int_equal(scene.dispatch.apps[0].outstanding, 0);
    scene_close(&scene);
}

static void a_response_to_a_request_that_was_never_begun_leaves_nothing_behind(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, CONTROL_APP_EVENT_LOOP);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(scene_take(&scene, 0, &request));
    scene_respond(&scene, 0, &request, 200, "x", 0);
    scene_wait(&scene, 31'000); /* queue_timeout takes the request back, and nobody asks for it */
    assert_int_equal(scene.core.exchanges.live, 0);
    scene_close(&scene);
}

/* It has taken a part of the body, which another app would be given without. The claim word is the app's to write, too:
 * that it says `unbegun` is no proof. */
static void a_request_that_an_app_has_touched_goes_to_no_other_though_it_was_never_begun(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, CONTROL_APP_EVENT_LOOP);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n12345678");
    assert_true(scene_take(&scene, 0, &request));
    scene_reply(&scene, 0,
                &(struct message){
                    .kind = MESSAGE_CONSUMED, .slot = request.slot, .generation = request.generation, .count = 4});
    scene_turn(&scene);
    scene_app_up(&scene, 1, 1, CONTROL_APP_EVENT_LOOP);
    dispatch_app_drain(&scene.dispatch, 0, scene.apps[0].generation);
    scene_turns(&scene, 2);
    assert_false(scene_take(&scene, 1, &request));
    scene_app_gone(&scene, 0, 502);
    scene_turns(&scene, 4);
    assert_false(scene_take(&scene, 1, &request));
    assert_non_null(strstr(scene_heard(&scene, fd), "HTTP/1.1 502"));
    scene_close(&scene);
}

/* Before its turn, or behind a file, an end is noted as it comes. */
static void an_interim_response_ends_nothing_whatever_its_flags(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 2, CONTROL_APP_EVENT_LOOP);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    struct message first = scene_begin(&scene, 0);
    struct message second = scene_begin(&scene, 0);
    struct message hint = scene_piece(&scene, 0, &second, MESSAGE_INTERIM, 1, BYTES_LITERAL(""));
    hint.status = 103;
    hint.flags = MESSAGE_END | MESSAGE_WAS_DONE;
    scene_reply(&scene, 0, &hint);
    scene_turn(&scene);
    scene_respond(&scene, 0, &first, 200, "x", MESSAGE_WAS_DONE);
    scene_turns(&scene, 4);
    assert_non_null(strstr(scene_heard(&scene, fd), "HTTP/1.1 200"));
    assert_int_equal(scene.core.exchanges.live, 0); /* and not waiting for what never comes */
    scene_close(&scene);
}

static void an_app_whose_queue_makes_no_sense_lets_the_loop_sleep(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct scene_app *app = &scene.apps[0];
    uint64_t impossible = (uint64_t)app->replies.epoch << 32 | 0x7000'0000;
    atomic_store(&app->replies.tail->value, impossible);
    scene_turn(&scene);
    assert_true(scene_told_stuck(&scene));
    assert_true(dispatch_arm(&scene.dispatch));
    scene_turns(&scene, 3);
    assert_int_equal(metrics_get(scene.metrics, METRIC_MESSAGES_INVALID), 1);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_replies_give_their_blocks_back),
        cmocka_unit_test(octets_outside_an_arena_are_a_502_and_counted),
        cmocka_unit_test(slots_and_kinds_that_do_not_exist_are_counted_and_nothing_else),
        cmocka_unit_test(a_reply_to_a_request_that_was_not_begun_may_break_it_off_and_end_it),
        cmocka_unit_test(a_response_to_a_request_that_was_never_begun_leaves_nothing_behind),
        cmocka_unit_test(a_request_that_an_app_has_touched_goes_to_no_other_though_it_was_never_begun),
        cmocka_unit_test(an_interim_response_ends_nothing_whatever_its_flags),
        cmocka_unit_test(an_app_whose_queue_makes_no_sense_lets_the_loop_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
