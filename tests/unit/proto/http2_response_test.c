#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <errno.h>
#include <stdalign.h>

#include "guarded.h"
#include "proto/http2_response.h"

enum { OUTPUT_BYTES = 65536, FIELDS_MAX = 64, TEXT_BYTES = 8192, UNTOUCHED = 12345 };

static const struct bytes date = {(const uint8_t *)"Sun, 22 Nov 2026 21:00:00 GMT", 29};
static const struct bytes server = {(const uint8_t *)"uroboros", 8};

/* One connection: what our encoder writes is read by our decoder, block for block. */
struct fixture {
    struct hpack_encoder encoder;
    struct hpack_decoder decoder;
    struct guarded memory;
    char text[TEXT_BYTES]; /* of the last block, one field a line */
    alignas(struct hpack_entry) uint8_t encoder_memory[HPACK_TABLE_MEMORY(HPACK_ENCODER_BYTES)];
    alignas(struct hpack_entry) uint8_t decoder_memory[HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES)];
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    hpack_encoder_init(&fixture->encoder, fixture->encoder_memory);
    hpack_decoder_init(&fixture->decoder, fixture->decoder_memory);
    fixture->memory = guarded_create(OUTPUT_BYTES);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    guarded_destroy(&fixture->memory);
    free(fixture);
    return 0;
}

static void decode(struct fixture *fixture, struct bytes block)
{
    uint8_t memory[TEXT_BYTES];
    struct hpack_field fields[FIELDS_MAX];
    struct hpack_section section = {
        .memory = memory, .memory_bytes = sizeof(memory), .fields = fields, .fields_max = FIELDS_MAX};
    size_t consumed = 0;
    hpack_decode_begin(&fixture->decoder);
    assert_true(hpack_decode(&fixture->decoder, block, &section, &consumed));
    assert_int_equal(consumed, block.length);
    assert_false(section.overflowed);
    char *at = fixture->text;
    *at = '\0';
    for (uint32_t i = 0; i < section.field_count; i++)
        at += sprintf(at, "%.*s: %.*s\n", (int)fields[i].name_length, memory + fields[i].name_offset,
                      (int)fields[i].value_length, memory + fields[i].value_offset);
}

/* Encodes into memory of the size that is asked for, at a guard page; one octet less is refused and changes nothing. */
static void assert_encodes(struct fixture *fixture, const struct http2_response *response, const char *expected)
{
    uint32_t bad_field = UNTOUCHED;
    size_t room = http2_response_max(response);
    uint8_t *end = fixture->memory.map + fixture->memory.room;
    struct hpack_encoder before = fixture->encoder;
    assert_int_equal(http2_response_encode(response, &fixture->encoder, end - room + 1, room - 1, &bad_field), -ENOSPC);
    assert_memory_equal(&fixture->encoder, &before, sizeof(before));

    int length = http2_response_encode(response, &fixture->encoder, end - room, room, &bad_field);
    assert_in_range(length, 0, room);
    assert_int_equal(bad_field, UNTOUCHED);
    decode(fixture, bytes_of(end - room, (size_t)length));
    assert_string_equal(fixture->text, expected);
}

static void assert_refuses(struct fixture *fixture, const struct http2_response *response, uint32_t expected_field)
{
    uint32_t bad_field = UNTOUCHED;
    uint8_t output[OUTPUT_BYTES];
    struct hpack_encoder before = fixture->encoder;
    uint8_t memory[sizeof(fixture->encoder_memory)];
    memcpy(memory, fixture->encoder_memory, sizeof(memory));
    assert_int_equal(http2_response_encode(response, &fixture->encoder, output, sizeof(output), &bad_field), -EBADMSG);
    assert_int_equal(bad_field, expected_field);
    /* Also where the output would not have fitted: more room must not be what the caller tries next. */
    assert_int_equal(http2_response_encode(response, &fixture->encoder, output, 1, &bad_field), -EBADMSG);
    assert_memory_equal(&fixture->encoder, &before, sizeof(before));
    assert_memory_equal(fixture->encoder_memory, memory, sizeof(memory));
}

