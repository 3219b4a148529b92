#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/io/http2_scene.h"

enum { WINDOW = 65'535, LARGE_BLOCK = 16, LAST_ID_OF_ALL = 0x7fffffff };

static uint8_t zeros[65'536];

static void open_with_app(struct http2_scene *scene, void (*adjust)(struct scene *scene))
{
    http2_scene_open(scene, adjust);
    scene_app_up(&scene->io, 0, 4, 0);
}

/* The next request, whatever is said of others before it. */
static struct message begin(struct http2_scene *scene)
{
    struct message request = {};
    http2_scene_turns(scene, 4);
    while (request.kind != MESSAGE_REQUEST)
        assert_true(scene_take(&scene->io, 0, &request));
    assert_true(scene_claim(&scene->io, 0, &request));
    return request;
}

static bool asks(struct http2_scene *scene, struct message *ret_message)
{
    http2_scene_turns(scene, 4);
    return scene_take(&scene->io, 0, ret_message);
}

static void answer(struct http2_scene *scene, const struct message *request)
{
    scene_respond(&scene->io, 0, request, 200, "hello", MESSAGE_WAS_DONE);
    http2_scene_turns(scene, 4);
}

/* A whole response whose body is so long, in a large block of the app's arena. */
static void answer_at_length(struct http2_scene *scene, const struct message *request, uint32_t block, size_t octets)
{
    struct message reply = scene_piece(&scene->io, 0, request, MESSAGE_RESPONSE, block, bytes_of(zeros, octets));
    reply.flags = MESSAGE_END | MESSAGE_WAS_DONE;
    scene_reply(&scene->io, 0, &reply);
    http2_scene_turns(scene, 4);
}

static void consume(struct http2_scene *scene, const struct message *request, uint32_t octets)
{
    const struct message consumed = {
        .kind = MESSAGE_CONSUMED, .slot = request->slot, .generation = request->generation, .count = octets};
    scene_reply(&scene->io, 0, &consumed);
    http2_scene_turns(scene, 4);
}

static void done(struct http2_scene *scene, const struct message *request)
{
    scene_done(&scene->io, 0, request);
    http2_scene_turns(scene, 4);
}

static void upload(struct http2_scene *scene, int fd, uint32_t stream, size_t octets, uint8_t flags)
{
    for (; octets > 16'384; octets -= 16'384) {
        http2_scene_frame(scene, fd, HTTP2_FRAME_DATA, 0, stream, bytes_of(zeros, 16'384));
        http2_scene_turns(scene, 4);
    }
    http2_scene_frame(scene, fd, HTTP2_FRAME_DATA, flags, stream, bytes_of(zeros, octets));
    http2_scene_turns(scene, 4);
}

/* What our WINDOW_UPDATE frames have added. */
static uint64_t widened(struct http2_scene *scene, int fd, uint32_t stream)
{
    struct http2_heard heard;
    uint64_t sum = 0;
    for (uint32_t i = 0; http2_scene_heard(scene, fd, HTTP2_FRAME_WINDOW_UPDATE, stream, i, &heard); i++)
        sum += http2_get_uint32(heard.payload.data);
    return sum;
}

/* ---- streams and slots ------------------------------------------------------------------------------------------ */

static void a_request_is_answered_and_its_stream_is_forgotten(void **state)
{
    (void)state;
    struct http2_scene scene;
    struct http2_heard heard;
    open_with_app(&scene, NULL);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_get(&scene, fd, 1);
    struct message request = begin(&scene);
    assert_true((request.flags & MESSAGE_END) != 0);
    answer(&scene, &request);
    assert_int_equal(http2_scene_status(&scene, fd, 1), 200);
    assert_true(http2_scene_heard(&scene, fd, HTTP2_FRAME_DATA, 1, 0, &heard));
    assert_memory_equal(heard.payload.data, "hello", 5);
    assert_true((heard.head.flags & HTTP2_FLAG_END_STREAM) != 0);
    assert_int_equal(scene.sessions.members.live, 0);
    assert_int_equal(scene.io.core.exchanges.live, 0);
    http2_scene_close(&scene);
}

static void octets_that_come_one_by_one_are_one_request(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, NULL);
    int fd = http2_scene_connect_silently(&scene);
    scripted_at(scene.io.core.ring, fd)->receive_max = 1;
    scripted_client_sends(scene.io.core.ring, fd, bytes_of_string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    http2_scene_frame(&scene, fd, HTTP2_FRAME_SETTINGS, 0, 0, bytes_of("", 0));
    http2_scene_get(&scene, fd, 1);
    http2_scene_turns(&scene, 100);
    struct message request = begin(&scene);
    answer(&scene, &request);
    assert_int_equal(http2_scene_status(&scene, fd, 1), 200);
    http2_scene_close(&scene);
}

static void two_streams_at_most(struct scene *scene)
{
    scene->core.settings.http2_max_concurrent_streams = 2;
}

static void a_stream_that_was_reset_counts_until_its_application_is_done(void **state)
{
    (void)state;
    struct http2_scene scene;
    struct message message;
    open_with_app(&scene, two_streams_at_most);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_get(&scene, fd, 1);
    http2_scene_get(&scene, fd, 3);
    struct message first = begin(&scene), second = begin(&scene);
    http2_scene_number(&scene, fd, HTTP2_FRAME_RST_STREAM, 1, HTTP2_CANCEL);
    http2_scene_number(&scene, fd, HTTP2_FRAME_RST_STREAM, 3, HTTP2_CANCEL);
    http2_scene_get(&scene, fd, 5);
    assert_true(asks(&scene, &message));
    assert_int_equal(message.kind, MESSAGE_CANCEL);
    assert_int_equal(http2_scene_error(&scene, fd, 5), HTTP2_REFUSED_STREAM);
    done(&scene, &first);
    http2_scene_get(&scene, fd, 7);
    http2_scene_turns(&scene, 4);
    assert_int_equal(http2_scene_error(&scene, fd, 7), -1);
    done(&scene, &second);
    http2_scene_close(&scene);
}

static void two_slots(struct scene *scene)
{
    scene->core.setup.shape.slots = 2;
}

static void a_head_for_which_no_slot_is_free_waits_unread(void **state)
{
    (void)state;
    struct http2_scene scene;
    struct message third;
    open_with_app(&scene, two_slots);
    int fd = http2_scene_connect(&scene, WINDOW);
    for (uint32_t id = 1; id <= 5; id += 2)
        http2_scene_get(&scene, fd, id);
    struct message first = begin(&scene), second = begin(&scene);
    assert_false(asks(&scene, &third));
    assert_non_null(http2_scene_session(&scene, fd)->input_first);
    answer(&scene, &first);
    third = begin(&scene);
    answer(&scene, &second);
    answer(&scene, &third);
    for (uint32_t id = 1; id <= 5; id += 2)
        assert_int_equal(http2_scene_status(&scene, fd, id), 200);
    http2_scene_close(&scene);
}

static void many_blocks(struct scene *scene)
{
    scene->core.setup.shape.staging_small = 64;
}

static void sixteen_streams_of_a_connection_begin_in_one_turn(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, many_blocks);
    int fd = http2_scene_connect(&scene, WINDOW);
    for (uint32_t id = 1; id < 41; id += 2)
        http2_scene_get(&scene, fd, id);
    for (int turns = 0; turns < 8 && scene.io.core.exchanges.live == 0; turns++)
        http2_scene_turns(&scene, 1);
    assert_int_equal(scene.io.core.exchanges.live, HTTP2_TURN_STREAMS);
    http2_scene_turns(&scene, 1);
    assert_int_equal(scene.io.core.exchanges.live, 20);
    http2_scene_close(&scene);
}

/* ---- output ----------------------------------------------------------------------------------------------------- */

static void health_at_root(struct scene *scene)
{
    scene->core.settings.health_path = (char *)(uintptr_t) "/";
}

static void head_of_health(struct http2_scene *scene, int fd, uint32_t stream)
{
    static const uint8_t block[] = {0x02, 4, 'H', 'E', 'A', 'D', 0x86, 0x84, 0x41, 1, 'a'};
    http2_scene_frame(scene, fd, HTTP2_FRAME_HEADERS, HTTP2_FLAG_END_HEADERS | HTTP2_FLAG_END_STREAM, stream,
                      bytes_of(block, sizeof block));
}

static void answers_of_our_own_to_many_streams_lie_in_one_run(void **state)
{
    (void)state;
    enum { STREAMS = 10 };
    struct http2_scene scene;
    open_with_app(&scene, health_at_root);
    int fd = http2_scene_connect(&scene, WINDOW);
    struct scripted_socket *socket = scripted_at(scene.io.core.ring, fd);
    socket->send_stalled = true;
    for (uint32_t i = 0; i < STREAMS; i++)
        http2_scene_get(&scene, fd, 2 * i + 1);
    http2_scene_turns(&scene, 4);
    struct http2_session *session = http2_scene_session(&scene, fd);
    assert_int_equal(session->connection->requests, STREAMS);
    assert_in_range(session->out.queue.piece_count, 1, 2); /* one may be in flight */
    socket->send_stalled = false;
    http2_scene_turns(&scene, 4);
    for (uint32_t i = 0; i < STREAMS; i++) {
        assert_int_equal(http2_scene_status(&scene, fd, 2 * i + 1), 200);
        assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 2 * i + 1), 3);
        assert_true(http2_scene_ended(&scene, fd, 2 * i + 1));
    }
    http2_scene_close(&scene);
}

static void an_answer_of_our_own_waits_for_its_window(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, health_at_root);
    int fd = http2_scene_connect(&scene, 0);
    http2_scene_get(&scene, fd, 1);
    http2_scene_turns(&scene, 4);
    assert_int_equal(http2_scene_status(&scene, fd, 1), 200);
    assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 1), 0);
    assert_false(http2_scene_ended(&scene, fd, 1));
    http2_scene_number(&scene, fd, HTTP2_FRAME_WINDOW_UPDATE, 1, 100);
    http2_scene_turns(&scene, 4);
    assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 1), 3);
    assert_true(http2_scene_ended(&scene, fd, 1));
    http2_scene_close(&scene);
}

