#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "guarded.h"
#include "proto/hpack.h"

/* The encoder, judged by its octets and by our decoder, and what text vectors cannot say of the decoder. */

enum { OUT_BYTES = 8'192, MEMORY_BYTES = 8'192, FIELDS_MAX = 100, LITERAL_BYTES = 65'536 };

/* Both ends of a connection's direction. */
struct fixture {
    struct hpack_encoder encoder;
    struct hpack_decoder decoder;
    struct hpack_section section;
    struct hpack_entry encoder_memory[HPACK_TABLE_MEMORY(HPACK_ENCODER_BYTES) / sizeof(struct hpack_entry)];
    struct hpack_entry decoder_memory[HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES) / sizeof(struct hpack_entry)];
    struct hpack_field fields[FIELDS_MAX];
    uint8_t memory[MEMORY_BYTES];
    uint8_t out[OUT_BYTES];
    size_t used;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    hpack_encoder_init(&fixture->encoder, fixture->encoder_memory);
    hpack_decoder_init(&fixture->decoder, fixture->decoder_memory);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static void begin(struct fixture *fixture)
{
    fixture->used = 0;
    fixture->section = (struct hpack_section){
        .memory = fixture->memory, .memory_bytes = MEMORY_BYTES, .fields = fixture->fields, .fields_max = FIELDS_MAX};
    hpack_decode_begin(&fixture->decoder);
}

/* Appends a field to the block; its octets. */
static size_t put(struct fixture *fixture, const char *name, const char *value)
{
    struct bytes lower_name = bytes_of_string(name);
    size_t room = hpack_encoded_max(strlen(name), strlen(value));
    assert_in_range(room, 0, sizeof(fixture->out) - fixture->used);
    size_t length = hpack_encode(&fixture->encoder, lower_name, http_field_id_of(lower_name), bytes_of_string(value),
                                 fixture->out + fixture->used);
    assert_in_range(length, 1, room);
    fixture->used += length;
    return length;
}

static size_t put_status(struct fixture *fixture, uint16_t status)
{
    size_t length = hpack_encode_status(&fixture->encoder, status, fixture->out + fixture->used);
    assert_in_range(length, 1, hpack_encoded_max(7, 3));
    fixture->used += length;
    return length;
}

static void decode_all(struct fixture *fixture)
{
    size_t consumed = 0;
    assert_true(hpack_decode(&fixture->decoder, bytes_of(fixture->out, fixture->used), &fixture->section, &consumed));
    assert_int_equal(consumed, fixture->used);
    assert_int_equal(fixture->decoder.table.bytes, fixture->encoder.table.bytes);
    assert_int_equal(fixture->decoder.table.count, fixture->encoder.table.count);
}

static const struct hpack_field *assert_field(const struct fixture *fixture, uint32_t index, const char *name,
                                              const char *value)
{
    assert_in_range(index, 0, fixture->section.field_count - 1);
    const struct hpack_field *field = &fixture->fields[index];
    assert_int_equal(field->name_length, strlen(name));
    assert_int_equal(field->value_length, strlen(value));
    assert_memory_equal(fixture->memory + field->name_offset, name, strlen(name));
    assert_memory_equal(fixture->memory + field->value_offset, value, strlen(value));
    return field;
}

/* A block of this one field, decoded again; the octets it took. */
static size_t send_one(struct fixture *fixture, const char *name, const char *value)
{
    begin(fixture);
    size_t length = put(fixture, name, value);
    decode_all(fixture);
    assert_field(fixture, 0, name, value);
    return length;
}

/* The first block of a connection begins with a size update, which is in nobody's way behind this. */
static void say_size(struct fixture *fixture)
{
    begin(fixture);
    put_status(fixture, 200);
    decode_all(fixture);
}

/* Encoder --------------------------------------------------------------------------------------------------------- */

static void first_block_says_the_size_of_the_table_and_no_other_does(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture);
    assert_int_equal(put_status(fixture, 200), 4);
    assert_memory_equal(fixture->out, "\x3f\xe1\x07\x88", 4);
    decode_all(fixture);
    begin(fixture);
    assert_int_equal(put_status(fixture, 200), 1);
    decode_all(fixture);
}

