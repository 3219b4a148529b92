#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/io/http1_scene.h"

/* ---- framing ---------------------------------------------------------------------------------------------------- */

static void a_body_of_unknown_length_is_chunked(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/"));
    struct message request = scene_begin(&scene, 0);
    struct message piece = scene_piece(&scene, 0, &request, MESSAGE_RESPONSE, 0, BYTES_LITERAL("abc"));
    scene_reply(&scene, 0, &piece);
    piece = scene_piece(&scene, 0, &request, MESSAGE_BODY, 1, BYTES_LITERAL("defgh"));
    piece.flags = MESSAGE_END | MESSAGE_WAS_DONE;
    scene_reply(&scene, 0, &piece);
    scene_turns(&scene, 4);
    expect_in(scene_heard(&scene, fd), "Transfer-Encoding: chunked\r\n");
    expect_in(scene_heard(&scene, fd), "\r\n\r\n3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n");
    scene_close(&scene);
}

static void an_http_1_0_client_gets_a_body_that_ends_with_the_connection(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    struct message request = scene_begin(&scene, 0);
    struct message piece = scene_piece(&scene, 0, &request, MESSAGE_RESPONSE, 0, BYTES_LITERAL("abc"));
    scene_reply(&scene, 0, &piece);
    piece = scene_piece(&scene, 0, &request, MESSAGE_BODY, 1, BYTES_LITERAL("def"));
    piece.flags = MESSAGE_END | MESSAGE_WAS_DONE;
    scene_reply(&scene, 0, &piece);
    scene_turns(&scene, 4);
    expect_in(scene_heard(&scene, fd), "\r\n\r\nabcdef");
    expect_not_in(scene_heard(&scene, fd), "chunked");
    assert_true(scripted_at(scene.core.ring, fd)->shut);
    scene_close(&scene);
}

static void head_204_and_304_have_no_body(void **state)
{
    (void)state;
    static const uint16_t statuses[] = {200, 204, 304};
    for (size_t i = 0; i < 3; i++) {
        struct scene scene;
        open_with_app(&scene, NULL);
        int fd = scene_connect(&scene);
        scene_say(&scene, fd, i == 0 ? "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" : GET("/"));
        struct message request = scene_begin(&scene, 0);
        scene_respond(&scene, 0, &request, statuses[i], "secret", MESSAGE_WAS_DONE);
        scene_turns(&scene, 4);
        expect_not_in(scene_heard(&scene, fd), "secret");
        expect_not_in(scene_heard(&scene, fd), "chunked");
        assert_int_equal(scene.core.sessions.live, 0);
        scene_close(&scene);
    }
}

static void a_body_longer_than_stated_is_cut_and_a_shorter_one_breaks_the_connection(void **state)
{
    (void)state;
    for (int64_t length = 2; length <= 9; length += 7) {
        struct scene scene;
        open_with_app(&scene, NULL);
        int fd = scene_connect(&scene);
        scene_say(&scene, fd, GET("/"));
        struct message request = scene_begin(&scene, 0);
        struct message piece = scene_piece(&scene, 0, &request, MESSAGE_RESPONSE, 0, BYTES_LITERAL("abcde"));
        piece.flags = MESSAGE_END | MESSAGE_WAS_DONE;
        piece.content_length = length;
        scene_reply(&scene, 0, &piece);
        scene_turns(&scene, 6);
        expect_not_in(scene_heard(&scene, fd), "abcde\r\n");
        if (length == 2)
            expect_in(scene_heard(&scene, fd), "\r\n\r\nab");
        assert_int_equal(scripted_at(scene.core.ring, fd)->shut, length == 9);
        scene_close(&scene);
    }
}

/* A response that its application breaks off, behind a whole one that the client has not taken yet. */
static int break_behind_a_whole_one(struct scene *scene, const char *text, int64_t length)
{
    int fd = scene_connect(scene);
    scene_say(scene, fd, text);
    struct message first = scene_begin(scene, 0);
    struct message second = scene_begin(scene, 0);
    struct message piece = scene_piece(scene, 0, &second, MESSAGE_RESPONSE, second.slot, BYTES_LITERAL("abcde"));
    piece.content_length = length;
    scene_reply(scene, 0, &piece);
    piece = scene_piece(scene, 0, &second, MESSAGE_BODY, 15, (struct bytes){});
    piece.flags = MESSAGE_END | MESSAGE_FAILED | MESSAGE_WAS_DONE;
    scene_reply(scene, 0, &piece);
    scripted_at(scene->core.ring, fd)->send_stalled = true;
    answer(scene, 0, &first, "first.");
    scripted_at(scene->core.ring, fd)->send_stalled = false;
    scene_turns(scene, 6);
    return fd;
}

static void a_broken_response_takes_none_before_it_along(void **state)
{
    (void)state;
    for (int64_t length = -1; length <= 9; length += 10) {
        struct scene scene;
        open_with_app(&scene, NULL);
        int fd = break_behind_a_whole_one(&scene, GET("/1") GET("/2"), length);
        expect_in(scene_heard(&scene, fd), "\r\n\r\nfirst.");
        expect_in(scene_heard(&scene, fd), "abcde");
        expect_not_in(scene_heard(&scene, fd), "\r\n0\r\n");
        assert_true(scripted_at(scene.core.ring, fd)->shut);
        scene_close(&scene);
    }
}

