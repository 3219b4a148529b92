#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/io/io_scene.h"

static void of_a_dead_apps_requests_the_begun_fail_and_the_others_move_once(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner begun = {}, unbegun = {};
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *first = scene_submit(&scene, &begun);
    struct http_exchange *second = scene_submit(&scene, &unbegun);
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
    scene_let_go(&scene, first);
    scene_let_go(&scene, second);
    scene_close(&scene);
}

static void a_dead_apps_unbegun_requests_keep_their_order(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    struct http_exchange *exchanges[3];
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    for (int i = 0; i < 3; i++)
        exchanges[i] = scene_submit(&scene, &owner);
    scene_app_gone(&scene, 0, 502);
    assert_ptr_equal(scene.dispatch.common_lane.waiting.first, exchanges[0]);
    assert_ptr_equal(scene.dispatch.common_lane.waiting.last, exchanges[2]);
    for (int i = 0; i < 3; i++)
        scene_let_go(&scene, exchanges[i]);
    scene_close(&scene);
}

static void what_an_app_said_before_it_died_counts(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = scene_submit(&scene, &owner);
    struct message request = scene_begin(&scene, 0);
    scene_respond(&scene, 0, &request, 200, "last words", 0);
    scene_app_gone(&scene, 0, 502);
    assert_int_equal(owner.replies, 1);
    assert_int_equal(owner.failures, 0);
    scene_let_go(&scene, exchange);
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
    struct scene_owner owner = {};
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 2, 0);
    struct http_exchange *first = scene_submit(&scene, &owner);
    struct http_exchange *second = scene_submit(&scene, &owner);
    struct message request = scene_begin(&scene, 0);
    dispatch_app_drain(&scene.dispatch, 0, scene.apps[0].generation);
    assert_int_equal(first->state, EXCHANGE_QUEUED);
    assert_int_equal(second->state, EXCHANGE_WAITING);
    scene_turns(&scene, 2);
    assert_int_equal(second->state, EXCHANGE_WAITING);
    assert_false(dispatch_serving(&scene.dispatch));
    scene_let_go(&scene, first);
    scene_let_go(&scene, second);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_a_dead_apps_requests_the_begun_fail_and_the_others_move_once),
        cmocka_unit_test(a_dead_apps_unbegun_requests_keep_their_order),
        cmocka_unit_test(what_an_app_said_before_it_died_counts),
        cmocka_unit_test(a_doorbell_whose_poll_ended_is_listened_to_again),
        cmocka_unit_test(a_draining_app_gets_nothing_new_and_gives_back_what_it_has_not_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
