#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <errno.h>

#include "guarded.h"
#include "proto/http1_response.h"

enum { OUTPUT_BYTES = 4096, UNTOUCHED = 12345 };

static const struct http1_response plain_response = {
    .status = 200,
    .version_minor = 1,
    .keep_alive = true,
    .body = HTTP1_RESPONSE_LENGTH,
    .content_length = 5,
    .add_content_length = true,
};

/* Encodes into memory of exactly the size that is needed, at a guard page, and with every smaller size. */
static void assert_encodes(const struct http1_response *response, const char *expected)
{
    struct guarded memory = guarded_create(OUTPUT_BYTES);
    uint32_t bad_field = UNTOUCHED;
    size_t length = strlen(expected);
    uint8_t *place = memory.map + memory.room - length;
    assert_int_equal(http1_response_encode(response, place, length, &bad_field), length);
    if (memcmp(place, expected, length) != 0)
        fail_msg("%.*s", (int)length, place);
    for (size_t capacity = 0; capacity < length; capacity++) {
        place = memory.map + memory.room - capacity;
        assert_int_equal(http1_response_encode(response, place, capacity, &bad_field), -ENOSPC);
    }
    assert_int_equal(bad_field, UNTOUCHED);
    guarded_destroy(&memory);
}

static void assert_refuses(const struct http1_response *response, uint32_t expected_field)
{
    uint8_t output[OUTPUT_BYTES];
    uint32_t bad_field = UNTOUCHED;
    assert_int_equal(http1_response_encode(response, output, sizeof(output), &bad_field), -EBADMSG);
    assert_int_equal(bad_field, expected_field);
    /* Also where the output would not have fitted: more room must not be what the caller tries next. */
    assert_int_equal(http1_response_encode(response, output, 3, &bad_field), -EBADMSG);
}

static struct http_field field(const char *name, const char *value)
{
    return (struct http_field){.name = bytes_of_string(name), .value = bytes_of_string(value)};
}

static void fields_of_the_application_are_written_as_given(void **state)
{
    (void)state;
    const struct http_field fields[] = {field("Content-Type", "text/html; charset=utf-8"), field("X-Empty", ""),
                                        field("set-cookie", "a=1"), field("set-cookie", "b=\xe9\t2")};
    struct http1_response response = plain_response;
    response.fields = fields;
    response.field_count = 4;
    assert_encodes(&response, "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nX-Empty: \r\n"
                              "set-cookie: a=1\r\nset-cookie: b=\xe9\t2\r\nContent-Length: 5\r\n\r\n");
}

static void framing_fields_of_the_application_are_skipped_in_any_case(void **state)
{
    (void)state;
    const struct http_field fields[] = {field("Connection", "keep-alive"), field("KEEP-ALIVE", "timeout=5"),
                                        field("proxy-connection", "x"),    field("Transfer-Encoding", "chunked"),
                                        field("content-LENGTH", "99"),     field("Upgrade", "h2c"),
                                        field("Connections", "kept")};
    struct http1_response response = plain_response;
    response.fields = fields;
    response.field_count = 7;
    assert_encodes(&response, "HTTP/1.1 200 OK\r\nConnections: kept\r\nContent-Length: 5\r\n\r\n");
}

static void date_and_server_are_added_once(void **state)
{
    (void)state;
    struct http1_response response = plain_response;
    response.date = BYTES_LITERAL("Sun, 22 Nov 2026 18:00:00 GMT");
    response.server = BYTES_LITERAL("uroboros");
    assert_encodes(&response, "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 18:00:00 GMT\r\nServer: uroboros\r\n"
                              "Content-Length: 5\r\n\r\n");
    const struct http_field fields[] = {field("date", "mine"), field("SERVER", "mine too")};
    response.fields = fields;
    response.field_count = 2;
    assert_encodes(&response, "HTTP/1.1 200 OK\r\ndate: mine\r\nSERVER: mine too\r\nContent-Length: 5\r\n\r\n");
}