static struct http_field field(const char *name, const char *value)
{
    return (struct http_field){.name = bytes_of_string(name), .value = bytes_of_string(value)};
}

#define WITH_FIELDS(list) .fields = (list), .field_count = sizeof(list) / sizeof((list)[0])

static void head_has_status_fields_date_server_and_length(void **state)
{
    const struct http_field fields[] = {field("content-type", "text/plain"), field("x-a", "1")};
    const struct http2_response response = {.status = 200,
                                            WITH_FIELDS(fields),
                                            .date = date,
                                            .server = server,
                                            .add_content_length = true,
                                            .content_length = 1234567890123456789};
    assert_encodes(*state, &response,
                   ":status: 200\ncontent-type: text/plain\nx-a: 1\ndate: Sun, 22 Nov 2026 21:00:00 GMT\n"
                   "server: uroboros\ncontent-length: 1234567890123456789\n");
}

static void same_head_again_takes_few_octets(void **state)
{
    struct fixture *fixture = *state;
    const struct http_field fields[] = {field("Content-Type", "text/plain")};
    const struct http2_response response = {
        .status = 200, WITH_FIELDS(fields), .date = date, .server = server, .add_content_length = true};
    uint8_t output[OUTPUT_BYTES];
    uint32_t bad_field;
    int first = http2_response_encode(&response, &fixture->encoder, output, sizeof(output), &bad_field);
    int second = http2_response_encode(&response, &fixture->encoder, output, sizeof(output), &bad_field);
    assert_in_range(first, 30, 100);
    assert_in_range(second, 1, 8);
}

static void content_length_zero_is_stated(void **state)
{
    const struct http2_response response = {.status = 200, .add_content_length = true};
    assert_encodes(*state, &response, ":status: 200\ncontent-length: 0\n");
}

static void date_and_server_of_the_application_win(void **state)
{
    const struct http_field fields[] = {field("Date", "today"), field("SERVER", "mine")};
    const struct http2_response response = {.status = 200, WITH_FIELDS(fields), .date = date, .server = server};
    assert_encodes(*state, &response, ":status: 200\ndate: today\nserver: mine\n");
}

static void names_are_put_in_lower_case(void **state)
{
    const struct http_field fields[] = {field("ETag", "\"A\""), field("X-ABC_Z", "Value"), field("Z", "1"),
                                        field("already-lower", "1")};
    const struct http2_response response = {.status = 200, WITH_FIELDS(fields)};
    assert_encodes(*state, &response, ":status: 200\netag: \"A\"\nx-abc_z: Value\nz: 1\nalready-lower: 1\n");
}

static void longest_name_last_has_room_to_be_lowered(void **state)
{
    char name[1000];
    char expected[1100];
    memset(name, 'A', sizeof(name));
    const struct http_field fields[] = {field("B", "1"), {.name = bytes_of(name, sizeof(name))}};
    const struct http2_response response = {.status = 200, WITH_FIELDS(fields)};
    int length = sprintf(expected, ":status: 200\nb: 1\n");
    memset(expected + length, 'a', sizeof(name));
    strcpy(expected + length + sizeof(name), ": \n");
    assert_encodes(*state, &response, expected);
}

/* What Huffman coding would make longer is written as it is: as near to the most that can be needed as there is. */
static void octets_that_do_not_compress_have_room(void **state)
{
    static uint8_t octets[1500];
    char expected[TEXT_BYTES], *at = expected;
    static const char *const names[] = {"x", "y", "date", "server"};
    memset(octets, 0xff, sizeof(octets));
    const struct bytes value = bytes_of(octets, sizeof(octets));
    const struct http_field fields[] = {{.name = BYTES_LITERAL("X"), .value = value},
                                        {.name = BYTES_LITERAL("Y"), .value = value}};
    const struct http2_response response = {.status = 299, WITH_FIELDS(fields), .date = value, .server = value};
    at += sprintf(at, ":status: 299\n");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        at += sprintf(at, "%s: %.*s\n", names[i], (int)sizeof(octets), (const char *)octets);
    assert_encodes(*state, &response, expected);
}