static void a_broken_response_without_length_is_reset_when_what_was_before_it_is_sent(void **state)
{
    (void)state;
    static const char text[] = "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                               "GET /2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = break_behind_a_whole_one(&scene, text, -1);
    expect_in(scene_heard(&scene, fd), "\r\n\r\nfirst.");
    assert_false(scripted_at(scene.core.ring, fd)->shut); /* an orderly end would pass for the end of the body */
    assert_true(scene_is_closed(&scene, fd));
    scene_close(&scene);
}

static void a_status_that_is_no_final_one_is_answered_with_502(void **state)
{
    (void)state;
    static const uint16_t statuses[] = {0, 99, 101, 103, 1'000};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        struct scene scene;
        open_with_app(&scene, NULL);
        int fd = scene_connect(&scene);
        scene_say(&scene, fd, GET("/"));
        struct message request = scene_begin(&scene, 0);
        scene_respond(&scene, 0, &request, statuses[i], "x", MESSAGE_WAS_DONE);
        scene_turns(&scene, 4);
        expect_in(scene_heard(&scene, fd), "HTTP/1.1 502 ");
        scene_close(&scene);
    }
}

static void an_interim_response_is_102_to_199_and_not_101(void **state)
{
    (void)state;
    static const uint16_t statuses[] = {103, 100, 101, 200};
    for (size_t i = 0; i < 4; i++) {
        struct scene scene;
        open_with_app(&scene, NULL);
        int fd = scene_connect(&scene);
        scene_say(&scene, fd, GET("/"));
        struct message request = scene_begin(&scene, 0);
        struct message interim = scene_piece(&scene, 0, &request, MESSAGE_INTERIM, 0, (struct bytes){});
        interim.status = statuses[i];
        interim.head_offset = interim.body_offset;
        scene_reply(&scene, 0, &interim);
        answer(&scene, 0, &request, "done");
        if (i == 0)
            expect_in(scene_heard(&scene, fd), "HTTP/1.1 103 Early Hints\r\n");
        expect_in(scene_heard(&scene, fd), i == 0 ? "HTTP/1.1 200 OK" : "HTTP/1.1 502 ");
        scene_close(&scene);
    }
}

/* ---- what an application drives --------------------------------------------------------------------------------- */

