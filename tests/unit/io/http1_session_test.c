#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/exchange/field_block.h"
#include "tests/unit/io/io_scene.h"

#define GET(path)  "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(rest) "POST / HTTP/1.1\r\nHost: a\r\n" rest

static void expect_in(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in \"%.600s\"", part, text);
}

static void expect_not_in(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        fail_msg("\"%s\" is in \"%.600s\"", part, text);
}

static uint32_t count_in(const char *text, const char *part)
{
    uint32_t count = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        count++;
    return count;
}

static void open_with_app(struct scene *scene, void (*adjust)(struct scene *scene))
{
    scene_open(scene, adjust);
    scene_app_up(scene, 0, 4, 0);
}

static void answer(struct scene *scene, uint32_t app, const struct message *request, const char *body)
{
    scene_respond(scene, app, request, 200, body, MESSAGE_WAS_DONE);
    scene_turns(scene, 4);
}

static int expect_status(struct scene *scene, int fd, const char *status)
{
    expect_in(scene_heard(scene, fd), status);
    return fd;
}

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
    scene.core.draining = true;
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

/* ---- faults ----------------------------------------------------------------------------------------------------- */

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

/* ---- deadlines -------------------------------------------------------------------------------------------------- */

static void a_slow_head_is_answered_with_408(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, "GET / HT");
    scene_wait(&scene, 9'900);
    assert_string_equal(scene_heard(&scene, fd), "");
    scene_wait(&scene, 200);
    expect_in(scene_heard(&scene, fd), "HTTP/1.1 408");
    scene_close(&scene);
}

