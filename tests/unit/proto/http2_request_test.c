#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdalign.h>

#include "proto/http2_request.h"

/* What text vectors cannot say; the rules themselves are tested by http2_request_vectors_test.c. */

enum { FIELDS_CAPACITY = 101, TRAILER_FIELDS = 50, MEMORY_BYTES = 8192 };

static const struct http2_request_limits limits = {
    .request_line_max = 8190,
    .field_size_max = 8190,
    .field_count_max = 100,
    .method_bytes_max = 32,
    .is_secure = true,
};

struct fixture {
    struct http2_request request;
    struct hpack_section section;
    struct http_field fields[FIELDS_CAPACITY];
    struct hpack_field decoded[FIELDS_CAPACITY];
    uint8_t memory[MEMORY_BYTES];
};

static void begin(struct fixture *fixture)
{
    memset(fixture, 0xa5, sizeof(*fixture)); /* nothing of what was there before may matter */
    fixture->section = (struct hpack_section){
        .memory = fixture->memory,
        .memory_bytes = MEMORY_BYTES,
        .fields = fixture->decoded,
        .fields_max = FIELDS_CAPACITY,
    };
}

static uint32_t put(struct hpack_section *section, const char *text)
{
    size_t length = strlen(text);
    memcpy(section->memory + section->used, text, length);
    section->used += (uint32_t)length;
    return section->used - (uint32_t)length;
}

static void add(struct fixture *fixture, const char *name, const char *value)
{
    struct hpack_section *section = &fixture->section;
    section->fields[section->field_count++] = (struct hpack_field){
        .name_offset = put(section, name),
        .name_length = (uint32_t)strlen(name),
        .value_offset = put(section, value),
        .value_length = (uint32_t)strlen(value),
        .id = (uint16_t)http_field_id_of(bytes_of_string(name)),
    };
    section->seen_count++;
    section->list_bytes += strlen(name) + strlen(value) + HPACK_FIELD_OVERHEAD;
}

static void begin_get(struct fixture *fixture)
{
    begin(fixture);
    add(fixture, ":method", "GET");
    add(fixture, ":scheme", "https");
    add(fixture, ":path", "/a?b");
    add(fixture, ":authority", "a.example");
}

static enum http2_request_verdict read_request(struct fixture *fixture)
{
    return http2_request_read(&fixture->request, &limits, &fixture->section, true, fixture->fields, FIELDS_CAPACITY);
}

static void assert_bytes(struct bytes bytes, const char *expected)
{
    assert_true(bytes_equal(bytes, bytes_of_string(expected)));
}

static void head_is_that_of_http_2(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_get(&fixture);
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_GOOD);
    const struct http_head *head = &fixture.request.head;
    assert_int_equal(head->version, HTTP_VERSION_2);
    assert_bytes(head->target, "/a?b");
    assert_bytes(head->path, "/a");
    assert_bytes(head->query, "b");
    assert_int_equal(head->protocol.length, 0);
    assert_ptr_equal(head->fields, fixture.fields);
    assert_int_equal(fixture.request.urgency, 3);
    assert_false(fixture.request.incremental);
}

static void decoded_octets_are_not_copied(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_get(&fixture);
    add(&fixture, "x-a", "1");
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_GOOD);
    const struct hpack_field *decoded = fixture.decoded;
    assert_ptr_equal(fixture.request.head.method.data, fixture.memory + decoded[0].value_offset);
    assert_ptr_equal(fixture.request.head.host.data, fixture.memory + decoded[3].value_offset);
    assert_ptr_equal(fixture.fields[0].value.data, fixture.memory + decoded[3].value_offset);
    assert_ptr_equal(fixture.fields[1].name.data, fixture.memory + decoded[4].name_offset);
    assert_ptr_equal(fixture.fields[1].value.data, fixture.memory + decoded[4].value_offset);
}

static void what_is_made_stands_behind_what_was_decoded(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_get(&fixture);
    add(&fixture, "cookie", "a=1");
    add(&fixture, "cookie", "b=2");
    uint32_t decoded = fixture.section.used;
    uint8_t before[MEMORY_BYTES];
    memcpy(before, fixture.memory, MEMORY_BYTES);
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_GOOD);
    assert_memory_equal(fixture.memory, before, decoded);
    assert_int_equal(fixture.section.used, decoded + strlen("host") + strlen("a=1; b=2"));
    assert_memory_equal(fixture.memory + decoded, "hosta=1; b=2", 12);
    assert_memory_equal(fixture.memory + decoded + 12, before + decoded + 12, MEMORY_BYTES - decoded - 12);
}

static void section_that_overflowed_is_431_and_shows_what_is_there(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_get(&fixture);
    fixture.section.overflowed = true;
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_REFUSED);
    assert_int_equal(fixture.request.status, 431);
    assert_bytes(fixture.request.head.method, "GET");
    assert_bytes(fixture.request.head.path, "/a");
}

/* Streams that are refused anyway are decoded into no room, for the sake of the dynamic table. */
static void section_without_memory_is_431(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    fixture.section = (struct hpack_section){.overflowed = true, .seen_count = 4, .list_bytes = 200};
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_REFUSED);
    assert_int_equal(fixture.request.status, 431);
    assert_int_equal(fixture.request.head.method.length, 0);
    assert_int_equal(fixture.request.head.field_count, 0);
}

static void overflow_counts_more_than_what_is_missing_because_of_it(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    add(&fixture, ":method", "GET");
    fixture.section.overflowed = true;
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_REFUSED);
    assert_int_equal(fixture.request.status, 431);
}

