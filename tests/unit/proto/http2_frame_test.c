#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proto/http2_frame.h"

static void heads_come_back_as_they_were_written(void **state)
{
    (void)state;
    const struct http2_frame_head head = {
        .length = 0x123456, .stream_id = 0x7edcba98, .type = HTTP2_FRAME_PRIORITY_UPDATE, .flags = 0x2d};
    const uint8_t expected[] = {0x12, 0x34, 0x56, 0x10, 0x2d, 0x7e, 0xdc, 0xba, 0x98};
    uint8_t octets[HTTP2_FRAME_HEAD_BYTES];
    http2_frame_write_head(&head, octets);
    assert_memory_equal(octets, expected, sizeof(expected));
    struct http2_frame_head read;
    http2_frame_read_head(octets, &read);
    assert_int_equal(read.length, head.length);
    assert_int_equal(read.stream_id, head.stream_id);
    assert_int_equal(read.type, head.type);
    assert_int_equal(read.flags, head.flags);
}

static void the_reserved_bit_is_no_part_of_an_id(void **state)
{
    (void)state;
    const uint8_t octets[] = {0, 0, 0, 0, 0, 0x80, 0, 0, 1};
    struct http2_frame_head head;
    http2_frame_read_head(octets, &head);
    assert_int_equal(head.stream_id, 1);
}

static void errors_have_names(void **state)
{
    (void)state;
    assert_string_equal(http2_error_name(HTTP2_NO_ERROR), "NO_ERROR");
    assert_string_equal(http2_error_name(HTTP2_STREAM_CLOSED_ERROR), "STREAM_CLOSED");
    assert_string_equal(http2_error_name(HTTP2_HTTP_1_1_REQUIRED), "HTTP_1_1_REQUIRED");
    assert_string_equal(http2_error_name(14), "UNKNOWN");
    assert_string_equal(http2_error_name(UINT32_MAX), "UNKNOWN");
}

enum { ZERO = 0, SOME = 1 };

