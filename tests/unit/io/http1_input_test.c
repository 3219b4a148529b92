#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/io/http1_scene.h"

/* ---- heads and faults ------------------------------------------------------------------------------------------- */

static void a_head_cut_at_every_octet_is_one_request(void **state)
{
    (void)state;
    static const char text[] = GET("/cut");
    for (size_t cut = 1; cut < sizeof text - 1; cut++) {
        struct scene scene;
        open_with_app(&scene, NULL);
        int fd = scene_connect(&scene);
        scripted_client_sends(scene.core.ring, fd, bytes_of((const uint8_t *)text, cut));
        scene_turns(&scene, 4);
        scene_say(&scene, fd, text + cut);
        struct message request = scene_begin(&scene, 0);
        answer(&scene, 0, &request, "ok");
        expect_status(&scene, fd, "HTTP/1.1 200");
        scene_close(&scene);
    }
}

static void a_bad_request_behind_good_ones_is_answered_after_them(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/1") "BAD\r\n\r\n" GET("/3"));
    struct message request = scene_begin(&scene, 0);
    struct message none;
    assert_false(scene_take(&scene, 0, &none));
    assert_string_equal(scene_heard(&scene, fd), "");
    answer(&scene, 0, &request, "good");
    const char *heard = scene_heard(&scene, fd);
    assert_true(strstr(heard, "good") < strstr(heard, "HTTP/1.1 400"));
    assert_true(scripted_at(scene.core.ring, fd)->shut);
    scene_close(&scene);
}

static void the_rest_of_a_bad_client_is_read_for_a_second_and_a_mebibyte(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, "BAD\r\n\r\n");
    expect_in(scene_heard(&scene, fd), "HTTP/1.1 400");
    scene_say(&scene, fd, "more of it");
    assert_false(scene_is_closed(&scene, fd));
    scene_wait(&scene, CONNECTION_LINGER_MS + 50);
    assert_true(scene_is_closed(&scene, fd));
    scene_close(&scene);
}

/* ---- request bodies --------------------------------------------------------------------------------------------- */

static void a_client_that_waits_is_told_to_continue_when_the_application_reads(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, POST("Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"));
    struct message request = scene_begin(&scene, 0);
    assert_string_equal(scene_heard(&scene, fd), "");
    struct message wants = {.kind = MESSAGE_CONSUMED, .slot = request.slot, .generation = request.generation};
    scene_reply(&scene, 0, &wants);
    scene_reply(&scene, 0, &wants);
    scene_turns(&scene, 4);
    assert_string_equal(scene_heard(&scene, fd), "HTTP/1.1 100 Continue\r\n\r\n");
    scene_say(&scene, fd, "abc");
    struct message body;
    assert_true(scene_take(&scene, 0, &body));
    assert_int_equal(body.kind, MESSAGE_BODY);
    assert_true((body.flags & MESSAGE_END) != 0);
    answer(&scene, 0, &request, "thanks");
    expect_in(scene_heard(&scene, fd), "thanks");
    scene_close(&scene);
}

static void a_client_that_waits_for_continue_and_gets_an_answer_is_closed(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, POST("Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"));
    struct message request = scene_begin(&scene, 0);
    answer(&scene, 0, &request, "no");
    expect_in(scene_heard(&scene, fd), "Connection: close\r\n");
    expect_not_in(scene_heard(&scene, fd), "100 Continue");
    scene_close(&scene);
}

static void an_unread_body_is_read_past_and_the_application_hears_that_no_more_comes(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, POST("Content-Length: 6\r\n\r\nabc"));
    struct message request = scene_begin(&scene, 0);
    scene_respond(&scene, 0, &request, 200, "early", 0);
    scene_turns(&scene, 4);
    struct message cancel;
    assert_true(scene_take(&scene, 0, &cancel));
    assert_int_equal(cancel.kind, MESSAGE_CANCEL);
    scene_say(&scene, fd, "def" GET("/next"));
    scene_done(&scene, 0, &request);
    struct message next = scene_begin(&scene, 0);
    answer(&scene, 0, &next, "next");
    assert_int_equal(count_in(scene_heard(&scene, fd), "200 OK"), 2);
    scene_close(&scene);
}

static void a_bad_chunk_after_the_response_began_never_becomes_a_second_response(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, POST("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"));
    struct message request = scene_begin(&scene, 0);
    struct message piece = scene_piece(&scene, 0, &request, MESSAGE_RESPONSE, 0, BYTES_LITERAL("begun"));
    scene_reply(&scene, 0, &piece);
    scene_turns(&scene, 4);
    scene_say(&scene, fd, "zz\r\n");
    assert_int_equal(count_in(scene_heard(&scene, fd), "HTTP/1.1"), 1);
    struct message failed;
    assert_true(scene_take(&scene, 0, &failed));
    assert_int_equal(failed.flags, MESSAGE_END | MESSAGE_FAILED);
    piece = scene_piece(&scene, 0, &request, MESSAGE_BODY, 1, (struct bytes){});
    piece.flags = MESSAGE_END | MESSAGE_FAILED | MESSAGE_WAS_DONE;
    scene_reply(&scene, 0, &piece);
    scene_turns(&scene, 6);
    assert_int_equal(count_in(scene_heard(&scene, fd), "HTTP/1.1"), 1);
    assert_true(scripted_at(scene.core.ring, fd)->shut);
    scene_close(&scene);
}