static void small_pieces_for_a_client_that_does_not_read_keep_their_blocks(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scripted_at(scene.core.ring, fd)->send_stalled = true;
    scene_say(&scene, fd, GET("/"));
    struct message request = scene_begin(&scene, 0);
    struct message piece = scene_piece(&scene, 0, &request, MESSAGE_RESPONSE, 0, (struct bytes){});
    scene_reply(&scene, 0, &piece);
    static const uint8_t kibibyte[1'024];
    struct message none;
    for (uint32_t i = 0; i < 70; i++) {
        piece = scene_piece(&scene, 0, &request, MESSAGE_BODY, i % 16, bytes_of(kibibyte, sizeof kibibyte));
        scene_reply(&scene, 0, &piece);
        scene_turn(&scene);
    }
    assert_false(scene_take(&scene, 0, &none));
    uint32_t returned = scene.apps[0].blocks_returned;
    assert_true(returned >= 60); /* 64 KiB were copied, and their blocks are free for more */
    for (uint32_t i = 0; i < 8; i++) {
        piece = scene_piece(&scene, 0, &request, MESSAGE_BODY, i % 16, bytes_of(kibibyte, sizeof kibibyte));
        scene_reply(&scene, 0, &piece);
        scene_turn(&scene);
    }
    assert_false(scene_take(&scene, 0, &none));
    assert_true(scene.apps[0].blocks_returned <= returned + 1);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void an_application_that_floods_a_client_that_does_not_read_is_cut_off(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scripted_at(scene.core.ring, fd)->send_stalled = true;
    scene_say(&scene, fd, GET("/"));
    struct message request = scene_begin(&scene, 0);
    struct message piece = scene_piece(&scene, 0, &request, MESSAGE_RESPONSE, 16, (struct bytes){});
    scene_reply(&scene, 0, &piece);
    piece = scene_piece(&scene, 0, &request, MESSAGE_BODY, 16, (struct bytes){});
    piece.body_length = LAYOUT_LARGE_BLOCK_BYTES;
    piece.body_block = MESSAGE_NO_BLOCK;
    for (int i = 0; i < 100 && !scene_is_closed(&scene, fd); i++) {
        scene_reply(&scene, 0, &piece);
        scene_turns(&scene, 2);
    }
    assert_true(scene_is_closed(&scene, fd));
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void little_response_buffering(struct scene *scene)
{
    scene->core.settings.response_buffer_max = 1'000;
}

static void one_that_floods_it_with_single_octets_is_cut_off_before_they_take_more_than_its_arena(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, little_response_buffering);
    int fd = scene_connect(&scene);
    scripted_at(scene.core.ring, fd)->send_stalled = true;
    scene_say(&scene, fd, GET("/"));
    struct message request = scene_begin(&scene, 0);
    struct message piece = scene_piece(&scene, 0, &request, MESSAGE_RESPONSE, 0, (struct bytes){});
    scene_reply(&scene, 0, &piece);
    piece = scene_piece(&scene, 0, &request, MESSAGE_BODY, 0, BYTES_LITERAL("a"));
    piece.body_block = MESSAGE_NO_BLOCK;
    const size_t most = scene.apps[0].layout.bytes / sizeof(struct output_piece);
    size_t sent = 0;
    for (; sent < 2 * most && !scene_is_closed(&scene, fd); sent++) {
        scene_reply(&scene, 0, &piece);
        scene_turns(&scene, 2);
    }
    assert_true(scene_is_closed(&scene, fd));
    assert_in_range(scene.core.outputs.pieces.live, 0, most);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void replies_before_their_turn_are_bounded(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/1") GET("/2"));
    struct message first = scene_begin(&scene, 0);
    struct message second = scene_begin(&scene, 0);
    struct message piece = scene_piece(&scene, 0, &second, MESSAGE_RESPONSE, 0, (struct bytes){});
    scene_reply(&scene, 0, &piece);
    piece = scene_piece(&scene, 0, &second, MESSAGE_BODY, 0, BYTES_LITERAL("x"));
    piece.body_block = MESSAGE_NO_BLOCK;
    for (int i = 0; i < 1'000; i++) {
        scene_reply(&scene, 0, &piece);
        scene_turn(&scene);
    }
    assert_true(scene.core.replies.live <= 200);
    answer(&scene, 0, &first, "first");
    scene_done(&scene, 0, &second);
    scene_close(&scene);
}

static void ten_thousand_octets_are_buffered(struct scene *scene)
{
    scene->core.settings.response_buffering = BUFFERING_ON;
    scene->core.settings.response_buffer_max = 10'000;
}

/* Says `octets` times `letter` of the response to `request`, in `block`; returns which block came back last. */
static uint32_t go_on(struct scene *scene, const struct message *request, enum message_kind kind, uint32_t block,
                      char letter, size_t octets)
{
    uint8_t body[5'000];
    struct message ignored;
    memset(body, letter, octets);
    struct message piece = scene_piece(scene, 0, request, kind, block, bytes_of(body, octets));
    scene_reply(scene, 0, &piece);
    scene_turns(scene, 2);
    assert_false(scene_take(scene, 0, &ignored));
    return scene->apps[0].last_block;
}

static void large_replies_before_their_turn_are_taken_off_the_applications_hands(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, ten_thousand_octets_are_buffered);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/1") GET("/2"));
    struct message first = scene_begin(&scene, 0);
    struct message second = scene_begin(&scene, 0);
    const uint32_t large = scene.core.setup.shape.outbound_small;
    assert_int_equal(go_on(&scene, &second, MESSAGE_RESPONSE, large, 'a', 5'000), large);
    assert_int_equal(go_on(&scene, &second, MESSAGE_BODY, 1, 'b', 1'000), 1);
    assert_int_equal(scene.core.outputs.detached_bytes, 5'000 + OUTPUT_SCRATCH_BYTES);
    /* There is no room for another. */
    assert_int_equal(go_on(&scene, &second, MESSAGE_BODY, large, 'c', 1'000), 1);
    answer(&scene, 0, &first, "first");
    scene_done(&scene, 0, &second);
    scene_turns(&scene, 8);
    const char *heard = scene_heard(&scene, fd);
    assert_non_null(strstr(heard, "first"));
    assert_non_null(strstr(strstr(strstr(heard, "first"), "aaaa"), "bbbb"));
    assert_non_null(strstr(strstr(heard, "bbbb"), "cccc"));
    assert_int_equal(scene.core.outputs.detached_bytes, 0);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_of_unknown_length_is_chunked),
        cmocka_unit_test(an_http_1_0_client_gets_a_body_that_ends_with_the_connection),
        cmocka_unit_test(head_204_and_304_have_no_body),
        cmocka_unit_test(a_body_longer_than_stated_is_cut_and_a_shorter_one_breaks_the_connection),
        cmocka_unit_test(a_broken_response_takes_none_before_it_along),
        cmocka_unit_test(a_broken_response_without_length_is_reset_when_what_was_before_it_is_sent),
        cmocka_unit_test(a_status_that_is_no_final_one_is_answered_with_502),
        cmocka_unit_test(an_interim_response_is_102_to_199_and_not_101),
        cmocka_unit_test(small_pieces_for_a_client_that_does_not_read_keep_their_blocks),
        cmocka_unit_test(an_application_that_floods_a_client_that_does_not_read_is_cut_off),
        cmocka_unit_test(one_that_floods_it_with_single_octets_is_cut_off_before_they_take_more_than_its_arena),
        cmocka_unit_test(replies_before_their_turn_are_bounded),
        cmocka_unit_test(large_replies_before_their_turn_are_taken_off_the_applications_hands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
