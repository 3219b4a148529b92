#include "daemon/io/tls_tiny_records.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { OVERHEAD = 22, HANDSHAKE = 22, DATA = 23, NOW_MS = 5'000 };

static void note(struct tls_tiny_records *tiny, uint8_t type, uint32_t bytes)
{
    uint8_t memory[8'192] = {type};
    tls_tiny_records_note(tiny, bytes_of(memory, bytes));
}

static void data_below_the_bound_are_tiny(void **state)
{
    (void)state;
    struct tls_tiny_records tiny = {};
    tls_tiny_records_begin(&tiny, NOW_MS, OVERHEAD);
    note(&tiny, DATA, OVERHEAD + TLS_TINY_RECORD_BYTES);
    note(&tiny, HANDSHAKE, OVERHEAD);
    assert_int_equal(tls_tiny_records_take(&tiny), 0);
    note(&tiny, DATA, OVERHEAD + TLS_TINY_RECORD_BYTES - 1);
    assert_int_equal(tls_tiny_records_take(&tiny), 1);
    assert_int_equal(tls_tiny_records_take(&tiny), 0);
}

static void the_one_behind_a_long_one_is_none(void **state)
{
    (void)state;
    struct tls_tiny_records tiny = {};
    tls_tiny_records_begin(&tiny, NOW_MS, OVERHEAD);
    note(&tiny, DATA, 8'192);
    note(&tiny, DATA, OVERHEAD + 1);
    note(&tiny, DATA, OVERHEAD + 1);
    assert_int_equal(tls_tiny_records_take(&tiny), 1);
}

static void too_many_are_too_many_within_the_window_only(void **state)
{
    (void)state;
    enum { ALLOWED = TLS_TINY_RECORDS_MAX + TLS_TINY_RECORDS_BEYOND };
    struct tls_tiny_records tiny = {};
    tls_tiny_records_begin(&tiny, NOW_MS, OVERHEAD);
    for (uint32_t i = 0; i < ALLOWED; i++)
        note(&tiny, DATA, OVERHEAD + 1);
    assert_false(tls_tiny_records_are_too_many(&tiny, NOW_MS + TLS_TINY_WINDOW_MS - 1));
    note(&tiny, DATA, OVERHEAD + 1);
    assert_true(tls_tiny_records_are_too_many(&tiny, NOW_MS + TLS_TINY_WINDOW_MS - 1));
    assert_false(tls_tiny_records_are_too_many(&tiny, NOW_MS + TLS_TINY_WINDOW_MS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_below_the_bound_are_tiny),
        cmocka_unit_test(the_one_behind_a_long_one_is_none),
        cmocka_unit_test(too_many_are_too_many_within_the_window_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