static void who_ends_its_half_still_gets_what_it_has_asked_for(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, NULL);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_get(&scene, fd, 1);
    struct message request = begin(&scene);
    scripted_client_ends(scene.io.core.ring, fd);
    http2_scene_turns(&scene, 4);
    assert_int_equal(scene.sessions.sessions.live, 1);
    answer(&scene, &request);
    assert_int_equal(http2_scene_status(&scene, fd, 1), 200);
    assert_true(http2_scene_ended(&scene, fd, 1));
    assert_int_equal(scene.sessions.sessions.live, 0);
    http2_scene_close(&scene);
}

static void who_ends_its_half_inside_a_body_is_let_go(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, NULL);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_post(&scene, fd, 1);
    http2_scene_frame(&scene, fd, HTTP2_FRAME_DATA, 0, 1, bytes_of(zeros, 1'000));
    http2_scene_turns(&scene, 4);
    assert_int_equal(scene.sessions.members.live, 1);
    scripted_client_ends(scene.io.core.ring, fd);
    http2_scene_turns(&scene, 4);
    assert_int_equal(scene.sessions.sessions.live, 0);
    http2_scene_close(&scene);
}

/* Far more streams than the protocol's output has room for resets of. */
static void who_ends_its_half_inside_many_bodies_is_let_go(void **state)
{
    (void)state;
    enum { STREAMS = 60 };
    struct http2_scene scene;
    open_with_app(&scene, many_blocks);
    int fd = http2_scene_connect(&scene, WINDOW);
    for (uint32_t i = 0; i < STREAMS; i++) {
        http2_scene_post(&scene, fd, 2 * i + 1);
        http2_scene_turns(&scene, 4);
    }
    assert_int_equal(scene.sessions.members.live, STREAMS);
    scripted_client_ends(scene.io.core.ring, fd);
    http2_scene_turns(&scene, 4);
    for (uint32_t i = 0; i < STREAMS; i++)
        assert_int_equal(http2_scene_error(&scene, fd, 2 * i + 1), HTTP2_CANCEL);
    assert_int_equal(scene.sessions.sessions.live, 0);
    http2_scene_close(&scene);
}

static void who_ends_its_half_before_its_window_has_opened_is_let_go(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, health_at_root);
    int fd = http2_scene_connect(&scene, 0);
    http2_scene_get(&scene, fd, 1);
    http2_scene_turns(&scene, 4);
    assert_int_equal(http2_scene_status(&scene, fd, 1), 200);
    assert_false(http2_scene_ended(&scene, fd, 1));
    scripted_client_ends(scene.io.core.ring, fd);
    http2_scene_turns(&scene, 4);
    assert_int_equal(scene.sessions.sessions.live, 0);
    http2_scene_close(&scene);
}