static void a_silent_connection_is_closed_without_a_word(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_wait(&scene, 5'100);
    scene_wait(&scene, 5'100);
    scene_wait(&scene, CONNECTION_LINGER_MS + 50);
    assert_true(scene_is_closed(&scene, fd));
    assert_string_equal(scene_heard(&scene, fd), "");
    scene_close(&scene);
}

static void a_stuck_body_is_answered_with_408(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    scene.core.settings.body_rate_min = 0;
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, POST("Content-Length: 4\r\n\r\nab"));
    struct message request = scene_begin(&scene, 0);
    scene_wait(&scene, 29'900);
    assert_string_equal(scene_heard(&scene, fd), "");
    scene_wait(&scene, 200);
    expect_in(scene_heard(&scene, fd), "HTTP/1.1 408");
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void a_body_below_the_rate_is_ended_and_a_client_that_may_not_send_is_not(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    scene.core.settings.timeout_ms = 0;
    int slow = scene_connect(&scene);
    int held = scene_connect(&scene);
    static char kibibytes[80 * 1024 + 1];
    memset(kibibytes, 'x', sizeof kibibytes - 1);
    scene_say(&scene, slow, POST("Content-Length: 400000\r\n\r\nab"));
    struct message first = scene_begin(&scene, 0);
    scene_say(&scene, held, POST("Content-Length: 90000\r\n\r\n"));
    struct message second = scene_begin(&scene, 0);
    struct message message;
    scene_say(&scene, held, kibibytes); /* the application takes 64 KiB, and then nothing for two minutes */
    uint32_t waiting = 0;
    while (scene_take(&scene, 0, &message))
        waiting += message.body_length;
    assert_true(waiting >= 65'536);
    for (int seconds = 0; seconds < 120; seconds += 5)
        scene_wait(&scene, 5'000);
    expect_in(scene_heard(&scene, slow), "HTTP/1.1 408");
    assert_string_equal(scene_heard(&scene, held), "");
    struct message consumed = {
        .kind = MESSAGE_CONSUMED, .slot = second.slot, .generation = second.generation, .count = waiting};
    scene_reply(&scene, 0, &consumed);
    scene_wait(&scene, 2'000);
    scene_wait(&scene, 2'000);
    assert_string_equal(scene_heard(&scene, held), "");
    scene_done(&scene, 0, &first);
    scene_done(&scene, 0, &second);
    scene_close(&scene);
}

/* How many ticks of that time find a deadline that has passed already. */
static uint32_t ticks_overdue(struct scene *scene, uint64_t ms)
{
    uint32_t ticks = 0;
    for (uint64_t at = 0; at < ms; at += TIMER_WHEEL_TICK_MS) {
        scene_wait(scene, TIMER_WHEEL_TICK_MS);
        const struct connection *connection = scene->connections.by_index[0];
        assert_non_null(connection);
        ticks += connection->deadline_ms != 0 && connection->deadline_ms <= scene->core.now_ms;
    }
    return ticks;
}

static void a_body_that_is_slow_enough_is_looked_at_once_a_second(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    static char start[40'001];
    memset(start, 'x', sizeof start - 1);
    scene_say(&scene, fd, POST("Content-Length: 400000\r\n\r\n"));
    struct message request = scene_begin(&scene, 0);
    scene_say(&scene, fd, start);
    scene_wait(&scene, 11'000);
    assert_true(ticks_overdue(&scene, 4'000) <= 6);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void a_refused_client_that_does_not_read_costs_no_timer_a_tick(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scripted_at(scene.core.ring, fd)->send_stalled = true;
    scene_say(&scene, fd, "GET / HT");
    scene_wait(&scene, 10'100); /* 408, which it does not take */
    assert_true(ticks_overdue(&scene, 4'000) <= 2);
    scene_wait(&scene, 27'000);
    assert_true(scene_is_closed(&scene, fd)); /* by write_timeout */
    scene_close(&scene);
}

static void a_client_that_does_not_take_its_answer_is_reset(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scripted_at(scene.core.ring, fd)->send_stalled = true;
    scene_say(&scene, fd, GET("/"));
    struct message request = scene_begin(&scene, 0);
    answer(&scene, 0, &request, "unwanted");
    scene_wait(&scene, 29'000);
    assert_false(scene_is_closed(&scene, fd));
    scene_wait(&scene, 1'100);
    assert_true(scene_is_closed(&scene, fd));
    scene_close(&scene);
}

static void an_idle_connection_is_parked_and_wakes_and_ends(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/1"));
    struct message request = scene_begin(&scene, 0);
    answer(&scene, 0, &request, "one");
    scene_wait(&scene, CONNECTION_PARK_MS + 50);
    assert_false(scripted_at(scene.core.ring, fd)->receive.armed);
    assert_true(scripted_at(scene.core.ring, fd)->poll.armed);
    scene_say(&scene, fd, GET("/2"));
    request = scene_begin(&scene, 0);
    answer(&scene, 0, &request, "two");
    expect_in(scene_heard(&scene, fd), "two");
    scene_wait(&scene, CONNECTION_PARK_MS + 50);
    scene_wait(&scene, 75'000);
    scene_wait(&scene, CONNECTION_LINGER_MS + 50);
    assert_true(scene_is_closed(&scene, fd));
    scene_close(&scene);
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

static void one_slot(struct scene *scene)
{
    scene->core.setup.shape.slots = 1;
}

static void a_client_that_has_ended_its_half_is_served_what_still_waits_for_a_slot(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, one_slot);
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

static void a_complete_response_survives_its_application(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    scene_app_up(&scene, 1, 4, 0);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/1") GET("/2"));
    struct message first = scene_begin(&scene, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered_and_the_connection_waits_for_the_next),
        cmocka_unit_test(a_head_cut_at_every_octet_is_one_request),
        cmocka_unit_test(pipelined_answers_leave_in_the_order_of_requests),
        cmocka_unit_test(a_request_that_changes_things_waits_for_those_before_it),
        cmocka_unit_test(what_is_pipelined_behind_a_response_that_closes_is_not_answered),
        cmocka_unit_test(an_application_may_end_the_connection),
        cmocka_unit_test(a_body_of_unknown_length_is_chunked),
        cmocka_unit_test(an_http_1_0_client_gets_a_body_that_ends_with_the_connection),
        cmocka_unit_test(head_204_and_304_have_no_body),
        cmocka_unit_test(a_body_longer_than_stated_is_cut_and_a_shorter_one_breaks_the_connection),
        cmocka_unit_test(a_broken_response_takes_none_before_it_along),
        cmocka_unit_test(a_broken_response_without_length_is_reset_when_what_was_before_it_is_sent),
        cmocka_unit_test(a_status_that_is_no_final_one_is_answered_with_502),
        cmocka_unit_test(an_interim_response_is_102_to_199_and_not_101),
        cmocka_unit_test(a_client_that_waits_is_told_to_continue_when_the_application_reads),
        cmocka_unit_test(a_client_that_waits_for_continue_and_gets_an_answer_is_closed),
        cmocka_unit_test(an_unread_body_is_read_past_and_the_application_hears_that_no_more_comes),
        cmocka_unit_test(a_bad_chunk_after_the_response_began_never_becomes_a_second_response),
        cmocka_unit_test(one_client_of_single_octets_does_not_pin_all_receive_buffers),
        cmocka_unit_test(a_body_in_single_octets_is_a_bounded_number_of_pieces),
        cmocka_unit_test(a_streamed_body_in_small_pieces_waits_where_no_block_is_free),
        cmocka_unit_test(a_head_in_pieces_waits_where_no_block_is_free),
        cmocka_unit_test(a_client_that_ends_after_its_request_gets_the_answer),
        cmocka_unit_test(a_request_of_an_ended_client_that_waits_for_a_slot_is_served),
        cmocka_unit_test(an_end_at_any_octet_of_a_request_leaves_nothing),
        cmocka_unit_test(a_reset_cancels_what_was_asked),
        cmocka_unit_test(a_failed_send_at_any_octet_leaves_nothing),
        cmocka_unit_test(short_sends_and_eagain_lose_no_octet),
        cmocka_unit_test(a_bad_request_behind_good_ones_is_answered_after_them),
        cmocka_unit_test(the_rest_of_a_bad_client_is_read_for_a_second_and_a_mebibyte),
        cmocka_unit_test(a_slow_head_is_answered_with_408),
        cmocka_unit_test(a_silent_connection_is_closed_without_a_word),
        cmocka_unit_test(a_stuck_body_is_answered_with_408),
        cmocka_unit_test(a_body_below_the_rate_is_ended_and_a_client_that_may_not_send_is_not),
        cmocka_unit_test(a_body_that_is_slow_enough_is_looked_at_once_a_second),
        cmocka_unit_test(a_refused_client_that_does_not_read_costs_no_timer_a_tick),
        cmocka_unit_test(a_client_that_does_not_take_its_answer_is_reset),
        cmocka_unit_test(an_idle_connection_is_parked_and_wakes_and_ends),
        cmocka_unit_test(small_pieces_for_a_client_that_does_not_read_keep_their_blocks),
        cmocka_unit_test(an_application_that_floods_a_client_that_does_not_read_is_cut_off),
        cmocka_unit_test(one_that_floods_it_with_single_octets_is_cut_off_before_they_take_more_than_its_arena),
        cmocka_unit_test(replies_before_their_turn_are_bounded),
        cmocka_unit_test(a_client_that_has_ended_its_half_is_served_what_still_waits_for_a_slot),
        cmocka_unit_test(a_complete_response_survives_its_application),
        cmocka_unit_test(a_session_may_close_its_connection_while_nothing_is_armed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
