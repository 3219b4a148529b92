#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "tests/unit/io/io_scene.h"

/* What a session would have been told. */
struct owner {
    uint32_t replies;
    uint32_t failures;
    uint32_t credit;
    uint16_t status;
};

static void on_reply(struct http_exchange *exchange, struct reply *reply)
{
    struct owner *owner = exchange->session;
    owner->replies++;
    owner->status = reply->status;
    exchange->response_ended = (reply->flags & MESSAGE_END) != 0;
    reply_discard(reply);
}

static void on_credit(struct http_exchange *exchange, uint32_t octets)
{
    ((struct owner *)exchange->session)->credit += octets;
}

static void on_failure(struct http_exchange *exchange, uint16_t status, enum close_reason reason)
{
    struct owner *owner = exchange->session;
    (void)reason;
    owner->failures++;
    owner->status = status;
}

static const struct http_exchange_owner OWNER = {on_reply, on_credit, on_failure};

/* A complete request without a body, not yet submitted. */
static struct http_exchange *make(struct scene *scene, struct owner *owner)
{
    struct http_exchange *exchange = dispatch_exchange(&scene->dispatch);
    assert_non_null(exchange);
    exchange->owner = &OWNER;
    exchange->session = owner;
    exchange->body_ended = true;
    return exchange;
}

static struct http_exchange *submit(struct scene *scene, struct owner *owner)
{
    struct http_exchange *exchange = make(scene, owner);
    assert_true(dispatch_submit(&scene->dispatch, exchange));
    return exchange;
}

static void let_go(struct scene *scene, struct http_exchange *exchange)
{
    dispatch_let_go(&scene->dispatch, exchange, true);
}

static bool told_stuck(struct scene *scene)
{
    static struct control_message message;
    return control_receive(scene->control, &message) == 1 && message.kind == CONTROL_STUCK;
}

static void the_least_loaded_app_with_a_free_place_gets_the_request(void **state)
{
    (void)state;
    struct scene scene;
    struct owner owner = {};
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 2, 0);
    scene_app_up(&scene, 1, 2, 0);
    struct http_exchange *exchanges[6];
    uint32_t at[SCENE_APPS] = {};
    for (int i = 0; i < 6; i++) {
        exchanges[i] = submit(&scene, &owner);
        at[exchanges[i]->app]++;
        assert_true(at[0] <= at[1] + 1);
        assert_true(at[1] <= at[0] + 1);
    }
    for (int i = 0; i < 6; i++)
        let_go(&scene, exchanges[i]);
    scene_close(&scene);
}

static void an_app_holds_64_unbegun_requests_beyond_its_places_and_the_queue_the_rest(void **state)
{
    (void)state;
    struct scene scene;
    struct owner owner = {};
    struct http_exchange *exchanges[128];
    scene_open(&scene, NULL);
    scene.core.settings.queue_size = 3;
    scene_app_up(&scene, 0, 2, 0);
    uint32_t count = 0;
    for (; count < 2 + DISPATCH_AHEAD_MAX; count++) {
        exchanges[count] = submit(&scene, &owner);
        assert_int_equal(exchanges[count]->state, EXCHANGE_QUEUED);
    }
    for (int i = 0; i < 3; i++, count++) {
        exchanges[count] = submit(&scene, &owner);
        assert_int_equal(exchanges[count]->state, EXCHANGE_WAITING);
    }
    exchanges[count] = make(&scene, &owner);
    assert_false(dispatch_submit(&scene.dispatch, exchanges[count++]));
    while (count > 0)
        let_go(&scene, exchanges[--count]);
    scene_close(&scene);
}

static void unbegun_requests_are_recalled_when_another_app_has_a_free_place(void **state)
{
    (void)state;
    struct scene scene;
    struct owner owner = {};
    struct http_exchange *exchanges[4];
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    for (int i = 0; i < 4; i++)
        exchanges[i] = submit(&scene, &owner);
    scene_begin(&scene, 0);
    scene_app_up(&scene, 1, 2, 0);
    scene_turn(&scene);
    uint32_t moved = 0;
    for (int i = 0; i < 4; i++)
        moved += exchanges[i]->app == 1;
    assert_int_equal(moved, 2);
    assert_int_equal(exchanges[0]->app, 0); /* it has begun */
    assert_true(
        scene_claim(&scene, 1, &(struct message){.slot = exchanges[2]->slot, .generation = exchanges[2]->generation}));
    struct message stale; /* the old entries are still in the first app's queue, and cannot be claimed */
    uint32_t claimed = 0;
    while (scene_take(&scene, 0, &stale))
        claimed += scene_claim(&scene, 0, &stale);
    assert_int_equal(claimed, 1);
    for (int i = 0; i < 4; i++)
        let_go(&scene, exchanges[i]);
    scene_close(&scene);
}