static void a_response_that_comes_when_no_window_can_open_is_not_kept(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, NULL);
    int fd = http2_scene_connect(&scene, 0);
    http2_scene_get(&scene, fd, 1);
    struct message request = begin(&scene);
    scripted_client_ends(scene.io.core.ring, fd);
    http2_scene_turns(&scene, 4);
    assert_int_equal(scene.sessions.sessions.live, 1);
    answer(&scene, &request);
    assert_int_equal(scene.sessions.sessions.live, 0);
    http2_scene_close(&scene);
}

static void a_client_that_takes_no_answers_is_not_read_from(void **state)
{
    (void)state;
    enum { REQUESTS = 20'000 };
    struct http2_scene scene;
    open_with_app(&scene, health_at_root);
    int fd = http2_scene_connect(&scene, WINDOW);
    struct scripted_socket *socket = scripted_at(scene.io.core.ring, fd);
    socket->send_stalled = true;
    for (uint32_t i = 0; i < REQUESTS; i++)
        head_of_health(&scene, fd, 2 * i + 1);
    http2_scene_turns(&scene, REQUESTS / 8);
    struct http2_session *session = http2_scene_session(&scene, fd);
    uint64_t answered = session->connection->requests;
    assert_true(answered < REQUESTS);
    assert_in_range(session->out.queue.bytes, HTTP2_QUEUED_MAX, HTTP2_QUEUED_MAX + 512);
    http2_scene_turns(&scene, 100);
    assert_int_equal(session->connection->requests, answered);
    socket->send_stalled = false;
    http2_scene_turns(&scene, REQUESTS / 8);
    assert_int_equal(session->connection->requests, REQUESTS);
    http2_scene_close(&scene);
}

static void buffered_responses(struct scene *scene)
{
    scene->core.settings.response_buffering = BUFFERING_ON;
}

static void blocks_go_back_to_the_application_where_a_window_is_closed(void **state)
{
    (void)state;
    struct http2_scene scene;
    struct message message;
    open_with_app(&scene, buffered_responses);
    int fd = http2_scene_connect(&scene, 0);
    http2_scene_get(&scene, fd, 1);
    struct message request = begin(&scene);
    answer_at_length(&scene, &request, LARGE_BLOCK, 40'000);
    assert_false(asks(&scene, &message));
    assert_int_equal(scene.io.apps[0].last_block, LARGE_BLOCK);
    assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 1), 0);
    http2_scene_number(&scene, fd, HTTP2_FRAME_WINDOW_UPDATE, 1, 40'000);
    http2_scene_turns(&scene, 8);
    assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 1), 40'000);
    assert_true(http2_scene_ended(&scene, fd, 1));
    http2_scene_close(&scene);
}

