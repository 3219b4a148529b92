#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "daemon/exchange/field_block.h"
#include "tests/unit/io/http1_scene.h"

/* ---- plain requests --------------------------------------------------------------------------------------------- */

static void a_request_is_answered_and_the_connection_waits_for_the_next(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/a"));
    struct message request = scene_begin(&scene, 0);
    assert_true((request.flags & MESSAGE_END) != 0);
    answer(&scene, 0, &request, "hello");
    expect_in(scene_heard(&scene, fd), "HTTP/1.1 200 OK\r\n");
    expect_in(scene_heard(&scene, fd), "Content-Length: 5\r\n");
    expect_in(scene_heard(&scene, fd), "\r\n\r\nhello");
    assert_int_equal(scene.core.sessions.live, 0);
    assert_int_equal(scene.core.exchanges.live, 0);
    scene_say(&scene, fd, GET("/b"));
    request = scene_begin(&scene, 0);
    answer(&scene, 0, &request, "again");
    assert_int_equal(count_in(scene_heard(&scene, fd), "200 OK"), 2);
    scene_close(&scene);
}

static void pipelined_answers_leave_in_the_order_of_requests(void **state)
{
    (void)state;
    static const uint8_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const char *const bodies[] = {"first.", "second.", "third."};
    for (size_t i = 0; i < 6; i++) {
        struct scene scene;
        open_with_app(&scene, NULL);
        int fd = scene_connect(&scene);
        scene_say(&scene, fd, GET("/1") GET("/2") GET("/3"));
        struct message requests[3];
        for (size_t n = 0; n < 3; n++)
            requests[n] = scene_begin(&scene, 0);
        for (size_t n = 0; n < 3; n++)
            answer(&scene, 0, &requests[orders[i][n]], bodies[orders[i][n]]);
        const char *heard = scene_heard(&scene, fd);
        assert_true(strstr(heard, "first.") < strstr(heard, "second."));
        assert_true(strstr(heard, "second.") < strstr(heard, "third."));
        assert_int_equal(scene.core.sessions.live, 0);
        scene_close(&scene);
    }
}

static void a_request_that_changes_things_waits_for_those_before_it(void **state)
{
    (void)state;
    struct scene scene;
    struct message second;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/1") POST("Content-Length: 2\r\n\r\nab") GET("/3"));
    struct message first = scene_begin(&scene, 0);
    assert_false(scene_take(&scene, 0, &second));
    answer(&scene, 0, &first, "1");
    second = scene_begin(&scene, 0);
    assert_memory_equal(scene_body(&scene, &second).data, "ab", 2);
    struct message third;
    assert_false(scene_take(&scene, 0, &third));
    answer(&scene, 0, &second, "2");
    third = scene_begin(&scene, 0);
    answer(&scene, 0, &third, "3");
    assert_int_equal(count_in(scene_heard(&scene, fd), "200 OK"), 3);
    scene_close(&scene);
}

static void what_is_pipelined_behind_a_response_that_closes_is_not_answered(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/1") GET("/2"));
    struct message first = scene_begin(&scene, 0);
    struct message second = scene_begin(&scene, 0);
    scene.core.leaving = true;
    scripted_at(scene.core.ring, fd)->send_stalled = true;
    answer(&scene, 0, &first, "first.");
    answer(&scene, 0, &second, "second.");
    scripted_at(scene.core.ring, fd)->send_stalled = false;
    scene_turns(&scene, 4);
    expect_in(scene_heard(&scene, fd), "first.");
    expect_in(scene_heard(&scene, fd), "Connection: close\r\n");
    expect_not_in(scene_heard(&scene, fd), "second.");
    assert_true(scripted_at(scene.core.ring, fd)->shut);
    scene_close(&scene);
}

/* The client may have sent another request by then, and would find the connection closed. */
static void a_response_that_promised_more_is_followed_by_one_more_when_the_process_leaves(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/1"));
    struct message first = scene_begin(&scene, 0);
    struct message reply = scene_piece(&scene, 0, &first, MESSAGE_RESPONSE, 0, BYTES_LITERAL("be"));
    scene_reply(&scene, 0, &reply);
    scene_turns(&scene, 4);
    scene.core.leaving = true;
    reply = scene_piece(&scene, 0, &first, MESSAGE_BODY, 1, BYTES_LITERAL("gun"));
    reply.flags = MESSAGE_END | MESSAGE_WAS_DONE;
    scene_reply(&scene, 0, &reply);
    scene_turns(&scene, 4);
    expect_not_in(scene_heard(&scene, fd), "Connection: close\r\n");
    assert_false(scripted_at(scene.core.ring, fd)->shut);
    scene_say(&scene, fd, GET("/2"));
    struct message second = scene_begin(&scene, 0);
    answer(&scene, 0, &second, "second.");
    scene_turns(&scene, 4);
    expect_in(scene_heard(&scene, fd), "Connection: close\r\n");
    assert_true(scripted_at(scene.core.ring, fd)->shut);
    scene_close(&scene);
}

