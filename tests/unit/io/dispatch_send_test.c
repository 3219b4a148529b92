#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/io/io_scene.h"

static void a_full_queue_is_tried_again(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    struct message message;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = scene_exchange(&scene, &owner);
    exchange->body_ended = false;
    assert_true(dispatch_submit(&scene.dispatch, exchange));
    struct message request = scene_begin(&scene, 0);
    const struct message filler = {.kind = MESSAGE_BLOCKS};
    while (spsc_push(&scene.dispatch.apps[0].requests, &filler))
        continue;
    exchange->body_ended = true;
    dispatch_body(&scene.dispatch, exchange);
    scene_let_go(&scene, exchange);
    scene_turn(&scene); /* still full */
    assert_false(exchange->end_sent);
    assert_false(scene_take(&scene, 0, &message)); /* takes the fillers away */
    scene_turns(&scene, 2);
    assert_true(scene_take(&scene, 0, &message));
    assert_int_equal(message.kind, MESSAGE_CANCEL);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_queue_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