static void first_field_may_bring_the_size_too(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture);
    put(fixture, "server", "uroboros");
    assert_memory_equal(fixture->out, "\x3f\xe1\x07\x76", 4);
    decode_all(fixture);
}

static void every_status_comes_over(void **state)
{
    struct fixture *fixture = *state;
    for (uint16_t status = 100; status < 1000; status++) {
        char text[8];
        snprintf(text, sizeof(text), "%u", status);
        begin(fixture);
        put_status(fixture, status);
        decode_all(fixture);
        assert_field(fixture, 0, ":status", text);
    }
}

static void usual_statuses_take_one_octet(void **state)
{
    struct fixture *fixture = *state;
    static const uint16_t statuses[] = {200, 204, 206, 304, 400, 404, 500};
    say_size(fixture);
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        begin(fixture);
        assert_int_equal(put_status(fixture, statuses[i]), 1);
        assert_int_equal(fixture->out[0], 0x88 + i);
    }
}

static void repeated_status_takes_one_octet(void **state)
{
    struct fixture *fixture = *state;
    say_size(fixture);
    begin(fixture);
    assert_int_equal(put_status(fixture, 302), 4);
    assert_int_equal(put_status(fixture, 302), 1);
    decode_all(fixture);
    assert_field(fixture, 1, ":status", "302");
}

static void what_responses_repeat_takes_one_octet_the_second_time(void **state)
{
    struct fixture *fixture = *state;
    static const char *const fields[][2] = {
        {"server", "uroboros"},
        {"content-type", "text/html; charset=utf-8"},
        {"cache-control", "no-store"},
        {"vary", "accept-encoding"},
        {"date", "Sun, 22 Nov 2026 17:00:00 GMT"},
        {"access-control-allow-origin", "*"},
        {"access-control-allow-credentials", "true"},
        {"strict-transport-security", "max-age=31536000"},
    };
    enum { COUNT = sizeof(fields) / sizeof(fields[0]) };
    say_size(fixture);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(send_one(fixture, fields[i][0], fields[i][1]) > 1);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(send_one(fixture, fields[i][0], fields[i][1]), 1);
}

static void what_differs_between_resources_gets_no_place(void **state)
{
    struct fixture *fixture = *state;
    static const char *const fields[][2] = {
        {"content-length", "1234"},       {"etag", "\"abc\""}, {"last-modified", "Sun, 22 Nov 2026 17:00:00 GMT"},
        {"location", "/somewhere"},       {"age", "12"},       {"expires", "0"},
        {"content-range", "bytes 0-1/2"},
    };
    for (size_t i = 0; i < 3 * sizeof(fields) / sizeof(fields[0]); i++) {
        const char *const *field = fields[i % (sizeof(fields) / sizeof(fields[0]))];
        send_one(fixture, field[0], field[1]);
        assert_false(fixture->fields[0].never_indexed);
        assert_int_equal(fixture->encoder.table.count, 0);
    }
}

static void short_secrets_may_be_indexed_by_nobody(void **state)
{
    struct fixture *fixture = *state;
    send_one(fixture, "set-cookie", "id=4711");
    assert_true(fixture->fields[0].never_indexed);
    send_one(fixture, "authorization", "secret");
    assert_true(fixture->fields[0].never_indexed);
    send_one(fixture, "set-cookie", "session=0123456789abcdef; Secure; HttpOnly");
    assert_false(fixture->fields[0].never_indexed);
    assert_int_equal(fixture->encoder.table.count, 0);
}

static void unknown_field_gets_its_place_when_it_comes_again(void **state)
{
    struct fixture *fixture = *state;
    say_size(fixture);
    size_t first = send_one(fixture, "x-frame-options", "DENY");
    assert_int_equal(fixture->encoder.table.count, 0);
    assert_int_equal(send_one(fixture, "x-frame-options", "DENY"), first);
    assert_int_equal(fixture->encoder.table.count, 1);
    assert_int_equal(send_one(fixture, "x-frame-options", "DENY"), 1);
}