static void of_a_dead_apps_requests_the_begun_fail_and_the_others_move_once(void **state)
{
    (void)state;
    struct scene scene;
    struct owner begun = {}, unbegun = {};
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *first = submit(&scene, &begun);
    struct http_exchange *second = submit(&scene, &unbegun);
    scene_begin(&scene, 0);
    scene_app_gone(&scene, 0, 502);
    assert_int_equal(begun.failures, 1);
    assert_int_equal(begun.status, 502);
    assert_int_equal(unbegun.failures, 0);
    assert_int_equal(second->state, EXCHANGE_WAITING);
    scene_app_up(&scene, 1, 1, 0);
    scene_turn(&scene);
    assert_int_equal(second->state, EXCHANGE_QUEUED);
    scene_app_gone(&scene, 1, 502);
    assert_int_equal(unbegun.failures, 1);
    assert_int_equal(second->state, EXCHANGE_DONE);
    let_go(&scene, first);
    let_go(&scene, second);
    scene_close(&scene);
}

static void a_dead_apps_unbegun_requests_keep_their_order(void **state)
{
    (void)state;
    struct scene scene;
    struct owner owner = {};
    struct http_exchange *exchanges[3];
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    for (int i = 0; i < 3; i++)
        exchanges[i] = submit(&scene, &owner);
    scene_app_gone(&scene, 0, 502);
    assert_ptr_equal(scene.dispatch.common_lane.waiting.first, exchanges[0]);
    assert_ptr_equal(scene.dispatch.common_lane.waiting.last, exchanges[2]);
    for (int i = 0; i < 3; i++)
        let_go(&scene, exchanges[i]);
    scene_close(&scene);
}

static void what_an_app_said_before_it_died_counts(void **state)
{
    (void)state;
    struct scene scene;
    struct owner owner = {};
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = submit(&scene, &owner);
    struct message request = scene_begin(&scene, 0);
    scene_respond(&scene, 0, &request, 200, "last words", 0);
    scene_app_gone(&scene, 0, 502);
    assert_int_equal(owner.replies, 1);
    assert_int_equal(owner.failures, 0);
    let_go(&scene, exchange);
    scene_close(&scene);
}

