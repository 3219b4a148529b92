#include "daemon/io/tls_channel.h"
#include "daemon/io/tls_records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { BODY = 100, RECORD = TLS_RECORD_HEADER_BYTES + BODY };

/* One of application data, each octet of which says where it stands. */
static void make_record(uint8_t *memory, uint32_t body)
{
    memcpy(memory, (uint8_t[]){23, 3, 3, (uint8_t)(body >> 8), (uint8_t)body}, TLS_RECORD_HEADER_BYTES);
    for (uint32_t i = 0; i < body; i++)
        memory[TLS_RECORD_HEADER_BYTES + i] = (uint8_t)i;
}

static void expect_record(struct tls_records *records, const uint8_t *wanted, size_t length)
{
    struct bytes record;
    uint8_t memory[2 * RECORD];
    assert_int_equal(tls_records_take(records, &record), 1);
    assert_int_equal(tls_records_read(records, memory, 7), 7);
    assert_int_equal(tls_records_read(records, memory + 7, sizeof memory - 7), length - 7);
    assert_memory_equal(memory, wanted, length);
}

static void whole_records_are_read_where_they_lie(void **state)
{
    (void)state;
    uint8_t input[2 * RECORD];
    struct tls_records records = {};
    struct bytes record;
    make_record(input, BODY);
    make_record(input + RECORD, BODY);
    tls_records_offer(&records, bytes_of(input, sizeof input));
    assert_int_equal(tls_records_peek(&records, &record), 1);
    assert_ptr_equal(record.data, input);
    expect_record(&records, input, RECORD);
    assert_int_equal(tls_records_take(&records, &record), 1);
    assert_ptr_equal(record.data, input + RECORD);
    tls_records_deinit(&records);
}

static void one_that_is_cut_anywhere_is_put_together(void **state)
{
    (void)state;
    uint8_t input[2 * RECORD];
    struct bytes record;
    make_record(input, BODY);
    make_record(input + RECORD, BODY);
    for (size_t cut = 1; cut < RECORD; cut++) {
        struct tls_records records = {};
        tls_records_offer(&records, bytes_of(input, cut));
        assert_int_equal(tls_records_peek(&records, &record), 0);
        assert_int_equal(tls_records_settle(&records), 0);
        const size_t missing = cut < TLS_RECORD_HEADER_BYTES ? TLS_RECORD_HEADER_BYTES - cut : RECORD - cut;
        assert_int_equal(tls_records_missing(&records), missing);
        tls_records_offer(&records, bytes_of(input + cut, sizeof input - cut));
        expect_record(&records, input, RECORD);
        expect_record(&records, input + RECORD, RECORD);
        assert_int_equal(tls_records_take(&records, &record), 0);
        assert_int_equal(tls_records_settle(&records), 0);
        assert_null(records.kept.data);
        tls_records_deinit(&records);
    }
}

static void of_one_that_was_begun_the_rest_is_read_after_settling(void **state)
{
    (void)state;
    uint8_t input[2 * RECORD], memory[RECORD];
    struct bytes record;
    make_record(input, BODY);
    make_record(input + RECORD, BODY);
    for (size_t cut = 0; cut <= RECORD / 2; cut += RECORD / 2) {
        struct tls_records records = {};
        tls_records_offer(&records, bytes_of(input, cut));
        assert_int_equal(tls_records_settle(&records), 0);
        tls_records_offer(&records, bytes_of(input + cut, sizeof input - cut));
        assert_int_equal(tls_records_take(&records, &record), 1);
        assert_int_equal(tls_records_read(&records, memory, TLS_RECORD_HEADER_BYTES), TLS_RECORD_HEADER_BYTES);
        assert_int_equal(tls_records_settle(&records), 0);
        const struct bytes kept = tls_octets_bytes(&records.kept);
        assert_int_equal(kept.length, BODY + RECORD);
        assert_memory_equal(kept.data, input + TLS_RECORD_HEADER_BYTES, kept.length);
        tls_records_deinit(&records);
    }
}

/* BoringSSL is to see at once what cannot be TLS, and not to wait for more of it. */
static void what_no_peer_of_tls_sends_is_as_long_as_what_is_here(void **state)
{
    (void)state;
    static const struct {
        uint8_t octets[TLS_RECORD_HEADER_BYTES];
        uint8_t count;
    } CASES[] = {
        {{'G', 'E', 'T'}, 3},  {{19, 3, 3, 0, 1}, 1},    {{24, 3, 3, 0, 1}, 2},
        {{23, 2, 0, 0, 9}, 5}, {{23, 3, 3, 0x41, 1}, 5},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct tls_records records = {};
        struct bytes record;
        tls_records_offer(&records, bytes_of(CASES[i].octets, CASES[i].count));
        assert_int_equal(tls_records_peek(&records, &record), 1);
        assert_int_equal(record.length, CASES[i].count);
        tls_records_deinit(&records);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_records_are_read_where_they_lie),
        cmocka_unit_test(one_that_is_cut_anywhere_is_put_together),
        cmocka_unit_test(of_one_that_was_begun_the_rest_is_read_after_settling),
        cmocka_unit_test(what_no_peer_of_tls_sends_is_as_long_as_what_is_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