static void unknown_field_that_always_differs_gets_no_place(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < 1000; i++) {
        char value[40];
        snprintf(value, sizeof(value), "0f8fad5b-d9cb-469f-a165-%012x", i);
        send_one(fixture, "x-request-id", value);
    }
    assert_int_equal(fixture->encoder.table.count, 0);
}

static void name_of_an_entry_serves_another_value(void **state)
{
    struct fixture *fixture = *state;
    say_size(fixture);
    size_t first = send_one(fixture, "access-control-max-age", "600");
    assert_int_equal(send_one(fixture, "access-control-max-age", "60"), 1 + 1 + 2);
    assert_true(first > 4);
    assert_int_equal(fixture->encoder.table.count, 2);
}

static void static_field_takes_one_octet(void **state)
{
    struct fixture *fixture = *state;
    say_size(fixture);
    assert_int_equal(send_one(fixture, "accept-encoding", "gzip, deflate"), 1);
    assert_int_equal(send_one(fixture, "vary", ""), 1);
}

static void what_would_fill_the_table_gets_no_place(void **state)
{
    struct fixture *fixture = *state;
    char value[HPACK_ENCODER_BYTES * 2];
    memset(value, 'a', sizeof(value));
    value[HPACK_ENCODER_BYTES * 3 / 4 - HPACK_FIELD_OVERHEAD - 12] = '\0'; /* content-type */
    send_one(fixture, "content-type", value);
    assert_int_equal(fixture->encoder.table.bytes, HPACK_ENCODER_BYTES * 3 / 4);
    value[strlen(value)] = 'a';
    value[HPACK_ENCODER_BYTES * 3 / 4 - HPACK_FIELD_OVERHEAD - 11] = '\0';
    send_one(fixture, "content-type", value);
    assert_int_equal(fixture->encoder.table.bytes, HPACK_ENCODER_BYTES * 3 / 4);
}

static void huffman_is_used_when_it_is_shorter(void **state)
{
    struct fixture *fixture = *state;
    say_size(fixture);
    assert_int_equal(send_one(fixture, "etag", "aaaaaaaa"), 2 + 1 + 5);
    assert_int_equal(send_one(fixture, "etag", "&&&&&&&&"), 2 + 1 + 8);
    assert_int_equal(fixture->out[2], 8);
    assert_int_equal(send_one(fixture, "etag", "\\\\\\\\\\\\\\\\"), 2 + 1 + 8);
    assert_int_equal(fixture->out[2], 8);
}