static void the_more_urgent_of_two_responses_is_sent_first(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, NULL);
    int fd = http2_scene_connect(&scene, 0);
    http2_scene_get(&scene, fd, 1);
    http2_scene_get(&scene, fd, 3);
    http2_scene_frame(&scene, fd, HTTP2_FRAME_PRIORITY_UPDATE, 0, 0, bytes_of("\0\0\0\1u=5", 7));
    struct message first = begin(&scene), second = begin(&scene);
    answer_at_length(&scene, &first, LARGE_BLOCK, 30'000);
    answer_at_length(&scene, &second, LARGE_BLOCK + 1, 30'000);
    /* Both may send now, one of them only. */
    http2_scene_frame(&scene, fd, HTTP2_FRAME_SETTINGS, 0, 0, bytes_of("\0\4\0\1\0\0", 6));
    http2_scene_turns(&scene, 8);
    assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 3), 30'000);
    assert_true(http2_scene_ended(&scene, fd, 3) && http2_scene_ended(&scene, fd, 1));
    const struct scripted_socket *socket = scripted_at(scene.io.core.ring, fd);
    size_t at = 0, last_of_second = 0, first_of_first = SIZE_MAX;
    for (struct http2_frame_head head; at < socket->output_bytes; at += HTTP2_FRAME_HEAD_BYTES + head.length) {
        http2_frame_read_head(socket->output + at, &head);
        if (head.type == HTTP2_FRAME_DATA && head.stream_id == 3)
            last_of_second = at;
        if (head.type == HTTP2_FRAME_DATA && head.stream_id == 1 && first_of_first == SIZE_MAX)
            first_of_first = at;
    }
    assert_true(last_of_second < first_of_first);
    http2_scene_close(&scene);
}