static void refused_request_shows_method_and_path(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_get(&fixture);
    add(&fixture, "expect", "cake");
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_REFUSED);
    assert_int_equal(fixture.request.status, 417);
    assert_bytes(fixture.request.head.method, "GET");
    assert_bytes(fixture.request.head.path, "/a");
    assert_bytes(fixture.request.head.query, "b");
}

static void malformed_request_has_no_status(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_get(&fixture);
    add(&fixture, "connection", "close");
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_MALFORMED);
    assert_int_equal(fixture.request.status, 0);
    assert_string_equal(fixture.request.reason, "connection-specific field");
}

static void first_fault_in_the_order_of_fields_decides(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_get(&fixture);
    add(&fixture, "expect", "cake");
    add(&fixture, "connection", "close");
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_REFUSED);
    begin_get(&fixture);
    add(&fixture, "connection", "close");
    add(&fixture, "expect", "cake");
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_MALFORMED);
}

static void object_may_be_used_again(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_get(&fixture);
    add(&fixture, "te", "trailers");
    add(&fixture, "expect", "100-continue");
    add(&fixture, "content-length", "0");
    add(&fixture, "priority", "u=0, i");
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_GOOD);
    struct http2_request used = fixture.request;
    begin_get(&fixture);
    fixture.request = used;
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_GOOD);
    const struct http_head *head = &fixture.request.head;
    assert_false(head->te_trailers || head->expect_continue || fixture.request.incremental);
    assert_int_equal(fixture.request.urgency, 3);
    assert_int_equal(head->body_kind, HTTP_BODY_NONE);
    assert_int_equal(head->content_length, 0);
    assert_int_equal(head->field_count, 1);
    assert_null(fixture.request.reason);
}

static void trailers_are_counted_before_some_are_dropped(void **state)
{
    (void)state;
    struct fixture fixture;
    uint32_t count = 77;
    begin(&fixture);
    for (unsigned i = 0; i < TRAILER_FIELDS; i++)
        add(&fixture, "cookie", "a=1");
    assert_int_equal(http2_request_trailers(&fixture.section, fixture.fields, TRAILER_FIELDS, &count),
                     HTTP2_REQUEST_GOOD);
    assert_int_equal(count, 0);
    add(&fixture, "cookie", "a=1");
    count = 77;
    assert_int_equal(http2_request_trailers(&fixture.section, fixture.fields, TRAILER_FIELDS, &count),
                     HTTP2_REQUEST_REFUSED);
    assert_int_equal(count, 77);
}

static void trailers_beyond_the_callers_array_are_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    uint32_t count = 77;
    begin(&fixture);
    add(&fixture, "x-a", "1");
    add(&fixture, "x-b", "2");
    assert_int_equal(http2_request_trailers(&fixture.section, fixture.fields, 1, &count), HTTP2_REQUEST_REFUSED);
    assert_int_equal(http2_request_trailers(&fixture.section, fixture.fields, 2, &count), HTTP2_REQUEST_GOOD);
    assert_int_equal(count, 2);
    assert_bytes(fixture.fields[1].name, "x-b");
    assert_bytes(fixture.fields[1].value, "2");
}

static void trailers_that_overflowed_are_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    uint32_t count = 77;
    begin(&fixture);
    add(&fixture, "x-a", "1");
    fixture.section.overflowed = true;
    assert_int_equal(http2_request_trailers(&fixture.section, fixture.fields, TRAILER_FIELDS, &count),
                     HTTP2_REQUEST_REFUSED);
}

/* The whole way from the wire: what HPACK decodes is what is judged. */
static void decoded_block_is_read(void **state)
{
    (void)state;
    struct fixture fixture;
    struct hpack_decoder decoder;
    alignas(struct hpack_entry) uint8_t table[HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES)];
    /* GET, https, /, :authority www.example.com, te: trailers, x-n: v never indexed */
    static const uint8_t block[] = "\x82\x87\x84\x41\x0fwww.example.com\x40\x02te\x08trailers\x10\x03x-n\x01v";
    size_t consumed;
    begin(&fixture);
    hpack_decoder_init(&decoder, table);
    hpack_decode_begin(&decoder);
    assert_true(hpack_decode(&decoder, bytes_of(block, sizeof(block) - 1), &fixture.section, &consumed));
    assert_int_equal(consumed, sizeof(block) - 1);
    assert_int_equal(read_request(&fixture), HTTP2_REQUEST_GOOD);
    assert_bytes(fixture.request.head.host, "www.example.com");
    assert_true(fixture.request.head.te_trailers);
    assert_int_equal(fixture.request.head.field_count, 3);
    assert_bytes(fixture.fields[2].name, "x-n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_is_that_of_http_2),
        cmocka_unit_test(decoded_octets_are_not_copied),
        cmocka_unit_test(what_is_made_stands_behind_what_was_decoded),
        cmocka_unit_test(section_that_overflowed_is_431_and_shows_what_is_there),
        cmocka_unit_test(section_without_memory_is_431),
        cmocka_unit_test(overflow_counts_more_than_what_is_missing_because_of_it),
        cmocka_unit_test(refused_request_shows_method_and_path),
        cmocka_unit_test(malformed_request_has_no_status),
        cmocka_unit_test(first_fault_in_the_order_of_fields_decides),
        cmocka_unit_test(object_may_be_used_again),
        cmocka_unit_test(trailers_are_counted_before_some_are_dropped),
        cmocka_unit_test(trailers_beyond_the_callers_array_are_refused),
        cmocka_unit_test(trailers_that_overflowed_are_refused),
        cmocka_unit_test(decoded_block_is_read),
    };
    return cmocka_run_group_tests_name("http2_request", tests, NULL, NULL);
}