static void fields_are_read_to_their_end_and_no_further(void **state)
{
    static const char *const texts[] = {"lower", "Upper", "content-type", "x"};
    struct guarded memory = guarded_create(64);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char expected[64];
        size_t length = strlen(texts[i]);
        struct bytes text = bytes_of(guarded_place(&memory, texts[i], length), length);
        const struct http_field fields[] = {{.name = text, .value = text}};
        const struct http2_response response = {.status = 200, WITH_FIELDS(fields)};
        sprintf(expected, ":status: 200\n%s: %s\n", texts[i], texts[i]);
        expected[strlen(":status: 200\n")] = (char)bytes_lower((uint8_t)texts[i][0]);
        assert_encodes(*state, &response, expected);
    }
    guarded_destroy(&memory);
}

static void blanks_around_a_value_are_left_out(void **state)
{
    const struct http_field fields[] = {field("x", " \ta b\t "), field("y", " ")};
    const struct http2_response response = {.status = 200, WITH_FIELDS(fields)};
    assert_encodes(*state, &response, ":status: 200\nx: a b\ny: \n");
}

static void connection_specific_fields_and_length_are_skipped(void **state)
{
    const struct http_field fields[] = {
        field("Connection", "close"),       field("keep-alive", "timeout=5"), field("Proxy-Connection", "close"),
        field("Transfer-Encoding", "gzip"), field("Upgrade", "h2c"),          field("Content-Length", "99"),
        field("connection-id", "kept")};
    const struct http2_response response = {.status = 200, WITH_FIELDS(fields)};
    assert_encodes(*state, &response, ":status: 200\nconnection-id: kept\n");
}

static void interim_response_has_neither_date_nor_server_nor_length(void **state)
{
    const struct http_field fields[] = {field("Link", "</style.css>; rel=preload")};
    const struct http2_response response = {
        .status = 103, WITH_FIELDS(fields), .date = date, .server = server, .add_content_length = true};
    assert_encodes(*state, &response, ":status: 103\nlink: </style.css>; rel=preload\n");
}

static void no_content_states_no_length(void **state)
{
    const struct http2_response response = {.status = 204, .server = server, .add_content_length = true};
    assert_encodes(*state, &response, ":status: 204\nserver: uroboros\n");
}

static void not_modified_may_state_a_length(void **state)
{
    const struct http2_response response = {.status = 304, .add_content_length = true, .content_length = 7};
    assert_encodes(*state, &response, ":status: 304\ncontent-length: 7\n");
}

static void trailers_have_no_status_and_nothing_is_added(void **state)
{
    const struct http_field fields[] = {field("Grpc-Status", "0"), field("Content-Length", "5")};
    const struct http2_response response = {WITH_FIELDS(fields), .date = date, .server = server,
                                            .add_content_length = true};
    assert_encodes(*state, &response, "grpc-status: 0\n");
}

static void repeated_fields_stay_apart_and_in_order(void **state)
{
    const struct http_field fields[] = {field("Set-Cookie", "a=1"), field("x", ""), field("Set-Cookie", "b=2")};
    const struct http2_response response = {.status = 200, WITH_FIELDS(fields)};
    assert_encodes(*state, &response, ":status: 200\nset-cookie: a=1\nx: \nset-cookie: b=2\n");
}

static void eight_bit_octets_and_harmless_controls_pass(void **state)
{
    const struct http_field fields[] = {field("x", "caf\xc3\xa9\x01")};
    const struct http2_response response = {.status = 599, WITH_FIELDS(fields)};
    assert_encodes(*state, &response, ":status: 599\nx: caf\xc3\xa9\x01\n");
}

static void every_status_but_the_switch_of_protocols_is_encoded(void **state)
{
    for (uint16_t status = 100; status <= 999; status++) {
        char expected[32];
        sprintf(expected, ":status: %u\n", status);
        const struct http2_response response = {.status = status};
        if (status != 101)
            assert_encodes(*state, &response, expected);
    }
}

