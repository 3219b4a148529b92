#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/io/io_scene.h"

static void a_begun_request_that_passes_timeout_is_a_504_and_its_app_is_reported(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = scene_submit(&scene, &owner);
    struct message request = scene_begin(&scene, 0);
    scene_wait(&scene, 1'100); /* the watch sees that it has begun */
    scene_wait(&scene, 29'000);
    assert_int_equal(owner.failures, 0);
    scene_wait(&scene, 2'100);
    assert_int_equal(owner.failures, 1);
    assert_int_equal(owner.status, 504);
    assert_true(scene_told_stuck(&scene));
    assert_true(scene.dispatch.apps[0].draining);
    scene_let_go(&scene, exchange);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void request_timeout_replaces_no_app_and_timeout_still_does(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    scene_open(&scene, NULL);
    scene.core.settings.request_timeout_ms = 5'000;
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = scene_submit(&scene, &owner);
    struct message request = scene_begin(&scene, 0);
    scene_wait(&scene, 1'100);
    scene_wait(&scene, 5'600);
    assert_int_equal(owner.failures, 1);
    assert_int_equal(owner.status, 504);
    assert_false(scene_told_stuck(&scene));
    scene_let_go(&scene, exchange);
    scene_wait(&scene, 1'000);
    scene_wait(&scene, 31'000); /* the thread hangs all the same */
    assert_true(scene_told_stuck(&scene));
    assert_int_equal(metrics_get(scene.metrics, METRIC_APP_TIMEOUTS), 1);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void what_no_app_takes_within_queue_timeout_is_a_503(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner waiting = {};
    struct scene_owner unbegun = {};
    scene_open(&scene, NULL);
    scene.core.settings.timeout_ms = 0;
    scene.core.settings.queue_timeout_ms = 3'000;
    struct http_exchange *first = scene_submit(&scene, &waiting);
    scene_wait(&scene, 2'000);
    assert_int_equal(waiting.failures, 0);
    scene_wait(&scene, 1'500);
    assert_int_equal(waiting.status, 503);
    scene_let_go(&scene, first);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *second = scene_submit(&scene, &unbegun);
    scene_wait(&scene, 3'500);
    assert_int_equal(unbegun.status, 503);
    assert_int_equal(second->state, EXCHANGE_DONE);
    scene_let_go(&scene, second);
    scene_close(&scene);
}

static void an_app_with_a_free_place_that_begins_nothing_is_reported(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    scene_open(&scene, NULL);
    scene.core.settings.queue_timeout_ms = 0;
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = scene_submit(&scene, &owner);
    scene_wait(&scene, 29'000);
    assert_false(scene_told_stuck(&scene));
    scene_wait(&scene, 2'100);
    assert_true(scene_told_stuck(&scene));
    scene_let_go(&scene, exchange);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_begun_request_that_passes_timeout_is_a_504_and_its_app_is_reported),
        cmocka_unit_test(request_timeout_replaces_no_app_and_timeout_still_does),
        cmocka_unit_test(what_no_app_takes_within_queue_timeout_is_a_503),
        cmocka_unit_test(an_app_with_a_free_place_that_begins_nothing_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
