#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/http2_connection.h"

/* What the vectors of tests/vectors/http2 cannot say: the calls of a session, and what they write. */

enum { NOW_MS = 50'000, MEMORY_BYTES = 1'024, FIELDS_MAX = 10, TAIL_BYTES = 64 };

struct scene {
    struct http2_connection connection;
    struct http2_limits limits;
    struct http2_block block;
    struct hpack_field fields[FIELDS_MAX];
    uint8_t memory[MEMORY_BYTES], tail[TAIL_BYTES];
    _Alignas(8) uint8_t decoder_memory[HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES)];
    _Alignas(8) uint8_t encoder_memory[HPACK_TABLE_MEMORY(HPACK_ENCODER_BYTES)];
};

static const struct http2_limits usual_limits = {.max_concurrent_streams = 100,
                                                 .initial_window_size = 65'535,
                                                 .connection_window_size = 65'535,
                                                 .max_frame_size = 16'384,
                                                 .max_header_list_size = 65'536,
                                                 .continuation_frames_max = 8};

static void begin(struct scene *scene, const struct http2_limits *limits)
{
    *scene = (struct scene){.limits = *limits};
    scene->block = (struct http2_block){
        .section = {.memory = scene->memory, .memory_bytes = MEMORY_BYTES, .fields = scene->fields},
        .tail = scene->tail,
        .tail_max = TAIL_BYTES,
    };
    scene->block.section.fields_max = FIELDS_MAX;
    http2_connection_init(&scene->connection, &scene->limits, scene->decoder_memory, scene->encoder_memory, NOW_MS);
}

static struct http2_event feed(struct scene *scene, const void *data, size_t length)
{
    size_t consumed;
    return http2_connection_feed(&scene->connection, &scene->block, bytes_of(data, length), NOW_MS, &consumed);
}

#define GREETING "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
#define GET(id)                              \
    "\0\0\6\1\5\0\0\0" id "\x82\x87\x84\1\1" \
    "a"

/* A connection with a request on stream 1. */
static void begin_with_request(struct scene *scene, struct http2_stream *stream)
{
    begin(scene, &usual_limits);
    struct http2_event event = feed(scene, GREETING GET("\1"), sizeof(GREETING GET("\1")) - 1);
    assert_int_equal(event.kind, HTTP2_HEAD);
    *stream = (struct http2_stream){};
    http2_connection_open(&scene->connection, stream, event.stream_id, event.end_stream, -1);
    scene->connection.output_used = 0;
}

static void assert_output(struct scene *scene, const void *expected, size_t length)
{
    assert_int_equal(scene->connection.output_used, length);
    assert_memory_equal(scene->connection.output, expected, length);
    scene->connection.output_used = 0;
}

#define ASSERT_OUTPUT(scene, text) assert_output(scene, text, sizeof(text) - 1)

static void settings_are_sent_first(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, &usual_limits);
    ASSERT_OUTPUT(&scene, "\0\0\x1e\4\0\0\0\0\0"
                          "\0\3\0\0\0\x64"
                          "\0\4\0\0\xff\xff"
                          "\0\5\0\0\x40\0"
                          "\0\6\0\1\0\0"
                          "\0\x9\0\0\0\1");
}

static void larger_windows_and_extended_connect_are_announced(void **state)
{
    (void)state;
    struct http2_limits limits = usual_limits;
    limits.initial_window_size = 1'048'576;
    limits.connection_window_size = 2'097'152;
    limits.enable_connect_protocol = true;
    struct scene scene;
    begin(&scene, &limits);
    ASSERT_OUTPUT(&scene, "\0\0\x24\4\0\0\0\0\0"
                          "\0\3\0\0\0\x64"
                          "\0\4\0\x10\0\0"
                          "\0\5\0\0\x40\0"
                          "\0\6\0\1\0\0"
                          "\0\x9\0\0\0\1"
                          "\0\x8\0\0\0\1"
                          "\0\0\4\x8\0\0\0\0\0"
                          "\0\x1f\0\1");
}