static void bad_statuses_are_refused(void **state)
{
    static const uint16_t statuses[] = {1, 99, 101, 1000, UINT16_MAX};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        const struct http2_response response = {.status = statuses[i]};
        assert_refuses(*state, &response, UINT32_MAX);
    }
}

static void bad_names_are_refused_by_index(void **state)
{
    static const struct bytes names[] = {
        {(const uint8_t *)"", 0},
        {(const uint8_t *)":status", 7},
        {(const uint8_t *)"a b", 3},
        {(const uint8_t *)"a:", 2},
        {(const uint8_t *)"a\r\nb", 4},
        {(const uint8_t *)"a\0b", 3},
        {(const uint8_t *)"caf\xc3\xa9", 5},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct http_field fields[] = {field("Cache-Control", "no-store"), {.name = names[i]}, field("y", "1")};
        const struct http2_response response = {.status = 200, WITH_FIELDS(fields), .date = date, .server = server};
        assert_refuses(*state, &response, 1);
    }
}

static void bad_values_are_refused_by_index(void **state)
{
    static const struct bytes values[] = {
        {(const uint8_t *)"a\nb", 3}, {(const uint8_t *)"a\rb", 3},  {(const uint8_t *)"\0", 1},
        {(const uint8_t *)"\n", 1},   {(const uint8_t *)"a\r\n", 3}, {(const uint8_t *)"\x01\x02\n", 3},
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        const struct http_field fields[] = {
            field("Cache-Control", "no-store"), field("x", "1"), {.name = BYTES_LITERAL("y"), .value = values[i]}};
        const struct http2_response response = {.status = 200, WITH_FIELDS(fields), .date = date, .server = server};
        assert_refuses(*state, &response, 2);
    }
}

static void bad_value_of_a_field_that_is_skipped_is_refused_too(void **state)
{
    const struct http_field fields[] = {field("Connection", "a\nb")};
    const struct http2_response response = {.status = 200, WITH_FIELDS(fields)};
    assert_refuses(*state, &response, 0);
}

static void connection_goes_on_after_a_refusal(void **state)
{
    const struct http_field bad[] = {field("Cache-Control", "no-store"), field("x", "a\nb")};
    const struct http_field good[] = {field("Cache-Control", "no-store")};
    const struct http2_response refused = {.status = 200, WITH_FIELDS(bad), .server = server};
    const struct http2_response response = {.status = 500, WITH_FIELDS(good), .server = server};
    const char *expected = ":status: 500\ncache-control: no-store\nserver: uroboros\n";
    assert_encodes(*state, &response, expected);
    assert_refuses(*state, &refused, 1);
    assert_encodes(*state, &response, expected);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(head_has_status_fields_date_server_and_length),
        TEST(same_head_again_takes_few_octets),
        TEST(content_length_zero_is_stated),
        TEST(date_and_server_of_the_application_win),
        TEST(names_are_put_in_lower_case),
        TEST(longest_name_last_has_room_to_be_lowered),
        TEST(octets_that_do_not_compress_have_room),
        TEST(fields_are_read_to_their_end_and_no_further),
        TEST(blanks_around_a_value_are_left_out),
        TEST(connection_specific_fields_and_length_are_skipped),
        TEST(interim_response_has_neither_date_nor_server_nor_length),
        TEST(no_content_states_no_length),
        TEST(not_modified_may_state_a_length),
        TEST(trailers_have_no_status_and_nothing_is_added),
        TEST(repeated_fields_stay_apart_and_in_order),
        TEST(eight_bit_octets_and_harmless_controls_pass),
        TEST(every_status_but_the_switch_of_protocols_is_encoded),
        TEST(bad_statuses_are_refused),
        TEST(bad_names_are_refused_by_index),
        TEST(bad_values_are_refused_by_index),
        TEST(bad_value_of_a_field_that_is_skipped_is_refused_too),
        TEST(connection_goes_on_after_a_refusal),
    };
    return cmocka_run_group_tests_name("http2_response", tests, NULL, NULL);
}
