#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guarded.h"
#include "proto/http1_request.h"

/* What text vectors cannot say; the grammar itself is tested by http1_vectors_test.c. */

enum { FIELDS_CAPACITY = 100 };

static const struct http1_limits limits = {8190, 8190, 100, 65536, 32, 0, false};
static const char get[] = "GET /a?b HTTP/1.1\r\nHoSt: Example\r\nX-Mixed: V\r\n\r\n";
enum { GET_BYTES = sizeof(get) - 1 };

struct fixture {
    struct http1_request request;
    struct http_field fields[FIELDS_CAPACITY];
    uint8_t input[8192];
    size_t consumed;
};

static void begin(struct fixture *fixture, const char *text, size_t length)
{
    memcpy(fixture->input, text, length);
    http1_request_init(&fixture->request, fixture->fields, FIELDS_CAPACITY);
    fixture->consumed = SIZE_MAX;
}

static enum http1_progress feed(struct fixture *fixture, uint8_t *input, size_t length)
{
    return http1_request_feed(&fixture->request, &limits, input, length, &fixture->consumed);
}

static void assert_get(const struct fixture *fixture, const uint8_t *input)
{
    const struct http_head *head = &fixture->request.head;
    assert_int_equal(fixture->consumed, GET_BYTES);
    assert_ptr_equal(head->method.data, input);
    assert_true(bytes_equal(head->method, BYTES_LITERAL("GET")));
    assert_true(bytes_equal(head->target, BYTES_LITERAL("/a?b")));
    assert_ptr_equal(head->target.data, input + 4);
    assert_true(bytes_equal(head->path, BYTES_LITERAL("/a")));
    assert_true(bytes_equal(head->query, BYTES_LITERAL("b")));
    assert_ptr_equal(head->query.data, input + 7);
    assert_true(bytes_equal(head->host, BYTES_LITERAL("Example")));
    assert_int_equal(head->field_count, 2);
    assert_ptr_equal(head->fields[0].name.data, input + 19);
    assert_true(bytes_equal(head->fields[0].name, BYTES_LITERAL("host")));
    assert_int_equal(head->fields[0].id, HTTP_FIELD_HOST);
    assert_true(bytes_equal(head->fields[1].name, BYTES_LITERAL("x-mixed")));
    assert_true(bytes_equal(head->fields[1].value, BYTES_LITERAL("V")));
    assert_int_equal(head->fields[1].id, HTTP_FIELD_OTHER);
    assert_memory_equal(input, "GET /a?b HTTP/1.1\r\nhost: Example\r\nx-mixed: V\r\n\r\n", GET_BYTES);
}

static void spans_point_into_the_input(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, get, GET_BYTES);
    assert_int_equal(feed(&fixture, fixture.input, GET_BYTES), HTTP1_HEAD_READY);
    assert_get(&fixture, fixture.input);
}

static void absent_spans_are_empty_and_point_into_the_input(void **state)
{
    (void)state;
    struct fixture fixture;
    const char text[] = "OPTIONS * HTTP/1.0\r\n\r\n";
    begin(&fixture, text, sizeof(text) - 1);
    assert_int_equal(feed(&fixture, fixture.input, sizeof(text) - 1), HTTP1_HEAD_READY);
    const struct bytes spans[] = {fixture.request.head.query, fixture.request.authority, fixture.request.head.host};
    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
        assert_int_equal(spans[i].length, 0);
        assert_true(spans[i].data >= fixture.input && spans[i].data <= fixture.input + sizeof(text));
    }
}

static void head_may_move_between_calls_however_often(void **state)
{
    (void)state;
    for (size_t cut = 1; cut < GET_BYTES; cut++) {
        struct fixture fixture;
        begin(&fixture, get, GET_BYTES);
        assert_int_equal(feed(&fixture, fixture.input, cut), HTTP1_NEED_MORE);
        uint8_t *moved = fixture.input + 1000;
        memcpy(moved, fixture.input, cut);
        memset(fixture.input, 'Z', GET_BYTES);
        assert_int_equal(feed(&fixture, moved, cut), HTTP1_NEED_MORE);
        memmove(moved - 10, moved, cut);
        moved -= 10;
        memcpy(moved + cut, get + cut, GET_BYTES - cut);
        assert_int_equal(feed(&fixture, moved, GET_BYTES), HTTP1_HEAD_READY);
        assert_get(&fixture, moved);
    }
}

static void copy_made_before_the_parse_is_as_good(void **state)
{
    (void)state;
    for (size_t cut = 1; cut < GET_BYTES; cut++) {
        struct fixture fixture;
        begin(&fixture, get, GET_BYTES);
        assert_int_equal(feed(&fixture, fixture.input, cut), HTTP1_NEED_MORE);
        uint8_t *copy = fixture.input + 1000;
        memcpy(copy, get, GET_BYTES);
        assert_int_equal(feed(&fixture, copy, GET_BYTES), HTTP1_HEAD_READY);
        assert_get(&fixture, copy);
    }
}