static void one_client_of_single_octets_does_not_pin_all_receive_buffers(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    int other = scene_connect(&scene);
    scene_say(&scene, fd, POST("Content-Length: 1\r\n\r\nx"));
    struct message request = scene_begin(&scene, 0);
    for (int i = 0; i < 200; i++)
        scene_say(&scene, fd, "G"); /* of the next request, which has to wait */
    assert_true(scene.core.buffers.receive.lent <= scene.core.buffers.receive.count / 2 + 2);
    scene_say(&scene, other, GET("/other"));
    struct message next = scene_begin(&scene, 0);
    answer(&scene, 0, &next, "other");
    expect_in(scene_heard(&scene, other), "other");
    answer(&scene, 0, &request, "slow");
    scene_close(&scene);
}

static void a_body_in_single_octets_is_a_bounded_number_of_pieces(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    struct message taken;
    scene_say(&scene, fd, POST("Content-Length: 5000\r\n\r\n"));
    struct message request = scene_begin(&scene, 0);
    for (int i = 0; i < 3'000; i++) {
        scripted_client_sends(scene.core.ring, fd, BYTES_LITERAL("x"));
        scene_turns(&scene, 2);
        while (scene_take(&scene, 0, &taken))
            continue; /* so that no piece is made longer: each has been seen */
    }
    assert_true(scene.core.bodies.live <= HTTP1_BODY_PIECES_MAX + 2 * HTTP1_READ_AHEAD_BUFFERS);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

struct blocks {
    struct loan loans[8];
    uint32_t count;
};

static void take_all_blocks(struct scene *scene, struct blocks *blocks)
{
    uint8_t *memory;
    uint32_t capacity;
    while (buffer_pool_stage(&scene->core.buffers, 1, &blocks->loans[blocks->count], &memory, &capacity) == 0)
        blocks->count++;
}

static void give_blocks_back(struct scene *scene, struct blocks *blocks)
{
    while (blocks->count > 0)
        buffer_pool_drop(&scene->core.buffers, &blocks->loans[--blocks->count]);
}

static void a_streamed_body_in_small_pieces_waits_where_no_block_is_free(void **state)
{
    (void)state;
    struct scene scene;
    struct blocks blocks = {};
    struct message message;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, POST("Content-Length: 6\r\n\r\n"));
    struct message request = scene_begin(&scene, 0);
    take_all_blocks(&scene, &blocks);
    scene_say(&scene, fd, "abc");
    scene_say(&scene, fd, "def");
    assert_string_equal(scene_heard(&scene, fd), "");
    assert_false(scene_take(&scene, 0, &message));
    give_blocks_back(&scene, &blocks);
    scene_turns(&scene, 2);
    assert_true(scene_take(&scene, 0, &message));
    assert_memory_equal(scene_body(&scene, &message).data, "abc", 3);
    assert_true(scene_take(&scene, 0, &message));
    assert_true((message.flags & MESSAGE_END) != 0);
    answer(&scene, 0, &request, "all of it");
    expect_in(scene_heard(&scene, fd), "all of it");
    scene_close(&scene);
}

static void a_head_in_pieces_waits_where_no_block_is_free(void **state)
{
    (void)state;
    struct scene scene;
    struct blocks blocks = {};
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    take_all_blocks(&scene, &blocks);
    scene_say(&scene, fd, "GET /a HTTP");
    scene_say(&scene, fd, "/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(scene_heard(&scene, fd), "");
    give_blocks_back(&scene, &blocks);
    scene_turns(&scene, 2);
    struct message request = scene_begin(&scene, 0);
    answer(&scene, 0, &request, "in the end");
    expect_in(scene_heard(&scene, fd), "in the end");
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_cut_at_every_octet_is_one_request),
        cmocka_unit_test(a_client_that_waits_is_told_to_continue_when_the_application_reads),
        cmocka_unit_test(a_client_that_waits_for_continue_and_gets_an_answer_is_closed),
        cmocka_unit_test(an_unread_body_is_read_past_and_the_application_hears_that_no_more_comes),
        cmocka_unit_test(a_bad_chunk_after_the_response_began_never_becomes_a_second_response),
        cmocka_unit_test(one_client_of_single_octets_does_not_pin_all_receive_buffers),
        cmocka_unit_test(a_body_in_single_octets_is_a_bounded_number_of_pieces),
        cmocka_unit_test(a_streamed_body_in_small_pieces_waits_where_no_block_is_free),
        cmocka_unit_test(a_head_in_pieces_waits_where_no_block_is_free),
        cmocka_unit_test(a_bad_request_behind_good_ones_is_answered_after_them),
        cmocka_unit_test(the_rest_of_a_bad_client_is_read_for_a_second_and_a_mebibyte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