static void status_line_has_the_given_reason_or_the_standard_one(void **state)
{
    (void)state;
    struct http1_response response = plain_response;
    response.content_length = 0;
    response.status = 404;
    assert_encodes(&response, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    response.status = 999;
    assert_encodes(&response, "HTTP/1.1 999 Unknown\r\nContent-Length: 0\r\n\r\n");
    response.status = 100;
    assert_encodes(&response, "HTTP/1.1 100 Continue\r\n\r\n");
    response.status = 200;
    response.reason = BYTES_LITERAL("Fine \xe9");
    assert_encodes(&response, "HTTP/1.1 200 Fine \xe9\r\nContent-Length: 0\r\n\r\n");
}

static void names_that_are_no_tokens_are_refused(void **state)
{
    (void)state;
    static const struct bytes names[] = {{(const uint8_t *)"", 0},    {(const uint8_t *)"a b", 3},
                                         {(const uint8_t *)"a:", 2},  {(const uint8_t *)"a\r", 2},
                                         {(const uint8_t *)"a\n", 2}, {(const uint8_t *)"a\0", 2},
                                         {(const uint8_t *)"\xe9", 1}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct http_field fields[] = {field("A", "b"), {.name = names[i], .value = BYTES_LITERAL("v")}};
        struct http1_response response = plain_response;
        response.fields = fields;
        response.field_count = 2;
        assert_refuses(&response, 1);
    }
}

static void values_with_cr_lf_or_nul_are_refused_wherever_they_stand(void **state)
{
    (void)state;
    uint8_t value[80];
    for (size_t at = 0; at < sizeof(value); at++) {
        for (size_t i = 0; i < 3; i++) {
            /* Other controls before the bad octet must not hide it. */
            memset(value, i == 1 ? '\x01' : 'v', sizeof(value));
            value[at] = (uint8_t) "\r\n\0"[i];
            const struct http_field fields[] = {{.name = BYTES_LITERAL("X"), .value = bytes_of(value, sizeof(value))}};
            struct http1_response response = plain_response;
            response.fields = fields;
            response.field_count = 1;
            assert_refuses(&response, 0);
        }
    }
}

static void bad_values_of_skipped_fields_are_refused_too(void **state)
{
    (void)state;
    const struct http_field fields[] = {field("Connection", "close\r\nX: y")};
    struct http1_response response = plain_response;
    response.fields = fields;
    response.field_count = 1;
    assert_refuses(&response, 0);
}

static void bad_status_and_bad_reason_are_refused(void **state)
{
    (void)state;
    struct http1_response response = plain_response;
    response.status = 99;
    assert_refuses(&response, UINT32_MAX);
    response.status = 1000;
    assert_refuses(&response, UINT32_MAX);
    response.status = 200;
    response.reason = BYTES_LITERAL("OK\r\nX: y");
    assert_refuses(&response, UINT32_MAX);
}

static void chunked_is_announced_to_http_1_1_alone(void **state)
{
    (void)state;
    struct http1_response response = plain_response;
    response.body = HTTP1_RESPONSE_CHUNKED;
    assert_encodes(&response, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    response.version_minor = 0;
    assert_encodes(&response, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
}

static void body_until_close_says_so(void **state)
{
    (void)state;
    struct http1_response response = plain_response;
    response.body = HTTP1_RESPONSE_UNTIL_CLOSE;
    assert_encodes(&response, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
}

static void connection_is_said_where_it_is_not_the_default(void **state)
{
    (void)state;
    struct http1_response response = plain_response;
    response.keep_alive = false;
    assert_encodes(&response, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
    response.version_minor = 0;
    assert_encodes(&response, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
    response.keep_alive = true;
    assert_encodes(&response, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n");
}

static void switching_protocols_keeps_upgrade(void **state)
{
    (void)state;
    const struct http_field fields[] = {field("Upgrade", "websocket"), field("Connection", "x")};
    struct http1_response response = plain_response;
    response.status = 101;
    response.fields = fields;
    response.field_count = 2;
    assert_encodes(&response, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
}

static void interim_and_204_responses_have_no_framing(void **state)
{
    (void)state;
    struct http1_response response = plain_response;
    response.keep_alive = false;
    response.status = 100;
    assert_encodes(&response, "HTTP/1.1 100 Continue\r\n\r\n");
    response.status = 103;
    response.body = HTTP1_RESPONSE_CHUNKED;
    assert_encodes(&response, "HTTP/1.1 103 Early Hints\r\n\r\n");
    response.status = 204;
    response.keep_alive = true;
    assert_encodes(&response, "HTTP/1.1 204 No Content\r\n\r\n");
}

static void responses_without_body_may_tell_a_length(void **state)
{
    (void)state;
    struct http1_response response = plain_response;
    response.body = HTTP1_RESPONSE_NO_BODY;
    response.status = 304;
    response.content_length = UINT64_MAX;
    assert_encodes(&response, "HTTP/1.1 304 Not Modified\r\nContent-Length: 18446744073709551615\r\n\r\n");
    response.add_content_length = false;
    assert_encodes(&response, "HTTP/1.1 304 Not Modified\r\n\r\n");
}

static void chunk_heads_are_hexadecimal_without_leading_zeros(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 9, 10, 15, 16, 255, 256, 4095, 4096, 65536, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char expected[32];
        uint8_t output[HTTP1_CHUNK_HEAD_MAX];
        snprintf(expected, sizeof(expected), "%llx\r\n", (unsigned long long)sizes[i]);
        size_t length = http1_chunk_head(sizes[i], output);
        assert_int_equal(length, strlen(expected));
        assert_memory_equal(output, expected, length);
    }
}

static void trailers_end_a_chunked_body(void **state)
{
    (void)state;
    const char *expected = "0\r\ngrpc-status: 0\r\nX-Empty: \r\n\r\n";
    const struct http_field fields[] = {
        {.name = BYTES_LITERAL("grpc-status"), .value = BYTES_LITERAL("0")},
        {.name = BYTES_LITERAL("Transfer-Encoding"), .value = BYTES_LITERAL("chunked")},
        {.name = BYTES_LITERAL("X-Empty")},
        {.name = BYTES_LITERAL("upgrade"), .value = BYTES_LITERAL("h2c")},
    };
    uint8_t output[128];
    uint32_t bad_field;
    int length = http1_response_trailers(fields, 4, output, sizeof(output), &bad_field);
    assert_int_equal(length, strlen(expected));
    assert_memory_equal(output, expected, length);
    for (size_t capacity = 0; capacity < strlen(expected); capacity++)
        assert_int_equal(http1_response_trailers(fields, 4, output, capacity, &bad_field), -ENOSPC);
}

static void trailers_that_would_forge_a_response_are_refused(void **state)
{
    (void)state;
    const struct http_field fields[] = {
        {.name = BYTES_LITERAL("a"), .value = BYTES_LITERAL("b")},
        {.name = BYTES_LITERAL("x"), .value = BYTES_LITERAL("a\r\n\r\nHTTP/1.1 200 OK")},
    };
    uint8_t output[128];
    uint32_t bad_field = 0;
    assert_int_equal(http1_response_trailers(fields, 2, output, sizeof(output), &bad_field), -EBADMSG);
    assert_int_equal(bad_field, 1);
}

static void plain_answers_are_whole_and_close(void **state)
{
    (void)state;
    const char *expected =
        "HTTP/1.1 503 Service Unavailable\r\nDate: now\r\nRetry-After: 1\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\nConnection: close\r\n\r\nbusy\n";
    const struct http_field extra = {.name = BYTES_LITERAL("Retry-After"), .value = BYTES_LITERAL("1")};
    int length = (int)strlen(expected);
    uint8_t output[512];
    assert_int_equal(
        http1_response_plain(503, "busy", &extra, false, false, BYTES_LITERAL("now"), output, sizeof(output)), length);
    assert_memory_equal(output, expected, length);
    for (int capacity = 0; capacity < length; capacity++)
        assert_int_equal(
            http1_response_plain(503, "busy", &extra, false, false, BYTES_LITERAL("now"), output, (size_t)capacity),
            -ENOSPC);
}

static void plain_answers_to_head_have_the_head_alone(void **state)
{
    (void)state;
    const char *expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\n";
    uint8_t output[512];
    int length = http1_response_plain(200, "ok", NULL, true, true, (struct bytes){}, output, sizeof(output));
    assert_int_equal(length, strlen(expected));
    assert_memory_equal(output, expected, length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_of_the_application_are_written_as_given),
        cmocka_unit_test(framing_fields_of_the_application_are_skipped_in_any_case),
        cmocka_unit_test(date_and_server_are_added_once),
        cmocka_unit_test(status_line_has_the_given_reason_or_the_standard_one),
        cmocka_unit_test(names_that_are_no_tokens_are_refused),
        cmocka_unit_test(values_with_cr_lf_or_nul_are_refused_wherever_they_stand),
        cmocka_unit_test(bad_values_of_skipped_fields_are_refused_too),
        cmocka_unit_test(bad_status_and_bad_reason_are_refused),
        cmocka_unit_test(chunked_is_announced_to_http_1_1_alone),
        cmocka_unit_test(body_until_close_says_so),
        cmocka_unit_test(connection_is_said_where_it_is_not_the_default),
        cmocka_unit_test(switching_protocols_keeps_upgrade),
        cmocka_unit_test(interim_and_204_responses_have_no_framing),
        cmocka_unit_test(responses_without_body_may_tell_a_length),
        cmocka_unit_test(chunk_heads_are_hexadecimal_without_leading_zeros),
        cmocka_unit_test(trailers_end_a_chunked_body),
        cmocka_unit_test(trailers_that_would_forge_a_response_are_refused),
        cmocka_unit_test(plain_answers_are_whole_and_close),
        cmocka_unit_test(plain_answers_to_head_have_the_head_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