static void an_application_may_end_the_connection(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/1") GET("/2"));
    struct message first = scene_begin(&scene, 0);
    struct message second = scene_begin(&scene, 0);
    uint8_t head[64];
    size_t used = 0;
    assert_true(field_block_append(head, sizeof head, &used, BYTES_LITERAL("Connection"), BYTES_LITERAL("Close")));
    struct message reply = scene_piece(&scene, 0, &first, MESSAGE_RESPONSE, 0, bytes_of(head, used));
    reply.head_offset = reply.body_offset;
    reply.head_length = reply.body_length;
    reply.body_length = 0;
    reply.flags = MESSAGE_END | MESSAGE_WAS_DONE;
    scene_reply(&scene, 0, &reply);
    scene_turns(&scene, 4);
    answer(&scene, 0, &second, "second.");
    assert_int_equal(count_in(scene_heard(&scene, fd), "Connection: close\r\n"), 1);
    expect_not_in(scene_heard(&scene, fd), "second.");
    assert_true(scripted_at(scene.core.ring, fd)->shut);
    scene_close(&scene);
}

/* ---- clients that end or vanish --------------------------------------------------------------------------------- */

static void a_client_that_ends_after_its_request_gets_the_answer(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scripted_client_ends(scene.core.ring, fd);
    scene_say(&scene, fd, GET("/"));
    struct message request = scene_begin(&scene, 0);
    answer(&scene, 0, &request, "still here");
    expect_in(scene_heard(&scene, fd), "still here");
    scene_turns(&scene, 4);
    assert_true(scene_is_closed(&scene, fd));
    scene_close(&scene);
}

static void a_single_slot(struct scene *scene)
{
    scene->core.setup.shape.slots = 1;
}

static void a_request_of_an_ended_client_that_waits_for_a_slot_is_served(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, a_single_slot);
    int fd = scene_connect(&scene);
    scripted_client_ends(scene.core.ring, fd);
    scene_say(&scene, fd, GET("/1") GET("/2"));
    struct message first = scene_begin(&scene, 0);
    scene_respond(&scene, 0, &first, 200, "first.", 0); /* and goes on working */
    scene_turns(&scene, 4);
    expect_in(scene_heard(&scene, fd), "first.");
    scene_done(&scene, 0, &first);
    scene_turns(&scene, 4);
    struct message second = {};
    while (second.kind != MESSAGE_REQUEST) /* that the client has ended is told too */
        assert_true(scene_take(&scene, 0, &second));
    assert_true(scene_claim(&scene, 0, &second));
    answer(&scene, 0, &second, "second.");
    expect_in(scene_heard(&scene, fd), "second.");
    scene_turns(&scene, 4);
    assert_true(scene_is_closed(&scene, fd));
    scene_close(&scene);
}

static void an_end_at_any_octet_of_a_request_leaves_nothing(void **state)
{
    (void)state;
    static const char text[] = POST("Content-Length: 4\r\n\r\nabcd");
    for (size_t cut = 0; cut < sizeof text - 1; cut++) {
        struct scene scene;
        struct message message;
        open_with_app(&scene, NULL);
        int fd = scene_connect(&scene);
        scripted_client_sends(scene.core.ring, fd, bytes_of((const uint8_t *)text, cut));
        scene_turns(&scene, 4);
        scripted_client_ends(scene.core.ring, fd);
        scene_turns(&scene, 6);
        while (scene_take(&scene, 0, &message))
            if (message.kind == MESSAGE_BODY)
                assert_int_equal(message.flags, MESSAGE_END | MESSAGE_FAILED);
        assert_true(scene_is_closed(&scene, fd));
        expect_not_in(scene_heard(&scene, fd), "200 OK");
        scene_close(&scene);
    }
}

static void a_reset_cancels_what_was_asked(void **state)
{
    (void)state;
    struct scene scene;
    struct message message;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/1") GET("/2"));
    struct message first = scene_begin(&scene, 0);
    scripted_at(scene.core.ring, fd)->receive_error = -ECONNRESET;
    scene_turns(&scene, 4);
    assert_true(scene_is_closed(&scene, fd));
    assert_int_equal(scene.core.exchanges.live, 1); /* the one that has begun; the other was recalled */
    assert_true(scene_take(&scene, 0, &message));   /* the recalled one, which cannot be claimed any more */
    assert_false(scene_claim(&scene, 0, &message));
    assert_true(scene_take(&scene, 0, &message));
    assert_int_equal(message.kind, MESSAGE_CANCEL);
    scene_done(&scene, 0, &first);
    scene_turns(&scene, 1);
    assert_int_equal(scene.core.exchanges.live, 0);
    scene_close(&scene);
}

static void a_failed_send_at_any_octet_leaves_nothing(void **state)
{
    (void)state;
    for (size_t taken = 1; taken < 160; taken++) {
        struct scene scene;
        open_with_app(&scene, NULL);
        int fd = scene_connect(&scene);
        scene_say(&scene, fd, GET("/1") GET("/2"));
        struct message first = scene_begin(&scene, 0);
        struct message second = scene_begin(&scene, 0);
        scripted_at(scene.core.ring, fd)->send_max = taken;
        scene_respond(&scene, 0, &second, 200, "second", MESSAGE_WAS_DONE);
        scene_respond(&scene, 0, &first, 200, "first", MESSAGE_WAS_DONE);
        scene_turn(&scene);
        scripted_at(scene.core.ring, fd)->send_error = -EPIPE;
        scene_turns(&scene, 4);
        scene_close(&scene);
    }
}

