#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "daemon/exchange/file_handover.h"
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

static struct http_exchange *spooled_exchange(struct scene *scene, struct scene_owner *owner)
{
    struct http_exchange *exchange = scene_exchange(scene, owner);
    assert_int_equal(http_exchange_body_spool(&scene->core, exchange, BYTES_LITERAL("in the file")), 0);
    return exchange;
}

static void a_piece_in_the_file_is_said_where_it_lies_behind_the_descriptor(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    struct file_handover handover;
    char octets[11];
    int fd = -1;
    scene_open(&scene, NULL);
    assert_int_equal(spool_init(&scene.core.spool, "/tmp", 4 * SPOOL_BLOCK_BYTES), 0);
    scene_app_up(&scene, 0, 1, 0);
    struct http_exchange *exchange = spooled_exchange(&scene, &owner);
    assert_true(dispatch_submit(&scene.dispatch, exchange));
    struct message request = scene_begin(&scene, 0);
    assert_int_equal(request.flags, MESSAGE_FILE | MESSAGE_END);
    assert_int_equal(request.body_length, sizeof octets);
    assert_int_equal(file_handover_receive(scene.apps[0].files, &handover, &fd), 0);
    assert_int_equal(pread(fd, octets, sizeof octets, (off_t)request.body_offset * MESSAGE_FILE_BLOCK_BYTES),
                     sizeof octets);
    assert_memory_equal(octets, "in the file", sizeof octets);
    close(fd);
    assert_int_equal(file_handover_receive(scene.apps[0].files, &handover, &fd), -EAGAIN); /* once */
    scene_let_go(&scene, exchange);
    scene_done(&scene, 0, &request);
    scene_turn(&scene);
    assert_int_equal(scene.core.spool.live, 0);
    spool_deinit(&scene.core.spool);
    scene_close(&scene);
}

static void who_cannot_be_given_the_descriptor_gets_no_body_that_needs_it(void **state)
{
    (void)state;
    struct scene scene;
    struct scene_owner owner = {};
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    assert_int_equal(spool_init(&scene.core.spool, "/tmp", 4 * SPOOL_BLOCK_BYTES), 0);
    struct app_link *link = &scene.dispatch.apps[0];
    const int channel = link->files;
    struct http_exchange *exchange = spooled_exchange(&scene, &owner);
    link->files = -1;
    assert_true(dispatch_submit(&scene.dispatch, exchange));
    assert_int_equal(exchange->state, EXCHANGE_WAITING);
    link->files = channel;
    scene_turn(&scene);
    struct message request = scene_begin(&scene, 0);
    assert_int_equal(request.flags, MESSAGE_FILE | MESSAGE_END);
    scene_let_go(&scene, exchange);
    scene_done(&scene, 0, &request);
    scene_turn(&scene);
    spool_deinit(&scene.core.spool);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_queue_is_tried_again),
        cmocka_unit_test(a_piece_in_the_file_is_said_where_it_lies_behind_the_descriptor),
        cmocka_unit_test(who_cannot_be_given_the_descriptor_gets_no_body_that_needs_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