static void prefaces_are_recognised_by_any_beginning(void **state)
{
    (void)state;
    assert_true(http2_preface_matches(BYTES_LITERAL("")));
    assert_true(http2_preface_matches(BYTES_LITERAL("P")));
    assert_true(http2_preface_matches(BYTES_LITERAL("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")));
    assert_true(http2_preface_matches(BYTES_LITERAL("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore")));
    assert_false(http2_preface_matches(BYTES_LITERAL("POST")));
    assert_false(http2_preface_matches(BYTES_LITERAL("PRI * HTTP/2.0\r\n\r\nSM\r\n\r ")));
}

static void goaway_says_why(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, &usual_limits);
    scene.connection.output_used = 0;
    http2_connection_fail(&scene.connection, HTTP2_INTERNAL_ERROR, "because");
    http2_connection_fail(&scene.connection, HTTP2_PROTOCOL_ERROR, "another");
    ASSERT_OUTPUT(&scene, "\0\0\xf\7\0\0\0\0\0"
                          "\0\0\0\0"
                          "\0\0\0\2"
                          "because");
    assert_int_equal(scene.connection.failure, HTTP2_INTERNAL_ERROR);
    assert_string_equal(scene.connection.failure_text, "because");
}

static void goaway_says_no_more_than_64_octets(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, &usual_limits);
    scene.connection.output_used = 0;
    http2_connection_fail(&scene.connection, HTTP2_INTERNAL_ERROR,
                          "0123456789012345678901234567890123456789012345678901234567890123456789");
    assert_int_equal(scene.connection.output_used, HTTP2_FRAME_HEAD_BYTES + 8 + 64);
}