static void octets_behind_the_head_are_left_alone(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, get, GET_BYTES);
    memcpy(fixture.input + GET_BYTES, "POST / HTTP/1.1\r\nHOST: x", 24);
    assert_int_equal(feed(&fixture, fixture.input, GET_BYTES + 24), HTTP1_HEAD_READY);
    assert_int_equal(fixture.consumed, GET_BYTES);
    assert_memory_equal(fixture.input + GET_BYTES, "POST / HTTP/1.1\r\nHOST: x", 24);
}

static void empty_lines_before_the_request_are_consumed_with_it(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "\r\n\r\n", 4);
    memcpy(fixture.input + 4, get, GET_BYTES);
    assert_int_equal(feed(&fixture, fixture.input, 4), HTTP1_NEED_MORE);
    assert_int_equal(feed(&fixture, fixture.input, GET_BYTES + 4), HTTP1_HEAD_READY);
    assert_int_equal(fixture.consumed, GET_BYTES + 4);
    assert_ptr_equal(fixture.request.head.method.data, fixture.input + 4);
}

static void no_input_is_no_error(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, get, GET_BYTES);
    assert_int_equal(feed(&fixture, fixture.input, 0), HTTP1_NEED_MORE);
    assert_int_equal(feed(&fixture, fixture.input, GET_BYTES), HTTP1_HEAD_READY);
}

static void refusal_stays(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "GET / HTTP/3.0\r\n", 16);
    assert_int_equal(feed(&fixture, fixture.input, 16), HTTP1_REJECTED);
    assert_int_equal(fixture.request.status, 505);
    assert_int_equal(feed(&fixture, fixture.input + 5000, 1), HTTP1_REJECTED);
    assert_int_equal(fixture.request.status, 505);
    assert_int_equal(fixture.consumed, SIZE_MAX);
}

static void object_is_used_again_without_a_trace(void **state)
{
    (void)state;
    struct fixture fixture;
    const char post[] = "POST https://a/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n"
                        "Expect: 100-continue\r\nTE: trailers\r\nContent-Length: 7\r\nContent-Type: x\r\n\r\n";
    begin(&fixture, post, sizeof(post) - 1);
    assert_int_equal(feed(&fixture, fixture.input, sizeof(post) - 1), HTTP1_HEAD_READY);
    assert_true(fixture.request.head.expect_continue && fixture.request.upgrade_websocket &&
                fixture.request.head.te_trailers);
    assert_true(fixture.request.head.target_is_https);
    assert_int_equal(fixture.request.head.content_length, 7);

    begin(&fixture, get, GET_BYTES);
    assert_int_equal(feed(&fixture, fixture.input, GET_BYTES), HTTP1_HEAD_READY);
    assert_get(&fixture, fixture.input);
    const struct http1_request *request = &fixture.request;
    assert_false(request->head.expect_continue || request->upgrade_websocket || request->head.te_trailers);
    assert_false(request->head.target_is_https);
    assert_true(request->keep_alive);
    assert_int_equal(request->target_form, HTTP1_TARGET_ORIGIN);
    assert_int_equal(request->head.body_kind, HTTP_BODY_NONE);
    assert_int_equal(request->head.content_length, 0);
    assert_int_equal(request->status, 0);
}

static void fields_beyond_the_array_are_not_written(void **state)
{
    (void)state;
    struct http_field fields[2] = {};
    fields[1].id = 4711;
    struct http1_request request;
    uint8_t input[] = "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\n";
    size_t consumed;
    http1_request_init(&request, fields, 1);
    assert_int_equal(http1_request_feed(&request, &limits, input, sizeof(input) - 1, &consumed), HTTP1_REJECTED);
    assert_int_equal(request.status, 431);
    assert_int_equal(fields[1].id, 4711);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_point_into_the_input),
        cmocka_unit_test(absent_spans_are_empty_and_point_into_the_input),
        cmocka_unit_test(head_may_move_between_calls_however_often),
        cmocka_unit_test(copy_made_before_the_parse_is_as_good),
        cmocka_unit_test(octets_behind_the_head_are_left_alone),
        cmocka_unit_test(empty_lines_before_the_request_are_consumed_with_it),
        cmocka_unit_test(no_input_is_no_error),
        cmocka_unit_test(refusal_stays),
        cmocka_unit_test(object_is_used_again_without_a_trace),
        cmocka_unit_test(fields_beyond_the_array_are_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