static void short_sends_and_eagain_lose_no_octet(void **state)
{
    (void)state;
    static const int errors[] = {0, -EAGAIN, -EINTR};
    for (size_t i = 0; i < 3; i++) {
        struct scene scene;
        open_with_app(&scene, NULL);
        int fd = scene_connect(&scene);
        scene_say(&scene, fd, GET("/1"));
        struct message request = scene_begin(&scene, 0);
        scripted_at(scene.core.ring, fd)->send_max = 7;
        scripted_at(scene.core.ring, fd)->send_error = errors[i];
        answer(&scene, 0, &request, "0123456789");
        scene_turns(&scene, 60);
        expect_in(scene_heard(&scene, fd), "\r\n\r\n0123456789");
        assert_int_equal(scene.core.sessions.live, 0);
        scene_close(&scene);
    }
}

static void a_client_that_has_ended_its_half_is_served_what_still_waits_for_a_slot(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, a_single_slot);
    int busy = scene_connect(&scene), fd = scene_connect(&scene);
    scene_say(&scene, busy, GET("/"));
    struct message request = scene_begin(&scene, 0);
    scripted_client_sends(scene.core.ring, fd, BYTES_LITERAL(GET("/")));
    scripted_client_ends(scene.core.ring, fd);
    scene_turns(&scene, 8);
    assert_false(scene_is_closed(&scene, fd));
    scene_respond(&scene, 0, &request, 200, "first", MESSAGE_WAS_DONE);
    scene_turns(&scene, 8);
    request = scene_begin(&scene, 0);
    scene_respond(&scene, 0, &request, 200, "second", MESSAGE_WAS_DONE);
    scene_turns(&scene, 8);
    assert_non_null(strstr(scene_heard(&scene, fd), "second"));
    assert_true(scene_is_closed(&scene, fd));
    scene_close(&scene);
}

static void a_session_may_close_its_connection_while_nothing_is_armed(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scripted_client_ends(scene.core.ring, fd); /* nothing is received any more */
    scene_say(&scene, fd, GET("/"));
    struct message request = scene_begin(&scene, 0);
    struct message piece = scene_piece(&scene, 0, &request, MESSAGE_RESPONSE, 0, BYTES_LITERAL("part"));
    scene_reply(&scene, 0, &piece);
    scene_turns(&scene, 4);
    assert_int_equal(scripted_armed(scene.core.ring), 0);
    piece = scene_piece(&scene, 0, &request, MESSAGE_BODY, 1, (struct bytes){});
    piece.flags = MESSAGE_END | MESSAGE_FAILED | MESSAGE_WAS_DONE;
    scene_reply(&scene, 0, &piece);
    scene_turns(&scene, 4);
    assert_true(scene_is_closed(&scene, fd));
    scene_close(&scene);
}

/* ---- applications that vanish ----------------------------------------------------------------------------------- */

static void a_complete_response_survives_its_application(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/1") GET("/2"));
    struct message first = scene_begin(&scene, 0);
    scene_app_up(&scene, 1, 4, 0);
    dispatch_app_drain(&scene.dispatch, 0, scene.dispatch.apps[0].generation);
    scene_turn(&scene);
    struct message second = scene_begin(&scene, 1);
    scene_respond(&scene, 1, &second, 200, "second.", 0);
    scene_turns(&scene, 2);
    scene_app_gone(&scene, 1, 502);
    answer(&scene, 0, &first, "first.");
    expect_in(scene_heard(&scene, fd), "first.");
    expect_in(scene_heard(&scene, fd), "second.");
    assert_false(scene_is_closed(&scene, fd));
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered_and_the_connection_waits_for_the_next),
        cmocka_unit_test(pipelined_answers_leave_in_the_order_of_requests),
        cmocka_unit_test(a_request_that_changes_things_waits_for_those_before_it),
        cmocka_unit_test(what_is_pipelined_behind_a_response_that_closes_is_not_answered),
        cmocka_unit_test(a_response_that_promised_more_is_followed_by_one_more_when_the_process_leaves),
        cmocka_unit_test(an_application_may_end_the_connection),
        cmocka_unit_test(a_client_that_ends_after_its_request_gets_the_answer),
        cmocka_unit_test(a_request_of_an_ended_client_that_waits_for_a_slot_is_served),
        cmocka_unit_test(an_end_at_any_octet_of_a_request_leaves_nothing),
        cmocka_unit_test(a_reset_cancels_what_was_asked),
        cmocka_unit_test(a_failed_send_at_any_octet_leaves_nothing),
        cmocka_unit_test(short_sends_and_eagain_lose_no_octet),
        cmocka_unit_test(a_client_that_has_ended_its_half_is_served_what_still_waits_for_a_slot),
        cmocka_unit_test(a_complete_response_survives_its_application),
        cmocka_unit_test(a_session_may_close_its_connection_while_nothing_is_armed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
