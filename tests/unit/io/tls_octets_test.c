#include "daemon/io/tls_octets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void what_is_appended_is_there_in_order(void **state)
{
    (void)state;
    struct tls_octets octets = {};
    uint8_t all[10'000];
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (uint8_t)(i % 251);
    for (size_t i = 0; i < sizeof all; i += 100)
        assert_true(tls_octets_append(&octets, bytes_of(all + i, 100)));
    assert_int_equal(tls_octets_left(&octets), sizeof all);
    assert_memory_equal(tls_octets_bytes(&octets).data, all, sizeof all);
    tls_octets_free(&octets);
    assert_int_equal(tls_octets_left(&octets), 0);
    tls_octets_free(&octets);
}

static void what_has_been_used_makes_room(void **state)
{
    (void)state;
    struct tls_octets octets = {};
    static const uint8_t piece[1'000];
    assert_true(tls_octets_append(&octets, bytes_of(piece, sizeof piece)));
    const uint32_t capacity = octets.capacity;
    for (int i = 0; i < 100; i++) {
        octets.at = octets.used;
        assert_true(tls_octets_append(&octets, BYTES_LITERAL("here")));
        assert_true(tls_octets_append(&octets, bytes_of(piece, sizeof piece)));
        assert_memory_equal(tls_octets_bytes(&octets).data, "here", 4);
    }
    assert_int_equal(octets.capacity, capacity);
    tls_octets_free(&octets);
}

static void what_is_reserved_does_not_move_again(void **state)
{
    (void)state;
    struct tls_octets octets = {};
    static const uint8_t piece[5'000];
    assert_true(tls_octets_reserve(&octets, 2 * sizeof piece));
    const uint8_t *data = octets.data;
    assert_true(tls_octets_append(&octets, bytes_of(piece, sizeof piece)));
    assert_true(tls_octets_append(&octets, bytes_of(piece, sizeof piece)));
    assert_ptr_equal(octets.data, data);
    tls_octets_free(&octets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_is_there_in_order),
        cmocka_unit_test(what_has_been_used_makes_room),
        cmocka_unit_test(what_is_reserved_does_not_move_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