static void late_replies_give_their_blocks_back(void **state)
{
    (void)state;
    struct scene scene;
    struct owner owner = {};
    struct message none;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = submit(&scene, &owner);
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
    let_go(&scene, exchange);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void octets_outside_an_arena_are_a_502_and_counted(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {0xffffffff, 1 << 30};
    for (size_t i = 0; i < 2; i++) {
        struct scene scene;
        struct owner owner = {};
        scene_open(&scene, NULL);
        scene_app_up(&scene, 0, 1, 0);
        struct http_exchange *exchange = submit(&scene, &owner);
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
        let_go(&scene, exchange);
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

static void a_full_queue_is_tried_again(void **state)
{
    (void)state;
    struct scene scene;
    struct owner owner = {};
    struct message message;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = make(&scene, &owner);
    exchange->body_ended = false;
    assert_true(dispatch_submit(&scene.dispatch, exchange));
    struct message request = scene_begin(&scene, 0);
    const struct message filler = {.kind = MESSAGE_BLOCKS};
    while (spsc_push(&scene.dispatch.apps[0].requests, &filler))
        continue;
    exchange->body_ended = true;
    dispatch_body(&scene.dispatch, exchange);
    let_go(&scene, exchange);
    scene_turn(&scene); /* still full */
    assert_false(exchange->end_sent);
    assert_false(scene_take(&scene, 0, &message)); /* takes the fillers away */
    scene_turns(&scene, 2);
    assert_true(scene_take(&scene, 0, &message));
    assert_int_equal(message.kind, MESSAGE_CANCEL);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void a_begun_request_that_passes_timeout_is_a_504_and_its_app_is_reported(void **state)
{
    (void)state;
    struct scene scene;
    struct owner owner = {};
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = submit(&scene, &owner);
    struct message request = scene_begin(&scene, 0);
    scene_wait(&scene, 1'100); /* the watch sees that it has begun */
    scene_wait(&scene, 29'000);
    assert_int_equal(owner.failures, 0);
    scene_wait(&scene, 2'100);
    assert_int_equal(owner.failures, 1);
    assert_int_equal(owner.status, 504);
    assert_true(told_stuck(&scene));
    assert_true(scene.dispatch.apps[0].draining);
    let_go(&scene, exchange);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void request_timeout_replaces_no_app_and_timeout_still_does(void **state)
{
    (void)state;
    struct scene scene;
    struct owner owner = {};
    scene_open(&scene, NULL);
    scene.core.settings.request_timeout_ms = 5'000;
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = submit(&scene, &owner);
    struct message request = scene_begin(&scene, 0);
    scene_wait(&scene, 1'100);
    scene_wait(&scene, 5'600);
    assert_int_equal(owner.failures, 1);
    assert_int_equal(owner.status, 504);
    assert_false(told_stuck(&scene));
    let_go(&scene, exchange);
    scene_wait(&scene, 1'000);
    scene_wait(&scene, 31'000); /* the thread hangs all the same */
    assert_true(told_stuck(&scene));
    assert_int_equal(metrics_get(scene.metrics, METRIC_APP_TIMEOUTS), 1);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void what_no_app_takes_within_queue_timeout_is_a_503(void **state)
{
    (void)state;
    struct scene scene;
    struct owner waiting = {};
    struct owner unbegun = {};
    scene_open(&scene, NULL);
    scene.core.settings.timeout_ms = 0;
    scene.core.settings.queue_timeout_ms = 3'000;
    struct http_exchange *first = submit(&scene, &waiting);
    scene_wait(&scene, 2'000);
    assert_int_equal(waiting.failures, 0);
    scene_wait(&scene, 1'500);
    assert_int_equal(waiting.status, 503);
    let_go(&scene, first);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *second = submit(&scene, &unbegun);
    scene_wait(&scene, 3'500);
    assert_int_equal(unbegun.status, 503);
    assert_int_equal(second->state, EXCHANGE_DONE);
    let_go(&scene, second);
    scene_close(&scene);
}

static void an_app_with_a_free_place_that_begins_nothing_is_reported(void **state)
{
    (void)state;
    struct scene scene;
    struct owner owner = {};
    scene_open(&scene, NULL);
    scene.core.settings.queue_timeout_ms = 0;
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = submit(&scene, &owner);
    scene_wait(&scene, 29'000);
    assert_false(told_stuck(&scene));
    scene_wait(&scene, 2'100);
    assert_true(told_stuck(&scene));
    let_go(&scene, exchange);
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
    assert_true(told_stuck(&scene));
    assert_true(dispatch_arm(&scene.dispatch));
    scene_turns(&scene, 3);
    assert_int_equal(metrics_get(scene.metrics, METRIC_MESSAGES_INVALID), 1);
    scene_close(&scene);
}

static void a_doorbell_whose_poll_ended_is_listened_to_again(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    assert_int_equal(scripted_polls(scene.core.ring), 1);
    struct ring_event rung = {.token = ring_token_make(RING_DOORBELL, scene.apps[0].generation, 0), .result = 1};
    rung.more = true;
    scripted_event(scene.core.ring, &rung);
    scene_turn(&scene);
    assert_int_equal(scripted_polls(scene.core.ring), 1);
    rung.more = false;
    scripted_event(scene.core.ring, &rung);
    scene_turn(&scene);
    assert_int_equal(scripted_polls(scene.core.ring), 2);
    scene_app_gone(&scene, 0, 502);
    scripted_event(scene.core.ring, &rung);
    scene_turn(&scene);
    assert_int_equal(scripted_polls(scene.core.ring), 2);
    scene_close(&scene);
}

static void a_draining_app_gets_nothing_new_and_gives_back_what_it_has_not_begun(void **state)
{
    (void)state;
    struct scene scene;
    struct owner owner = {};
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 2, 0);
    struct http_exchange *first = submit(&scene, &owner);
    struct http_exchange *second = submit(&scene, &owner);
    struct message request = scene_begin(&scene, 0);
    dispatch_app_drain(&scene.dispatch, 0, scene.apps[0].generation);
    assert_int_equal(first->state, EXCHANGE_QUEUED);
    assert_int_equal(second->state, EXCHANGE_WAITING);
    scene_turns(&scene, 2);
    assert_int_equal(second->state, EXCHANGE_WAITING);
    assert_false(dispatch_serving(&scene.dispatch));
    let_go(&scene, first);
    let_go(&scene, second);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

/* RES-16. */
static void pipelined_requests_that_wait_do_not_stand_before_another_client(void **state)
{
    (void)state;
    struct scene scene;
    struct message message;
    const struct dispatch_lane *lanes[4];
    scene_open(&scene, NULL);
    int greedy = scene_connect(&scene);
    int modest = scene_connect(&scene);
    scene_say(&scene, greedy,
              "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    scene_say(&scene, modest, "GET /4 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(metrics_get(scene.metrics, METRIC_DISPATCH_QUEUED), 4);
    scene_app_up(&scene, 0, 1, 0);
    scene_turn(&scene);
    assert_int_equal(metrics_get(scene.metrics, METRIC_DISPATCH_QUEUED), 0);
    for (int i = 0; i < 4; i++) {
        assert_true(scene_take(&scene, 0, &message));
        lanes[i] = scene.dispatch.by_slot[message.slot]->lane;
    }
    assert_ptr_not_equal(lanes[1], lanes[0]);
    assert_ptr_equal(lanes[2], lanes[0]);
    assert_ptr_equal(lanes[3], lanes[0]);
    scene_close(&scene);
}

static void set_metrics_path(struct scene *scene)
{
    static char path[] = "/metrics";
    scene->core.settings.metrics_path = path;
}

static void the_metrics_are_shown_without_an_application(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, set_metrics_path);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    const char *heard = scene_heard(&scene, fd);
    assert_non_null(strstr(heard, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(heard, "Content-Type: " METRICS_CONTENT_TYPE "\r\n"));
    assert_non_null(strstr(heard, "uroboros_connections_active{ring=\"0\"} 1\n"));
    assert_string_equal(heard + strlen(heard) - 6, "# EOF\n");
    assert_int_equal(scene.core.exchanges.live, 0);
    scene_close(&scene);
}

static void metrics_in_a_hurry_are_one_text_and_their_order_stays(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    scene_open(&scene, set_metrics_path);
    scene_app_up(&scene, 0, 1, 0);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd,
              "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
              "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    const struct app_memory *text = scene.dispatch.metrics_page.memory;
    assert_non_null(text);
    assert_string_equal(scene_heard(&scene, fd), "");
    request = scene_begin(&scene, 0);
    scene_respond(&scene, 0, &request, 204, "", MESSAGE_WAS_DONE);
    scene_turns(&scene, 4);
    assert_ptr_equal(scene.dispatch.metrics_page.memory, text);
    const char *heard = scene_heard(&scene, fd);
    assert_non_null(strstr(heard, "HTTP/1.1 204"));
    const char *end = strstr(heard, "# EOF\n");
    assert_non_null(end);
    assert_non_null(strstr(end, "HTTP/1.1 200 OK\r\n"));
    assert_null(strstr(end + 1, "# EOF\n")); /* HEAD */
    scene_close(&scene);
}

static void another_method_for_the_metrics_is_the_applications_affair(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    scene_open(&scene, set_metrics_path);
    scene_app_up(&scene, 0, 1, 0);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, "DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(scene_take(&scene, 0, &request));
    scene_close(&scene);
}

static void a_stop_at_once_leaves_no_memory(void **state)
{
    (void)state;
    struct scene scene;
    struct message message;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 4, 0);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HT");
    scene_begin(&scene, 0);
    message = scene_begin(&scene, 0);
    scene_respond(&scene, 0, &message, 200, "kept for later", 0);
    scene_turn(&scene);
    scene_abandon(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_loaded_app_with_a_free_place_gets_the_request),
        cmocka_unit_test(an_app_holds_64_unbegun_requests_beyond_its_places_and_the_queue_the_rest),
        cmocka_unit_test(unbegun_requests_are_recalled_when_another_app_has_a_free_place),
        cmocka_unit_test(of_a_dead_apps_requests_the_begun_fail_and_the_others_move_once),
        cmocka_unit_test(a_dead_apps_unbegun_requests_keep_their_order),
        cmocka_unit_test(what_an_app_said_before_it_died_counts),
        cmocka_unit_test(late_replies_give_their_blocks_back),
        cmocka_unit_test(octets_outside_an_arena_are_a_502_and_counted),
        cmocka_unit_test(slots_and_kinds_that_do_not_exist_are_counted_and_nothing_else),
        cmocka_unit_test(a_reply_to_a_request_that_was_not_begun_may_break_it_off_and_end_it),
        cmocka_unit_test(a_response_to_a_request_that_was_never_begun_leaves_nothing_behind),
        cmocka_unit_test(a_full_queue_is_tried_again),
        cmocka_unit_test(a_begun_request_that_passes_timeout_is_a_504_and_its_app_is_reported),
        cmocka_unit_test(request_timeout_replaces_no_app_and_timeout_still_does),
        cmocka_unit_test(what_no_app_takes_within_queue_timeout_is_a_503),
        cmocka_unit_test(an_app_with_a_free_place_that_begins_nothing_is_reported),
        cmocka_unit_test(an_app_whose_queue_makes_no_sense_lets_the_loop_sleep),
        cmocka_unit_test(a_doorbell_whose_poll_ended_is_listened_to_again),
        cmocka_unit_test(a_draining_app_gets_nothing_new_and_gives_back_what_it_has_not_begun),
        cmocka_unit_test(pipelined_requests_that_wait_do_not_stand_before_another_client),
        cmocka_unit_test(the_metrics_are_shown_without_an_application),
        cmocka_unit_test(metrics_in_a_hurry_are_one_text_and_their_order_stays),
        cmocka_unit_test(another_method_for_the_metrics_is_the_applications_affair),
        cmocka_unit_test(a_stop_at_once_leaves_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