static enum http2_error check(uint8_t type, uint32_t stream_id, uint32_t length, uint8_t flags)
{
    const struct http2_frame_head head = {.length = length, .stream_id = stream_id, .type = type, .flags = flags};
    return http2_frame_check(&head, 16'384);
}

/* Every type with and without a stream, and the lengths at the edges of what it may be. */
static void frames_follow_the_table_of_rules(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        bool zero_allowed, some_allowed;
        uint32_t good_length, bad_length; /* 0: none is bad */
    } rows[] = {
        {HTTP2_FRAME_DATA, false, true, 0, 0},
        {HTTP2_FRAME_HEADERS, false, true, 0, 0},
        {HTTP2_FRAME_PRIORITY, false, true, 5, 4},
        {HTTP2_FRAME_PRIORITY, false, true, 5, 6},
        {HTTP2_FRAME_RST_STREAM, false, true, 4, 3},
        {HTTP2_FRAME_RST_STREAM, false, true, 4, 5},
        {HTTP2_FRAME_SETTINGS, true, false, 0, 5},
        {HTTP2_FRAME_SETTINGS, true, false, 12, 13},
        {HTTP2_FRAME_PUSH_PROMISE, false, false, 4, 0},
        {HTTP2_FRAME_PING, true, false, 8, 7},
        {HTTP2_FRAME_PING, true, false, 8, 9},
        {HTTP2_FRAME_GOAWAY, true, false, 8, 7},
        {HTTP2_FRAME_GOAWAY, true, false, 16'384, 7},
        {HTTP2_FRAME_WINDOW_UPDATE, true, true, 4, 3},
        {HTTP2_FRAME_WINDOW_UPDATE, true, true, 4, 5},
        {HTTP2_FRAME_CONTINUATION, false, true, 0, 0},
        {HTTP2_FRAME_PRIORITY_UPDATE, true, false, 4, 3},
        {0x0a, true, true, 0, 0},
        {0x11, true, true, 3, 0},
        {0xff, true, true, 16'384, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(check(rows[i].type, ZERO, rows[i].good_length, 0),
                         rows[i].zero_allowed ? HTTP2_NO_ERROR : HTTP2_PROTOCOL_ERROR);
        assert_int_equal(check(rows[i].type, SOME, rows[i].good_length, 0),
                         rows[i].some_allowed ? HTTP2_NO_ERROR : HTTP2_PROTOCOL_ERROR);
        assert_int_equal(check(rows[i].type, SOME, 16'385, 0), HTTP2_FRAME_SIZE_ERROR);
        if (rows[i].bad_length > 0)
            assert_int_equal(check(rows[i].type, rows[i].zero_allowed ? ZERO : SOME, rows[i].bad_length, 0),
                             HTTP2_FRAME_SIZE_ERROR);
    }
}

static void what_flags_announce_must_fit(void **state)
{
    (void)state;
    assert_int_equal(check(HTTP2_FRAME_DATA, 1, 0, HTTP2_FLAG_PADDED), HTTP2_FRAME_SIZE_ERROR);
    assert_int_equal(check(HTTP2_FRAME_DATA, 1, 1, HTTP2_FLAG_PADDED), HTTP2_NO_ERROR);
    assert_int_equal(check(HTTP2_FRAME_DATA, 1, 0, HTTP2_FLAG_PRIORITY), HTTP2_NO_ERROR);
    assert_int_equal(check(HTTP2_FRAME_HEADERS, 1, 4, HTTP2_FLAG_PRIORITY), HTTP2_FRAME_SIZE_ERROR);
    assert_int_equal(check(HTTP2_FRAME_HEADERS, 1, 5, HTTP2_FLAG_PRIORITY), HTTP2_NO_ERROR);
    assert_int_equal(check(HTTP2_FRAME_HEADERS, 1, 5, HTTP2_FLAG_PRIORITY | HTTP2_FLAG_PADDED), HTTP2_FRAME_SIZE_ERROR);
    assert_int_equal(check(HTTP2_FRAME_SETTINGS, 0, 6, HTTP2_FLAG_ACK), HTTP2_FRAME_SIZE_ERROR);
    assert_int_equal(check(HTTP2_FRAME_SETTINGS, 0, 0, HTTP2_FLAG_ACK), HTTP2_NO_ERROR);
}

static void verdicts_follow_the_states_of_streams(void **state)
{
    (void)state;
    static const struct {
        enum http2_frame_type type;
        enum http2_verdict idle, open, ended, reset, closed;
    } rows[] = {
        {HTTP2_FRAME_DATA, HTTP2_ERROR_PROTOCOL, HTTP2_TAKE, HTTP2_STREAM_ERROR, HTTP2_PASS_OVER_ODD,
         HTTP2_ERROR_CLOSED},
        {HTTP2_FRAME_HEADERS, HTTP2_TAKE, HTTP2_TAKE, HTTP2_STREAM_ERROR, HTTP2_PASS_OVER_ODD, HTTP2_ERROR_CLOSED},
        {HTTP2_FRAME_PRIORITY, HTTP2_TAKE, HTTP2_TAKE, HTTP2_TAKE, HTTP2_TAKE, HTTP2_TAKE},
        {HTTP2_FRAME_RST_STREAM, HTTP2_ERROR_PROTOCOL, HTTP2_TAKE, HTTP2_TAKE, HTTP2_PASS_OVER_ODD,
         HTTP2_PASS_OVER_ODD},
        {HTTP2_FRAME_WINDOW_UPDATE, HTTP2_ERROR_PROTOCOL, HTTP2_TAKE, HTTP2_TAKE, HTTP2_PASS_OVER, HTTP2_PASS_OVER},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(http2_frame_verdict(rows[i].type, HTTP2_STANDING_IDLE), rows[i].idle);
        assert_int_equal(http2_frame_verdict(rows[i].type, HTTP2_STANDING_OPEN), rows[i].open);
        assert_int_equal(http2_frame_verdict(rows[i].type, HTTP2_STANDING_ENDED), rows[i].ended);
        assert_int_equal(http2_frame_verdict(rows[i].type, HTTP2_STANDING_RESET), rows[i].reset);
        assert_int_equal(http2_frame_verdict(rows[i].type, HTTP2_STANDING_CLOSED), rows[i].closed);
    }
}

static uint32_t prefix(uint8_t type, uint32_t length, uint8_t flags)
{
    const struct http2_frame_head head = {.length = length, .type = type, .flags = flags};
    return http2_frame_prefix(&head);
}

static void prefixes_are_what_must_be_seen_whole(void **state)
{
    (void)state;
    assert_int_equal(prefix(HTTP2_FRAME_DATA, 100, 0), 0);
    assert_int_equal(prefix(HTTP2_FRAME_DATA, 100, HTTP2_FLAG_PADDED), 1);
    assert_int_equal(prefix(HTTP2_FRAME_HEADERS, 100, HTTP2_FLAG_PADDED | HTTP2_FLAG_PRIORITY), 6);
    assert_int_equal(prefix(HTTP2_FRAME_CONTINUATION, 100, HTTP2_FLAG_PADDED), 0);
    assert_int_equal(prefix(HTTP2_FRAME_GOAWAY, 1'000, 0), 8);
    assert_int_equal(prefix(HTTP2_FRAME_SETTINGS, 12, 0), 12);
    assert_int_equal(prefix(HTTP2_FRAME_PRIORITY_UPDATE, 1'000, 0), HTTP2_GATHER_BYTES);
    assert_int_equal(prefix(0x42, 1'000, 0xff), 0);
}

static void gathering_copies_only_what_is_cut(void **state)
{
    (void)state;
    static const uint8_t octets[] = "abcdefghij";
    struct http2_reader reader = {};
    struct bytes input = bytes_of(octets, 10);
    assert_ptr_equal(http2_reader_gather(&reader, 4, &input), octets);
    assert_ptr_equal(input.data, octets + 4);
    assert_int_equal(input.length, 6);

    input.length = 2;
    assert_null(http2_reader_gather(&reader, 5, &input));
    assert_int_equal(input.length, 0);
    assert_null(http2_reader_gather(&reader, 5, &input));
    input = bytes_of(octets + 6, 4);
    const uint8_t *gathered = http2_reader_gather(&reader, 5, &input);
    assert_non_null(gathered);
    assert_memory_equal(gathered, "efghi", 5);
    assert_int_equal(input.length, 1);
    assert_int_equal(reader.gathered_bytes, 0);
}

static void nothing_is_gathered_from_nothing(void **state)
{
    (void)state;
    struct http2_reader reader = {};
    struct bytes input = {};
    assert_non_null(http2_reader_gather(&reader, 0, &input));
    assert_null(http2_reader_gather(&reader, 1, &input));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_come_back_as_they_were_written),
        cmocka_unit_test(the_reserved_bit_is_no_part_of_an_id),
        cmocka_unit_test(errors_have_names),
        cmocka_unit_test(frames_follow_the_table_of_rules),
        cmocka_unit_test(what_flags_announce_must_fit),
        cmocka_unit_test(verdicts_follow_the_states_of_streams),
        cmocka_unit_test(prefixes_are_what_must_be_seen_whole),
        cmocka_unit_test(gathering_copies_only_what_is_cut),
        cmocka_unit_test(nothing_is_gathered_from_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
