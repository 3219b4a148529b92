#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guarded.h"
#include "proto/http1_body.h"

/* What text vectors cannot say; the grammar itself is tested by http1_vectors_test.c. */

static const struct http1_body_limits limits = {0, 16384, 50, 256, 16384};

struct fed {
    enum http1_body_progress progress;
    size_t consumed, offset, decoded;
};

static struct fed feed(struct http1_body *body, uint8_t *input, size_t length)
{
    struct fed fed;
    fed.progress = http1_body_feed(body, &limits, input, length, &fed.consumed, &fed.offset, &fed.decoded);
    return fed;
}

static void data_of_one_chunk_stays_where_it_is(void **state)
{
    (void)state;
    uint8_t input[] = "5\r\nhello\r\n0\r\n\r\nGET";
    struct http1_body body;
    http1_body_init(&body, HTTP_BODY_UNKNOWN, 0);
    struct fed fed = feed(&body, input, sizeof(input) - 1);
    assert_int_equal(fed.progress, HTTP1_BODY_END);
    assert_int_equal(fed.consumed, 15);
    assert_int_equal(fed.offset, 3);
    assert_int_equal(fed.decoded, 5);
    assert_int_equal(body.received, 5);
    assert_string_equal(input, "5\r\nhello\r\n0\r\n\r\nGET");
}

static void data_of_several_chunks_is_moved_together(void **state)
{
    (void)state;
    uint8_t input[] = "1\r\nh\r\n2\r\nel\r\n2\r\nlo\r\n0\r\n\r\nGET";
    struct http1_body body;
    http1_body_init(&body, HTTP_BODY_UNKNOWN, 0);
    struct fed fed = feed(&body, input, sizeof(input) - 1);
    assert_int_equal(fed.progress, HTTP1_BODY_END);
    assert_int_equal(fed.decoded, 5);
    assert_memory_equal(input + fed.offset, "hello", 5);
    assert_memory_equal(input + fed.consumed, "GET", 3);
}

static void data_begun_in_an_earlier_call_starts_at_the_front(void **state)
{
    (void)state;
    uint8_t first[] = "a\r\n01", second[] = "234567\r\n";
    struct http1_body body;
    http1_body_init(&body, HTTP_BODY_UNKNOWN, 0);
    struct fed fed = feed(&body, first, sizeof(first) - 1);
    assert_int_equal(fed.progress, HTTP1_BODY_NEED_MORE);
    assert_memory_equal(first + fed.offset, "01", fed.decoded);
    fed = feed(&body, second, 6);
    assert_int_equal(fed.offset, 0);
    assert_int_equal(fed.decoded, 6);
    assert_int_equal(body.received, 8);
}

static void body_of_a_length_is_not_moved_and_ends_exactly(void **state)
{
    (void)state;
    uint8_t input[] = "abcdefGET";
    struct http1_body body;
    http1_body_init(&body, HTTP_BODY_LENGTH, 6);
    struct fed fed = feed(&body, input, 2);
    assert_int_equal(fed.progress, HTTP1_BODY_NEED_MORE);
    assert_int_equal(fed.decoded, 2);
    fed = feed(&body, input + 2, sizeof(input) - 3);
    assert_int_equal(fed.progress, HTTP1_BODY_END);
    assert_int_equal(fed.consumed, 4);
    assert_int_equal(fed.offset, 0);
    assert_int_equal(fed.decoded, 4);
}

static void bodies_of_nothing_end_at_once(void **state)
{
    (void)state;
    uint8_t input[] = "GET";
    static const enum http_body_kind kinds[] = {HTTP_BODY_NONE, HTTP_BODY_LENGTH};
    for (size_t i = 0; i < 2; i++) {
        struct http1_body body;
        http1_body_init(&body, kinds[i], 0);
        for (size_t length = 0; length < sizeof(input); length++) {
            struct fed fed = feed(&body, input, length);
            assert_int_equal(fed.progress, HTTP1_BODY_END);
            assert_int_equal(fed.consumed, 0);
            assert_int_equal(fed.decoded, 0);
        }
    }
}

static void end_stays(void **state)
{
    (void)state;
    uint8_t input[] = "0\r\n\r\n0\r\n\r\n";
    struct http1_body body;
    http1_body_init(&body, HTTP_BODY_UNKNOWN, 0);
    assert_int_equal(feed(&body, input, 5).progress, HTTP1_BODY_END);
    struct fed fed = feed(&body, input + 5, 5);
    assert_int_equal(fed.progress, HTTP1_BODY_END);
    assert_int_equal(fed.consumed, 0);
}

static void refusal_stays_and_keeps_what_was_decoded(void **state)
{
    (void)state;
    uint8_t input[] = "3\r\nabc\r\nx";
    struct http1_body body;
    http1_body_init(&body, HTTP_BODY_UNKNOWN, 0);
    struct fed fed = feed(&body, input, sizeof(input) - 1);
    assert_int_equal(fed.progress, HTTP1_BODY_REJECTED);
    assert_int_equal(fed.consumed, 8);
    assert_memory_equal(input + fed.offset, "abc", fed.decoded);
    assert_int_equal(body.status, 400);
    assert_non_null(body.reason);
    fed = feed(&body, input, 3);
    assert_int_equal(fed.progress, HTTP1_BODY_REJECTED);
    assert_int_equal(fed.consumed, 0);
    assert_int_equal(fed.decoded, 0);
}

static void lengths_beyond_32_bits_are_counted(void **state)
{
    (void)state;
    static uint8_t input[1 << 20];
    struct http1_body body;
    const uint64_t length = (1ULL << 32) + 3;
    http1_body_init(&body, HTTP_BODY_LENGTH, length);
    for (uint64_t at = 0; at + sizeof(input) <= length; at += sizeof(input))
        assert_int_equal(feed(&body, input, sizeof(input)).progress, HTTP1_BODY_NEED_MORE);
    struct fed fed = feed(&body, input, sizeof(input));
    assert_int_equal(fed.progress, HTTP1_BODY_END);
    assert_int_equal(fed.consumed, 3);
    assert_true(body.received == length);
}

static void many_small_chunks_with_enough_data_are_served(void **state)
{
    (void)state;
    static const char chunk[] = "2\r\nab\r\n"; /* five octets of framing to two of data: above a quarter */
    struct http1_body body;
    http1_body_init(&body, HTTP_BODY_UNKNOWN, 0);
    for (unsigned i = 0; i < 100'000; i++) {
        uint8_t input[sizeof(chunk)];
        memcpy(input, chunk, sizeof(chunk));
        struct fed fed = feed(&body, input, sizeof(chunk) - 1);
        assert_int_equal(fed.progress, HTTP1_BODY_NEED_MORE);
        assert_int_equal(fed.decoded, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_of_one_chunk_stays_where_it_is),
        cmocka_unit_test(data_of_several_chunks_is_moved_together),
        cmocka_unit_test(data_begun_in_an_earlier_call_starts_at_the_front),
        cmocka_unit_test(body_of_a_length_is_not_moved_and_ends_exactly),
        cmocka_unit_test(bodies_of_nothing_end_at_once),
        cmocka_unit_test(end_stays),
        cmocka_unit_test(refusal_stays_and_keeps_what_was_decoded),
        cmocka_unit_test(lengths_beyond_32_bits_are_counted),
        cmocka_unit_test(many_small_chunks_with_enough_data_are_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