static void a_failed_connection_says_and_reads_nothing(void **state)
{
    (void)state;
    struct scene scene;
    struct http2_stream stream;
    begin_with_request(&scene, &stream);
    http2_connection_fail(&scene.connection, HTTP2_INTERNAL_ERROR, "");
    scene.connection.output_used = 0;
    http2_connection_consumed(&scene.connection, &stream, 60'000);
    http2_connection_drain(&scene.connection);
    http2_connection_drain_finally(&scene.connection);
    http2_connection_ping(&scene.connection, NOW_MS);
    http2_connection_refuse(&scene.connection, 3, HTTP2_CANCEL, 1, NOW_MS);
    http2_connection_on_time(&scene.connection, NOW_MS + 60'000);
    assert_false(http2_connection_glitch(&scene.connection, 1, NOW_MS));
    assert_int_equal(http2_connection_deadline(&scene.connection), 0);
    struct http2_event event = feed(&scene, GET("\3"), sizeof(GET("\3")) - 1);
    assert_int_equal(event.kind, HTTP2_FAILED);
    assert_int_equal(event.error, HTTP2_INTERNAL_ERROR);
    http2_connection_forget(&scene.connection, &stream);
    assert_int_equal(scene.connection.stream_count, 0);
    assert_int_equal(scene.connection.output_used, 0);
}

static void data_heads_take_from_both_windows(void **state)
{
    (void)state;
    struct scene scene;
    struct http2_stream stream;
    uint8_t head[HTTP2_FRAME_HEAD_BYTES];
    begin_with_request(&scene, &stream);
    http2_connection_data(&scene.connection, &stream, 16'384, false, head);
    assert_memory_equal(head, "\0\x40\0\0\0\0\0\0\1", sizeof(head));
    assert_int_equal(http2_connection_sendable(&scene.connection, &stream), 65'535 - 16'384);
    http2_connection_data(&scene.connection, &stream, 1, true, head);
    assert_memory_equal(head, "\0\0\1\0\1\0\0\0\1", sizeof(head));
    assert_int_equal(stream.state, HTTP2_STREAM_CLOSED);
    assert_int_equal(http2_connection_sendable(&scene.connection, &stream), 0);
    http2_connection_forget(&scene.connection, &stream);
    assert_int_equal(scene.connection.output_used, 0);
}

static void a_wider_window_is_said_with_what_was_consumed(void **state)
{
    (void)state;
    struct scene scene;
    struct http2_stream stream;
    begin_with_request(&scene, &stream);
    stream.state = HTTP2_STREAM_OPEN;
    scene.connection.receive_window = stream.receive_window = 65'535 - 0x100;
    http2_connection_consumed(&scene.connection, &stream, 0x100);
    http2_connection_widen(&scene.connection, &stream, 0x2000);
    ASSERT_OUTPUT(&scene, "\0\0\4\x8\0\0\0\0\1"
                          "\0\0\x21\0");
    http2_connection_widen(&scene.connection, NULL, 0x1000);
    ASSERT_OUTPUT(&scene, "\0\0\4\x8\0\0\0\0\0"
                          "\0\0\x11\0");
    assert_int_equal(stream.receive_window, 65'535 + 0x2000);
    assert_int_equal(scene.connection.receive_window, 65'535 + 0x1000);
}

static void what_a_narrowed_window_had_too_much_is_not_given_again(void **state)
{
    (void)state;
    struct scene scene;
    struct http2_stream stream;
    begin_with_request(&scene, &stream);
    http2_connection_widen(&scene.connection, NULL, 100'000);
    http2_connection_narrow(&scene.connection, 100'000);
    scene.connection.output_used = 0;
    scene.connection.receive_window -= 110'000;
    http2_connection_consumed(&scene.connection, NULL, 110'000);
    assert_int_equal(scene.connection.output_used, 0);
    assert_int_equal(scene.connection.receive_window + scene.connection.unannounced, 65'535);
    http2_connection_consumed(&scene.connection, NULL, 40'000);
    ASSERT_OUTPUT(&scene, "\0\0\4\x8\0\0\0\0\0"
                          "\0\0\xc3\x50");
}

static void a_window_that_grows_again_needs_not_be_said(void **state)
{
    (void)state;
    struct scene scene;
    struct http2_stream stream;
    begin_with_request(&scene, &stream);
    http2_connection_widen(&scene.connection, NULL, 100'000);
    http2_connection_narrow(&scene.connection, 100'000);
    scene.connection.output_used = 0;
    http2_connection_widen(&scene.connection, NULL, 60'000);
    assert_int_equal(scene.connection.output_used, 0);
    assert_int_equal(scene.connection.excess, 40'000);
    assert_int_equal(scene.connection.receive_window, 165'535);
}

static void a_small_block_is_one_headers_frame(void **state)
{
    (void)state;
    struct scene scene;
    struct http2_stream stream;
    uint8_t out[HTTP2_FRAME_HEAD_BYTES + 4] = "_________abcd";
    begin_with_request(&scene, &stream);
    assert_int_equal(http2_connection_head_max(&scene.connection, 4), sizeof(out));
    assert_int_equal(http2_connection_head(&scene.connection, &stream, 4, false, out), sizeof(out));
    assert_memory_equal(out,
                        "\0\0\4\1\4\0\0\0\1"
                        "abcd",
                        sizeof(out));
    assert_int_equal(stream.state, HTTP2_STREAM_HALF_CLOSED_REMOTE);
}

static void an_empty_block_is_one_headers_frame(void **state)
{
    (void)state;
    struct scene scene;
    struct http2_stream stream;
    uint8_t out[HTTP2_FRAME_HEAD_BYTES];
    begin_with_request(&scene, &stream);
    assert_int_equal(http2_connection_head(&scene.connection, &stream, 0, true, out), sizeof(out));
    assert_memory_equal(out, "\0\0\0\1\5\0\0\0\1", sizeof(out));
    assert_int_equal(stream.state, HTTP2_STREAM_CLOSED);
}

/* One block of so many octets, put together again from its frames. */
static void assert_block_of(struct scene *scene, struct http2_stream *stream, size_t block_bytes, size_t frames)
{
    size_t most = http2_connection_head_max(&scene->connection, block_bytes);
    assert_int_equal(most, block_bytes + frames * HTTP2_FRAME_HEAD_BYTES);
    uint8_t *out = malloc(most);
    assert_non_null(out);
    for (size_t i = 0; i < block_bytes; i++)
        out[HTTP2_FRAME_HEAD_BYTES + i] = (uint8_t)(i * 31 + i / 251);
    assert_int_equal(http2_connection_head(&scene->connection, stream, block_bytes, false, out), most);
    size_t at = 0, block_at = 0;
    for (size_t frame = 0; frame < frames; frame++) {
        struct http2_frame_head head;
        http2_frame_read_head(out + at, &head);
        at += HTTP2_FRAME_HEAD_BYTES;
        assert_int_equal(head.type, frame == 0 ? HTTP2_FRAME_HEADERS : HTTP2_FRAME_CONTINUATION);
        assert_int_equal(head.flags, frame + 1 == frames ? HTTP2_FLAG_END_HEADERS : 0);
        assert_int_equal(head.stream_id, 1);
        for (uint32_t i = 0; i < head.length; i++, block_at++)
            assert_int_equal(out[at + i], (uint8_t)(block_at * 31 + block_at / 251));
        at += head.length;
    }
    assert_int_equal(at, most);
    assert_int_equal(block_at, block_bytes);
    free(out);
}

static void a_large_block_goes_on_in_continuation_frames(void **state)
{
    (void)state;
    struct scene scene;
    struct http2_stream stream;
    begin_with_request(&scene, &stream);
    assert_block_of(&scene, &stream, 16'384, 1);
    assert_block_of(&scene, &stream, 16'385, 2);
    assert_block_of(&scene, &stream, 3 * 16'384, 3);
    assert_block_of(&scene, &stream, 3 * 16'384 + 5, 4);
    scene.connection.peer_max_frame = 20'000;
    assert_block_of(&scene, &stream, 20'000, 1);
}

static void many_streams_are_found_in_any_order(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    struct scene scene;
    static struct http2_stream streams[COUNT];
    begin(&scene, &usual_limits);
    for (uint32_t i = 0; i < COUNT; i++)
        http2_connection_open(&scene.connection, &streams[i], 2 * i + 1, true, -1);
    assert_int_equal(scene.connection.stream_count, COUNT);
    for (uint32_t i = 0; i < COUNT; i += 3) {
        http2_connection_reset(&scene.connection, &streams[i], HTTP2_CANCEL);
        scene.connection.output_used = 0;
        http2_connection_forget(&scene.connection, &streams[i]);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        const struct http2_stream *expected = i % 3 == 0 ? NULL : &streams[i];
        assert_ptr_equal(http2_connection_find(&scene.connection, 2 * i + 1), expected);
    }
    assert_null(http2_connection_find(&scene.connection, 2 * COUNT + 1));
    assert_int_equal(scene.connection.accepted_stream_id, 2 * COUNT - 1);
}

static void a_full_output_stops_reading(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, &usual_limits);
    static const char pings[] = GREETING "\0\0\x8\6\0\0\0\0\0"
                                         "00000000"
                                         "\0\0\x8\6\0\0\0\0\0"
                                         "11111111";
    scene.connection.output_used = 300;
    size_t consumed;
    struct http2_event event =
        http2_connection_feed(&scene.connection, &scene.block, bytes_of(pings, sizeof(pings) - 1), NOW_MS, &consumed);
    assert_int_equal(event.kind, HTTP2_DRAIN);
    assert_int_equal(consumed, 0);
    assert_int_equal(scene.connection.output_used, 300);
    scene.connection.output_used = 0;
    event = feed(&scene, pings, sizeof(pings) - 1);
    assert_int_equal(event.kind, HTTP2_NEED_MORE);
    ASSERT_OUTPUT(&scene, "\0\0\0\4\1\0\0\0\0"
                          "\0\0\x8\6\1\0\0\0\0"
                          "00000000"
                          "\0\0\x8\6\1\0\0\0\0"
                          "11111111");
}

static void only_a_block_in_progress_is_kept(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, &usual_limits);
    assert_int_equal(feed(&scene, GREETING, sizeof(GREETING) - 1).kind, HTTP2_NEED_MORE);
    assert_false(http2_connection_in_block(&scene.connection));
    assert_int_equal(feed(&scene, GET("\1"), 8).kind, HTTP2_NEED_MORE);
    assert_false(http2_connection_in_block(&scene.connection));
    assert_int_equal(feed(&scene, &GET("\1")[8], 2).kind, HTTP2_NEED_MORE);
    assert_true(http2_connection_in_block(&scene.connection));
    assert_int_equal(feed(&scene, &GET("\1")[10], 5).kind, HTTP2_HEAD);
    assert_false(http2_connection_in_block(&scene.connection));
}

static void the_deadline_is_the_next_of_all(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, &usual_limits);
    assert_int_equal(http2_connection_deadline(&scene.connection), NOW_MS + 5'000);
    (void)feed(&scene, GREETING, sizeof(GREETING) - 1);
    assert_int_equal(http2_connection_deadline(&scene.connection), NOW_MS + 10'000);
    (void)feed(&scene, "\0\0\0\4\1\0\0\0\0", 9);
    assert_int_equal(http2_connection_deadline(&scene.connection), 0);
    http2_connection_ping(&scene.connection, NOW_MS + 700);
    assert_int_equal(http2_connection_deadline(&scene.connection), NOW_MS + 10'700);
    (void)feed(&scene, GET("\1"), 10);
    assert_int_equal(http2_connection_deadline(&scene.connection), NOW_MS + 10'000);
}

static void a_time_of_zero_is_a_time(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, &usual_limits);
    http2_connection_init(&scene.connection, &scene.limits, scene.decoder_memory, scene.encoder_memory, 0);
    assert_int_equal(http2_connection_deadline(&scene.connection), 5'001);
}

static void padding_without_end_fails_the_connection(void **state)
{
    (void)state;
    /* H2-20: an octet of data and 255 of padding in each frame; the windows are opened again at once. */
    struct scene scene;
    struct http2_stream stream;
    struct http2_event event;
    uint8_t frame[HTTP2_FRAME_HEAD_BYTES + 257] = "\0\1\1\0\x8\0\0\0\3\xff";
    begin_with_request(&scene, &stream);
    static const char post[] = "\0\0\6\1\4\0\0\0\3\x83\x87\x84\1\1"
                               "a";
    struct http2_stream upload = {};
    event = feed(&scene, post, sizeof(post) - 1);
    http2_connection_open(&scene.connection, &upload, event.stream_id, false, -1);
    int count = 0;
    for (;; count++) {
        event = feed(&scene, frame, sizeof(frame));
        if (event.kind == HTTP2_FAILED)
            break;
        assert_int_equal(event.kind, HTTP2_DATA);
        http2_connection_consumed(&scene.connection, &upload, 1);
        scene.connection.output_used = 0;
        /* All of the frame but its padding was consumed. */
        while (feed(&scene, frame, scene.connection.reader.padding_left).kind == HTTP2_DRAIN)
            scene.connection.output_used = 0;
    }
    assert_int_equal(event.error, HTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(count, 1'048'576 / (9 + 256 - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_are_sent_first),
        cmocka_unit_test(larger_windows_and_extended_connect_are_announced),
        cmocka_unit_test(prefaces_are_recognised_by_any_beginning),
        cmocka_unit_test(goaway_says_why),
        cmocka_unit_test(goaway_says_no_more_than_64_octets),
        cmocka_unit_test(a_failed_connection_says_and_reads_nothing),
        cmocka_unit_test(data_heads_take_from_both_windows),
        cmocka_unit_test(a_wider_window_is_said_with_what_was_consumed),
        cmocka_unit_test(what_a_narrowed_window_had_too_much_is_not_given_again),
        cmocka_unit_test(a_window_that_grows_again_needs_not_be_said),
        cmocka_unit_test(a_small_block_is_one_headers_frame),
        cmocka_unit_test(an_empty_block_is_one_headers_frame),
        cmocka_unit_test(a_large_block_goes_on_in_continuation_frames),
        cmocka_unit_test(many_streams_are_found_in_any_order),
        cmocka_unit_test(a_full_output_stops_reading),
        cmocka_unit_test(only_a_block_in_progress_is_kept),
        cmocka_unit_test(the_deadline_is_the_next_of_all),
        cmocka_unit_test(a_time_of_zero_is_a_time),
        cmocka_unit_test(padding_without_end_fails_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