/* A response of 40,000 octets waits for a window of none. */
static int wait_for_window(struct http2_scene *scene)
{
    open_with_app(scene, NULL);
    int fd = http2_scene_connect(scene, 0);
    http2_scene_get(scene, fd, 1);
    struct message request = begin(scene);
    answer_at_length(scene, &request, LARGE_BLOCK, 40'000);
    return fd;
}

static void open_window(struct http2_scene *scene, int fd, uint32_t octets)
{
    http2_scene_number(scene, fd, HTTP2_FRAME_WINDOW_UPDATE, 1, octets);
    http2_scene_turns(scene, 2);
}

static void a_window_of_a_few_octets_is_used_when_it_has_stayed_so_for_a_second(void **state)
{
    (void)state;
    struct http2_scene scene;
    int fd = wait_for_window(&scene);
    open_window(&scene, fd, 1'000);
    http2_scene_wait(&scene, 500);
    open_window(&scene, fd, 23);
    http2_scene_wait(&scene, 450);
    assert_int_equal(http2_scene_count(&scene, fd, HTTP2_FRAME_DATA, 1), 0);
    http2_scene_wait(&scene, 100);
    assert_int_equal(http2_scene_count(&scene, fd, HTTP2_FRAME_DATA, 1), 1);
    assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 1), 1'023);
    open_window(&scene, fd, 1);
    http2_scene_wait(&scene, 900);
    assert_int_equal(http2_scene_count(&scene, fd, HTTP2_FRAME_DATA, 1), 1);
    http2_scene_number(&scene, fd, HTTP2_FRAME_WINDOW_UPDATE, 1, 50'000);
    http2_scene_turns(&scene, 8);
    assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 1), 40'000);
    assert_true(http2_scene_ended(&scene, fd, 1));
    http2_scene_close(&scene);
}

static void a_small_window_of_the_connection_is_waited_out_too(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, NULL);
    int fd = http2_scene_connect(&scene, 1 << 20);
    http2_scene_get(&scene, fd, 1);
    struct message first = begin(&scene);
    http2_scene_get(&scene, fd, 3);
    struct message second = begin(&scene);
    answer_at_length(&scene, &first, LARGE_BLOCK, 40'000);
    answer_at_length(&scene, &second, LARGE_BLOCK + 1, 40'000);
    const uint64_t before = 65'535 - 40'000;
    assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 3), before);
    http2_scene_number(&scene, fd, HTTP2_FRAME_WINDOW_UPDATE, 0, 1'000);
    http2_scene_turns(&scene, 2);
    http2_scene_wait(&scene, 900);
    assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 3), before);
    http2_scene_wait(&scene, 200);
    assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 3), before + 1'000);
    http2_scene_close(&scene);
}

static void a_window_of_a_kibibyte_is_used_at_once(void **state)
{
    (void)state;
    struct http2_scene scene;
    int fd = wait_for_window(&scene);
    open_window(&scene, fd, 1'024);
    assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 1), 1'024);
    http2_scene_close(&scene);
}