static void limit_of_the_peer_empties_the_table_and_is_told(void **state)
{
    struct fixture *fixture = *state;
    say_size(fixture);
    send_one(fixture, "server", "uroboros");
    hpack_encoder_limit(&fixture->encoder, 0);
    hpack_encoder_limit(&fixture->encoder, 65'536);
    assert_int_equal(fixture->encoder.table.count, 0);
    begin(fixture);
    assert_int_equal(put_status(fixture, 200), 1 + 3 + 1);
    assert_memory_equal(fixture->out, "\x20\x3f\xe1\x07\x88", 5);
    decode_all(fixture);
    begin(fixture);
    assert_int_equal(put_status(fixture, 200), 1);
}

static void smallest_limit_since_the_last_block_is_told(void **state)
{
    struct fixture *fixture = *state;
    say_size(fixture);
    hpack_encoder_limit(&fixture->encoder, 100);
    hpack_encoder_limit(&fixture->encoder, 40);
    hpack_encoder_limit(&fixture->encoder, 70);
    begin(fixture);
    put_status(fixture, 200);
    assert_memory_equal(fixture->out, "\x3f\x09\x3f\x27\x88", 5);
    decode_all(fixture);
}

static void limit_before_the_first_block_is_told_in_it(void **state)
{
    struct fixture *fixture = *state;
    hpack_encoder_limit(&fixture->encoder, 50);
    begin(fixture);
    put_status(fixture, 200);
    assert_memory_equal(fixture->out, "\x3f\x13\x88", 3);
    decode_all(fixture);
}

static void limit_that_changes_nothing_is_confirmed(void **state)
{
    struct fixture *fixture = *state;
    say_size(fixture);
    send_one(fixture, "server", "uroboros");
    hpack_encoder_limit(&fixture->encoder, 2'048);
    begin(fixture);
    put_status(fixture, 200);
    assert_memory_equal(fixture->out, "\x3f\xe1\x07\x88", 4);
    decode_all(fixture);
    assert_int_equal(fixture->encoder.table.count, 1);
}

static void without_a_table_all_comes_over_all_the_same(void **state)
{
    struct fixture *fixture = *state;
    hpack_encoder_limit(&fixture->encoder, 0);
    for (size_t i = 0; i < 3; i++) {
        send_one(fixture, "server", "uroboros");
        send_one(fixture, "x-own", "value");
        assert_int_equal(fixture->encoder.table.count, 0);
    }
}

static void encoded_max_is_enough_for_names_and_values_of_any_length(void **state)
{
    struct fixture *fixture = *state;
    char name[300], value[300];
    for (size_t length = 1; length < sizeof(name); length++) {
        memset(name, '~', length);
        memset(value, '~', length);
        name[length] = value[length] = '\0';
        hpack_encoder_limit(&fixture->encoder, 0);
        hpack_encoder_limit(&fixture->encoder, HPACK_ENCODER_BYTES);
        send_one(fixture, name, value);
    }
}

static uint32_t chance(uint32_t *seed)
{
    *seed = *seed * 1'664'525 + 1'013'904'223;
    return *seed >> 8;
}

static void random_text(uint32_t *seed, char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        text[i] = (char)(chance(seed) % 94 + 33);
    text[length] = '\0';
}

/* Few names and few values, so that all kinds of hits and of evictions come about. */
static void random_field(uint32_t *seed, char *name, char *value)
{
    static const char *const names[] = {"server", "date", "etag", "set-cookie", "x-a", "x-b", "content-type", "vary"};
    strcpy(name, names[chance(seed) % (sizeof(names) / sizeof(names[0]))]);
    if (chance(seed) % 10 == 0)
        random_text(seed, name, chance(seed) % 60 + 1);
    uint32_t value_seed = chance(seed) % 12;
    random_text(&value_seed, value, chance(seed) % 4 == 0 ? chance(seed) % 400 : value_seed % 30);
}

static void whatever_is_encoded_comes_over(void **state)
{
    struct fixture *fixture = *state;
    uint32_t seed = 1;
    for (size_t round = 0; round < 5'000; round++) {
        char names[20][64], values[20][512];
        uint32_t count = chance(&seed) % 20;
        if (chance(&seed) % 20 == 0)
            hpack_encoder_limit(&fixture->encoder, chance(&seed) % 2'000);
        begin(fixture);
        for (uint32_t i = 0; i < count; i++) {
            random_field(&seed, names[i], values[i]);
            put(fixture, names[i], values[i]);
        }
        if (count == 0)
            continue;
        decode_all(fixture);
        assert_int_equal(fixture->section.field_count, count);
        for (uint32_t i = 0; i < count; i++)
            assert_field(fixture, i, names[i], values[i]);
    }
}

/* Decoder --------------------------------------------------------------------------------------------------------- */

static void failed_decoder_stays_failed(void **state)
{
    struct fixture *fixture = *state;
    size_t consumed = 4711;
    begin(fixture);
    assert_false(hpack_decode(&fixture->decoder, bytes_of("\x80", 1), &fixture->section, &consumed));
    begin(fixture);
    assert_false(hpack_decode(&fixture->decoder, bytes_of("\x82", 1), &fixture->section, &consumed));
    assert_false(hpack_decode(&fixture->decoder, bytes_of("", 0), &fixture->section, &consumed));
    assert_int_equal(consumed, 4711);
}

static void section_without_any_memory_still_fills_the_table(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t block[] = {0x40, 1, 'a', 1, 'b', 0x82};
    size_t consumed;
    begin(fixture);
    fixture->section = (struct hpack_section){};
    assert_true(hpack_decode(&fixture->decoder, bytes_of(block, sizeof(block)), &fixture->section, &consumed));
    assert_true(fixture->section.overflowed);
    assert_int_equal(fixture->section.seen_count, 2);
    begin(fixture);
    assert_true(hpack_decode(&fixture->decoder, bytes_of("\xbe", 1), &fixture->section, &consumed));
    assert_field(fixture, 0, "a", "b");
}

/* Work that grew with what was given again would never be done in time. */
static void literal_that_comes_by_octets_is_looked_at_in_constant_time(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *input = malloc(LITERAL_BYTES);
    assert_non_null(input);
    memset(input, 0, LITERAL_BYTES); /* '0' by Huffman, eight for every five octets */
    static const uint8_t head[] = {0x40, 0x81, 0x1f, 0xff, 0x80, 0xfe, 0x03};
    memcpy(input, head, sizeof(head));
    input[LITERAL_BYTES - 1] = 0xff;
    begin(fixture);
    for (unsigned round = 0; round < 200; round++) {
        for (size_t length = 1; length < LITERAL_BYTES - 1'000; length++) {
            size_t consumed = 1;
            assert_true(hpack_decode(&fixture->decoder, bytes_of(input, length), &fixture->section, &consumed));
            if (consumed != 0)
                fail_msg("consumed %zu of %zu", consumed, length);
        }
    }
    assert_int_equal(fixture->section.seen_count, 0);
    free(input);
}

/* H2-05: an octet for a reference to the largest entry costs no more than to count it. */
static void references_to_a_large_entry_cost_no_memory(void **state)
{
    struct fixture *fixture = *state;
    uint8_t literal[4'096] = {0x40, 1, 'a', 0x7f, 0x81, 0x1e}; /* value of 127 + 1 + (30 << 7) = 3'968 octets */
    size_t consumed;
    memset(literal + 6, 'b', 3'968);
    begin(fixture);
    assert_true(hpack_decode(&fixture->decoder, bytes_of(literal, 6 + 3'968), &fixture->section, &consumed));
    memset(fixture->out, 0xbe, sizeof(fixture->out));
    assert_true(
        hpack_decode(&fixture->decoder, bytes_of(fixture->out, sizeof(fixture->out)), &fixture->section, &consumed));
    assert_int_equal(consumed, sizeof(fixture->out));
    assert_true(fixture->section.overflowed);
    assert_int_equal(fixture->section.field_count, MEMORY_BYTES / 3'969);
    assert_int_equal(fixture->section.seen_count, sizeof(fixture->out) + 1);
    assert_int_equal(fixture->section.list_bytes, (sizeof(fixture->out) + 1) * (3'969ULL + 32));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(first_block_says_the_size_of_the_table_and_no_other_does),
        TEST(first_field_may_bring_the_size_too),
        TEST(every_status_comes_over),
        TEST(usual_statuses_take_one_octet),
        TEST(repeated_status_takes_one_octet),
        TEST(what_responses_repeat_takes_one_octet_the_second_time),
        TEST(what_differs_between_resources_gets_no_place),
        TEST(short_secrets_may_be_indexed_by_nobody),
        TEST(unknown_field_gets_its_place_when_it_comes_again),
        TEST(unknown_field_that_always_differs_gets_no_place),
        TEST(name_of_an_entry_serves_another_value),
        TEST(static_field_takes_one_octet),
        TEST(what_would_fill_the_table_gets_no_place),
        TEST(huffman_is_used_when_it_is_shorter),
        TEST(limit_of_the_peer_empties_the_table_and_is_told),
        TEST(smallest_limit_since_the_last_block_is_told),
        TEST(limit_before_the_first_block_is_told_in_it),
        TEST(limit_that_changes_nothing_is_confirmed),
        TEST(without_a_table_all_comes_over_all_the_same),
        TEST(encoded_max_is_enough_for_names_and_values_of_any_length),
        TEST(whatever_is_encoded_comes_over),
        TEST(failed_decoder_stays_failed),
        TEST(section_without_any_memory_still_fills_the_table),
        TEST(literal_that_comes_by_octets_is_looked_at_in_constant_time),
        TEST(references_to_a_large_entry_cost_no_memory),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
