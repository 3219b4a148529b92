#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "tests/unit/io/io_scene.h"

static void the_least_loaded_app_with_a_free_place_gets_the_request(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 2, 0);
    scene_app_up(&scene, 1, 2, 0);
    struct http_exchange *exchanges[6];
    uint32_t at[SCENE_APPS] = {};
    for (int i = 0; i < 6; i++) {
        exchanges[i] = scene_submit(&scene, &owner);
        at[exchanges[i]->app]++;
        assert_true(at[0] <= at[1] + 1);
        assert_true(at[1] <= at[0] + 1);
    }
    for (int i = 0; i < 6; i++)
        scene_let_go(&scene, exchanges[i]);
    scene_close(&scene);
}

static void an_app_holds_64_unbegun_requests_beyond_its_places_and_the_queue_the_rest(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    struct http_exchange *exchanges[128];
    scene_open(&scene, NULL);
    scene.core.settings.queue_size = 3;
    scene_app_up(&scene, 0, 2, 0);
    uint32_t count = 0;
    for (; count < 2 + DISPATCH_AHEAD_MAX; count++) {
        exchanges[count] = scene_submit(&scene, &owner);
        assert_int_equal(exchanges[count]->state, EXCHANGE_QUEUED);
    }
    for (int i = 0; i < 3; i++, count++) {
        exchanges[count] = scene_submit(&scene, &owner);
        assert_int_equal(exchanges[count]->state, EXCHANGE_WAITING);
    }
    exchanges[count] = scene_exchange(&scene, &owner);
    assert_false(dispatch_submit(&scene.dispatch, exchanges[count++]));
    while (count > 0)
        scene_let_go(&scene, exchanges[--count]);
    scene_close(&scene);
}

static void unbegun_requests_are_recalled_when_another_app_has_a_free_place(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    struct http_exchange *exchanges[4];
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    for (int i = 0; i < 4; i++)
        exchanges[i] = scene_submit(&scene, &owner);
    scene_begin(&scene, 0);
    scene_app_up(&scene, 1, 2, 0);
    scene_turn(&scene);
    assert_int_equal(exchanges[0]->app, 0); /* it has begun */
    assert_int_equal(exchanges[3]->app, 0);
    /* The oldest ones move, and stay in their order: what is behind them may wait for them. */
    assert_int_equal(scene_begin(&scene, 1).slot, exchanges[1]->slot);
    assert_int_equal(scene_begin(&scene, 1).slot, exchanges[2]->slot);
    struct message stale; /* the old entries are still in the first app's queue, and cannot be claimed */
    uint32_t claimed = 0;
    while (scene_take(&scene, 0, &stale))
        claimed += scene_claim(&scene, 0, &stale);
    assert_int_equal(claimed, 1);
    for (int i = 0; i < 4; i++)
        scene_let_go(&scene, exchanges[i]);
    scene_close(&scene);
}

#define GET_ONE "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

/* In their order: a response to a later one may hold a thread until the first is answered. */
static void pipelined_requests_go_to_one_app_and_those_of_others_are_spread(void **state)
{
    (void)state;
    struct scene scene;
    struct message message;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 2, 0);
    scene_app_up(&scene, 1, 2, 0);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET_ONE GET_ONE GET_ONE GET_ONE);
    const uint32_t app = scene.dispatch.apps[1].outstanding > 0;
    assert_int_equal(scene.dispatch.apps[app].outstanding, 4);
    scene_turn(&scene); /* the other has free places: none is recalled */
    assert_int_equal(scene.dispatch.apps[app].outstanding, 4);
    scene_say(&scene, scene_connect(&scene), GET_ONE);
    assert_int_equal(scene.dispatch.apps[1 - app].outstanding, 1);
    scene_begin(&scene, app);
    /* The app is to go: what it has not begun moves, and stays together. */
    dispatch_app_drain(&scene.dispatch, app, scene.dispatch.apps[app].generation);
    scene_turn(&scene);
    assert_int_equal(scene.dispatch.apps[app].outstanding, 1);
    assert_int_equal(scene.dispatch.apps[1 - app].outstanding, 4);
    while (scene_take(&scene, app, &message))
        assert_false(scene_claim(&scene, app, &message));
    scene_close(&scene);
}

static void a_pipeline_that_waits_for_its_app_lets_others_pass(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    struct http_exchange *exchanges[2 + DISPATCH_AHEAD_MAX];
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET_ONE);
    uint32_t count = 0;
    while (count < DISPATCH_AHEAD_MAX)
        exchanges[count++] = scene_submit(&scene, &owner);
    scene_say(&scene, fd, GET_ONE);
    exchanges[count] = scene_submit(&scene, &owner);
    assert_int_equal(scene.dispatch.queue.count, 2);
    struct message first = scene_begin(&scene, 0);
    for (int i = 0; i < DISPATCH_AHEAD_MAX; i++)
        scene_begin(&scene, 0);
    scene_app_up(&scene, 1, 1, 0);
    scene_turn(&scene);
    assert_int_equal(exchanges[count]->state, EXCHANGE_QUEUED);
    assert_int_equal(exchanges[count]->app, 1);
    assert_int_equal(scene.dispatch.queue.count, 1);
    scene_done(&scene, 0, &first);
    scene_turn(&scene);
    assert_int_equal(scene.dispatch.queue.count, 0);
    for (uint32_t i = 0; i <= count; i++)
        scene_let_go(&scene, exchanges[i]);
    scene_close(&scene);
}

static void requests_of_other_io_processes_take_places_too(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    scene_open(&scene, NULL);
    scene.core.setup.shape.rings = 2;
    scene_app_up(&scene, 0, 2, 0);
    struct http_exchange *exchange = scene_submit(&scene, &owner);
    atomic_store(&scene.dispatch.load_board[LAYOUT_APPS_MAX], 2);
    scene_app_up(&scene, 1, 2, 0);
    scene_turn(&scene);
    assert_int_equal(exchange->app, 1);
    scene_let_go(&scene, exchange);
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
        cmocka_unit_test(pipelined_requests_go_to_one_app_and_those_of_others_are_spread),
        cmocka_unit_test(a_pipeline_that_waits_for_its_app_lets_others_pass),
        cmocka_unit_test(requests_of_other_io_processes_take_places_too),
        cmocka_unit_test(pipelined_requests_that_wait_do_not_stand_before_another_client),
        cmocka_unit_test(the_metrics_are_shown_without_an_application),
        cmocka_unit_test(metrics_in_a_hurry_are_one_text_and_their_order_stays),
        cmocka_unit_test(another_method_for_the_metrics_is_the_applications_affair),
        cmocka_unit_test(a_stop_at_once_leaves_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