static void the_end_of_a_body_waits_for_nothing_however_short_it_is(void **state)
{
    (void)state;
    struct http2_scene scene;
    int fd = wait_for_window(&scene);
    http2_scene_number(&scene, fd, HTTP2_FRAME_WINDOW_UPDATE, 1, 39'990);
    http2_scene_turns(&scene, 4);
    assert_int_equal(http2_scene_octets(&scene, fd, HTTP2_FRAME_DATA, 1), 39'990);
    http2_scene_number(&scene, fd, HTTP2_FRAME_WINDOW_UPDATE, 1, 10);
    http2_scene_turns(&scene, 4);
    assert_true(http2_scene_ended(&scene, fd, 1));
    http2_scene_close(&scene);
}

static void small_frames_beyond_ten_of_a_stream_are_glitches(void **state)
{
    (void)state;
    struct http2_scene scene;
    int fd = wait_for_window(&scene);
    struct http2_session *session = http2_scene_session(&scene, fd);
    for (uint32_t frames = 1; frames <= 12; frames++) {
        open_window(&scene, fd, 200);
        http2_scene_wait(&scene, 1'100);
        assert_int_equal(http2_scene_count(&scene, fd, HTTP2_FRAME_DATA, 1), frames);
        const uint32_t glitches = HTTP2_GLITCH_BURST - session->protocol.glitches.tokens;
        assert_int_equal(glitches, frames > 10 ? HTTP2_WEIGHT_ODD : 0); /* the one before it is forgotten by now */
    }
    http2_scene_close(&scene);
}

static void windows_that_open_octet_by_octet_are_calmed(void **state)
{
    (void)state;
    struct http2_scene scene;
    int fd = wait_for_window(&scene);
    for (int i = 0; i < 10'000 && http2_scene_error(&scene, fd, 0) <= HTTP2_NO_ERROR; i++) {
        open_window(&scene, fd, 1);
    }
    assert_int_equal(http2_scene_error(&scene, fd, 0), HTTP2_ENHANCE_YOUR_CALM);
    assert_in_range(http2_scene_count(&scene, fd, HTTP2_FRAME_DATA, 1), 0, 1);
    http2_scene_close(&scene);
}

/* ---- request bodies --------------------------------------------------------------------------------------------- */

static void credit_for_a_streamed_body_follows_the_application(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, NULL);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_post(&scene, fd, 1);
    struct message request = begin(&scene);
    upload(&scene, fd, 1, 40'000, 0);
    assert_int_equal(widened(&scene, fd, 1), 0);
    consume(&scene, &request, 40'000);
    assert_int_equal(widened(&scene, fd, 1), 40'000);
    upload(&scene, fd, 1, 10, HTTP2_FLAG_END_STREAM);
    answer(&scene, &request);
    assert_int_equal(http2_scene_status(&scene, fd, 1), 200);
    http2_scene_close(&scene);
}

static void held_requests(struct scene *scene)
{
    scene->core.settings.request_buffering = BUFFERING_ON;
    scene->core.setup.shape.upload_buffers = 16;
}

static void credit_for_a_held_body_is_given_once(void **state)
{
    (void)state;
    struct http2_scene scene;
    struct message message;
    open_with_app(&scene, held_requests);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_post(&scene, fd, 1);
    upload(&scene, fd, 1, 40'000, 0);
    assert_false(asks(&scene, &message));
    uint64_t ahead = widened(&scene, fd, 1);
    assert_in_range(ahead, 32'767, 40'000);
    upload(&scene, fd, 1, 20'000, HTTP2_FLAG_END_STREAM);
    struct message request = begin(&scene);
    assert_int_equal(http2_scene_session(&scene, fd)->first->credited_ahead, 60'000);
    consume(&scene, &request, 60'000);
    assert_int_equal(http2_scene_session(&scene, fd)->first->credited_ahead, 0);
    assert_in_range(widened(&scene, fd, 1), 0, 60'000);
    answer(&scene, &request);
    http2_scene_close(&scene);
}

static void a_response_before_the_end_of_the_upload_ends_the_upload(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, NULL);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_post(&scene, fd, 1);
    upload(&scene, fd, 1, 1'000, 0);
    struct message request = begin(&scene);
    answer(&scene, &request);
    assert_int_equal(http2_scene_status(&scene, fd, 1), 200);
    assert_true(http2_scene_ended(&scene, fd, 1));
    assert_int_equal(http2_scene_error(&scene, fd, 1), HTTP2_NO_ERROR);
    const uint64_t before = widened(&scene, fd, 0);
    for (int i = 0; i < 20; i++) { /* what was on its way costs the other streams nothing */
        upload(&scene, fd, 1, 16'384, 0);
        assert_int_equal(http2_scene_error(&scene, fd, 0), -1);
    }
    assert_in_range(widened(&scene, fd, 0) - before, 20 * 16'384 - HTTP2_CONNECTION_WINDOW / 2, 20 * 16'384 + 1'000);
    http2_scene_get(&scene, fd, 3);
    request = begin(&scene);
    answer(&scene, &request);
    assert_int_equal(http2_scene_status(&scene, fd, 3), 200);
    http2_scene_close(&scene);
}

static void without_rate(struct scene *scene)
{
    scene->core.settings.timeout_ms = 0;
    scene->core.settings.body_rate_min = 0;
}

static void a_body_that_stops_is_answered_with_408_and_the_connection_lives(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, without_rate);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_post(&scene, fd, 1);
    upload(&scene, fd, 1, 10, 0);
    struct message request = begin(&scene);
    http2_scene_wait(&scene, 29'000);
    assert_int_equal(http2_scene_status(&scene, fd, 1), 0);
    http2_scene_wait(&scene, 2'000);
    http2_scene_wait(&scene, 1'100);
    assert_int_equal(http2_scene_status(&scene, fd, 1), 408);
    done(&scene, &request);
    http2_scene_get(&scene, fd, 3);
    request = begin(&scene);
    answer(&scene, &request);
    assert_int_equal(http2_scene_status(&scene, fd, 3), 200);
    http2_scene_close(&scene);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static void a_reader_with_a_closed_window_is_given_up(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, without_rate);
    int fd = http2_scene_connect(&scene, 0);
    http2_scene_get(&scene, fd, 1);
    struct message request = begin(&scene);
    answer_at_length(&scene, &request, LARGE_BLOCK, 40'000);
    http2_scene_wait(&scene, 29'000);
    assert_int_equal(http2_scene_error(&scene, fd, 1), -1);
    http2_scene_wait(&scene, 2'000);
    http2_scene_wait(&scene, 1'100);
    assert_int_equal(http2_scene_error(&scene, fd, 1), HTTP2_CANCEL);
    assert_int_equal(scene.sessions.members.live, 0);
    http2_scene_close(&scene);
}

static void a_reader_that_says_something_every_moment_is_given_up_too(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, without_rate);
    int fd = http2_scene_connect(&scene, 0);
    http2_scene_get(&scene, fd, 1);
    struct message request = begin(&scene);
    answer_at_length(&scene, &request, LARGE_BLOCK, 40'000);
    for (int i = 0; i < 80 && http2_scene_error(&scene, fd, 1) < 0; i++) {
        http2_scene_number(&scene, fd, HTTP2_FRAME_WINDOW_UPDATE, 1, 1);
        http2_scene_wait(&scene, 400);
    }
    assert_int_equal(http2_scene_error(&scene, fd, 1), HTTP2_CANCEL);
    http2_scene_close(&scene);
}

static void idle_after_ten_seconds(struct scene *scene)
{
    scene->core.settings.keepalive_ms = 10'000;
}

static void an_idle_connection_is_told_goodbye(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, idle_after_ten_seconds);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_get(&scene, fd, 1);
    struct message request = begin(&scene);
    answer(&scene, &request);
    http2_scene_wait(&scene, 9'000);
    assert_int_equal(http2_scene_error(&scene, fd, 0), -1);
    http2_scene_wait(&scene, 1'100);
    assert_int_equal(http2_scene_error(&scene, fd, 0), HTTP2_NO_ERROR);
    http2_scene_wait(&scene, CONNECTION_LINGER_MS + 50);
    assert_true(scene_is_closed(&scene.io, fd));
    http2_scene_close(&scene);
}

static void pings_of_twenty_seconds(struct scene *scene)
{
    scene->core.settings.http2_ping_interval_ms = 20'000;
}

static void a_ping_that_is_not_answered_ends_an_idle_connection(void **state)
{
    (void)state;
    struct http2_scene scene;
    struct http2_heard ping;
    open_with_app(&scene, pings_of_twenty_seconds);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_wait(&scene, 20'100);
    assert_true(http2_scene_heard(&scene, fd, HTTP2_FRAME_PING, 0, 0, &ping));
    http2_scene_frame(&scene, fd, HTTP2_FRAME_PING, HTTP2_FLAG_ACK, 0, ping.payload);
    http2_scene_turns(&scene, 4);
    http2_scene_wait(&scene, 11'000);
    assert_int_equal(http2_scene_error(&scene, fd, 0), -1);
    http2_scene_wait(&scene, 9'100);
    assert_int_equal(http2_scene_count(&scene, fd, HTTP2_FRAME_PING, 0), 2);
    http2_scene_wait(&scene, 10'100);
    assert_int_equal(http2_scene_error(&scene, fd, 0), HTTP2_NO_ERROR);
    http2_scene_close(&scene);
}

/* ---- going ------------------------------------------------------------------------------------------------------ */

static uint32_t last_id_said(struct http2_scene *scene, int fd, uint32_t index)
{
    struct http2_heard goaway;
    assert_true(http2_scene_heard(scene, fd, HTTP2_FRAME_GOAWAY, 0, index, &goaway));
    assert_int_equal(http2_get_uint32(goaway.payload.data + 4), HTTP2_NO_ERROR);
    return http2_get_uint32(goaway.payload.data);
}

/* From the first GOAWAY on: what crosses it is served, then the last id is said, and the connection ends. */
static void expect_orderly_end(struct http2_scene *scene, int fd, uint32_t crossing)
{
    assert_int_equal(last_id_said(scene, fd, 0), LAST_ID_OF_ALL);
    http2_scene_wait(scene, 300);
    http2_scene_get(scene, fd, crossing);
    struct message request = begin(scene);
    http2_scene_wait(scene, 300);
    assert_int_equal(last_id_said(scene, fd, 1), crossing);
    http2_scene_get(scene, fd, crossing + 2);
    http2_scene_turns(scene, 4);
    assert_int_equal(http2_scene_error(scene, fd, crossing + 2), HTTP2_REFUSED_STREAM);
    answer(scene, &request);
    assert_int_equal(http2_scene_status(scene, fd, crossing), 200);
    http2_scene_wait(scene, CONNECTION_LINGER_MS + 50);
    assert_true(scene_is_closed(&scene->io, fd));
}

static void a_stop_of_the_server_serves_what_crosses_it(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, NULL);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_get(&scene, fd, 1);
    struct message request = begin(&scene);
    connections_drain(&scene.io.connections);
    http2_scene_turns(&scene, 4);
    answer(&scene, &request);
    expect_orderly_end(&scene, fd, 3);
    http2_scene_close(&scene);
}

static void one_request_of_a_connection(struct scene *scene)
{
    scene->core.settings.http2_max_requests_per_connection = 1;
}

static void a_client_whose_requests_are_used_up_goes_in_order_too(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_app(&scene, one_request_of_a_connection);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_get(&scene, fd, 1);
    struct message request = begin(&scene);
    answer(&scene, &request);
    expect_orderly_end(&scene, fd, 3);
    http2_scene_close(&scene);
}

static void a_client_that_leaves_cancels_what_it_asked_for(void **state)
{
    (void)state;
    struct http2_scene scene;
    struct message message;
    open_with_app(&scene, NULL);
    int fd = http2_scene_connect(&scene, WINDOW);
    http2_scene_get(&scene, fd, 1);
    struct message request = begin(&scene);
    scripted_at(scene.io.core.ring, fd)->receive_error = -ECONNRESET;
    assert_true(asks(&scene, &message));
    assert_int_equal(message.kind, MESSAGE_CANCEL);
    done(&scene, &request);
    assert_int_equal(scene.io.core.exchanges.live, 0);
    http2_scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered_and_its_stream_is_forgotten),
        cmocka_unit_test(octets_that_come_one_by_one_are_one_request),
        cmocka_unit_test(a_stream_that_was_reset_counts_until_its_application_is_done),
        cmocka_unit_test(a_head_for_which_no_slot_is_free_waits_unread),
        cmocka_unit_test(sixteen_streams_of_a_connection_begin_in_one_turn),
        cmocka_unit_test(answers_of_our_own_to_many_streams_lie_in_one_run),
        cmocka_unit_test(an_answer_of_our_own_waits_for_its_window),
        cmocka_unit_test(who_ends_its_half_still_gets_what_it_has_asked_for),
        cmocka_unit_test(who_ends_its_half_inside_a_body_is_let_go),
        cmocka_unit_test(who_ends_its_half_inside_many_bodies_is_let_go),
        cmocka_unit_test(who_ends_its_half_before_its_window_has_opened_is_let_go),
        cmocka_unit_test(a_response_that_comes_when_no_window_can_open_is_not_kept),
        cmocka_unit_test(a_client_that_takes_no_answers_is_not_read_from),
        cmocka_unit_test(blocks_go_back_to_the_application_where_a_window_is_closed),
        cmocka_unit_test(the_more_urgent_of_two_responses_is_sent_first),
        cmocka_unit_test(a_window_of_a_few_octets_is_used_when_it_has_stayed_so_for_a_second),
        cmocka_unit_test(a_small_window_of_the_connection_is_waited_out_too),
        cmocka_unit_test(a_window_of_a_kibibyte_is_used_at_once),
        cmocka_unit_test(the_end_of_a_body_waits_for_nothing_however_short_it_is),
        cmocka_unit_test(small_frames_beyond_ten_of_a_stream_are_glitches),
        cmocka_unit_test(windows_that_open_octet_by_octet_are_calmed),
        cmocka_unit_test(credit_for_a_streamed_body_follows_the_application),
        cmocka_unit_test(credit_for_a_held_body_is_given_once),
        cmocka_unit_test(a_response_before_the_end_of_the_upload_ends_the_upload),
        cmocka_unit_test(a_body_that_stops_is_answered_with_408_and_the_connection_lives),
        cmocka_unit_test(a_reader_with_a_closed_window_is_given_up),
        cmocka_unit_test(a_reader_that_says_something_every_moment_is_given_up_too),
        cmocka_unit_test(an_idle_connection_is_told_goodbye),
        cmocka_unit_test(a_ping_that_is_not_answered_ends_an_idle_connection),
        cmocka_unit_test(a_stop_of_the_server_serves_what_crosses_it),
        cmocka_unit_test(a_client_whose_requests_are_used_up_goes_in_order_too),
        cmocka_unit_test(a_client_that_leaves_cancels_what_it_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
