#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "daemon/exchange/field_block.h"

static bool append(uint8_t *block, size_t capacity, size_t *used, const char *name, const char *value)
{
    return field_block_append(block, capacity, used, bytes_of_string(name), bytes_of_string(value));
}

static void what_was_appended_is_read_back(void **state)
{
    (void)state;
    uint8_t block[256];
    size_t used = 0;
    struct http_field fields[4];
    assert_true(append(block, sizeof block, &used, "Content-Type", "text/plain"));
    assert_true(append(block, sizeof block, &used, "X-Empty", ""));
    assert_true(append(block, sizeof block, &used, "Set-Cookie", "a=b; Path=/"));

    assert_int_equal(field_block_read(bytes_of(block, used), fields, 4), 3);
    assert_true(bytes_equal(fields[0].name, BYTES_LITERAL("Content-Type")));
    assert_true(bytes_equal(fields[0].value, BYTES_LITERAL("text/plain")));
    assert_true(bytes_equal(fields[1].name, BYTES_LITERAL("X-Empty")));
    assert_int_equal(fields[1].value.length, 0);
    assert_true(bytes_equal(fields[2].value, BYTES_LITERAL("a=b; Path=/")));
}

static void a_value_without_memory_is_an_empty_value(void **state)
{
    (void)state;
    uint8_t block[64];
    size_t used = 0;
    struct http_field field;
    assert_true(field_block_append(block, sizeof block, &used, BYTES_LITERAL("a"), (struct bytes){}));
    assert_int_equal(field_block_read(bytes_of(block, used), &field, 1), 1);
    assert_int_equal(field.value.length, 0);
}

static void a_field_that_does_not_fit_writes_nothing(void **state)
{
    (void)state;
    enum { CAPACITY = FIELD_BLOCK_OVERHEAD + 4 };
    uint8_t block[CAPACITY + 1] = {};
    size_t used = 0;
    block[CAPACITY] = 0xaa;
    assert_false(append(block, CAPACITY, &used, "abc", "de"));
    assert_int_equal(used, 0);
    assert_int_equal(block[0], 0);
    assert_true(append(block, CAPACITY, &used, "ab", "cd"));
    assert_int_equal(used, CAPACITY);
    assert_int_equal(block[CAPACITY], 0xaa);
    assert_false(append(block, CAPACITY, &used, "", ""));
    assert_int_equal(used, CAPACITY);
}

static void lengths_that_add_up_past_the_address_space_do_not_fit(void **state)
{
    (void)state;
    uint8_t block[64] = {};
    size_t used = 8;
    assert_false(
        field_block_append(block, sizeof block, &used, bytes_of(block, SIZE_MAX), bytes_of(block, SIZE_MAX - 40)));
    assert_int_equal(used, 8);
}

static void no_octets_are_no_fields(void **state)
{
    (void)state;
    assert_int_equal(field_block_read((struct bytes){}, NULL, 0), 0);
}

/* Every cut is read from memory of exactly its size: a sanitizer sees an octet too far. */
static void a_block_cut_anywhere_is_bad_or_shorter(void **state)
{
    (void)state;
    uint8_t block[128];
    size_t used = 0, first;
    struct http_field fields[4];
    assert_true(append(block, sizeof block, &used, "name", "value"));
    first = used;
    assert_true(append(block, sizeof block, &used, "other", "text"));
    for (size_t cut = 0; cut < used; cut++) {
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact, block, cut);
        int count = field_block_read(bytes_of(exact, cut), fields, 4);
        assert_int_equal(count, cut == 0 ? 0 : cut == first ? 1 : -EBADMSG);
        free(exact);
    }
}

static void lengths_that_point_outside_are_bad(void **state)
{
    (void)state;
    const uint32_t lengths[][2] = {{9, 0}, {0, 9}, {5, 4}, {UINT32_MAX, 1}, {1, UINT32_MAX}, {UINT32_MAX, UINT32_MAX}};
    struct http_field field;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t block[FIELD_BLOCK_OVERHEAD + 8] = {};
        memcpy(block, lengths[i], sizeof lengths[i]);
        assert_int_equal(field_block_read(bytes_of(block, sizeof block), &field, 1), -EBADMSG);
    }
}

static void more_fields_than_the_reader_has_room_for_are_bad(void **state)
{
    (void)state;
    uint8_t block[64];
    size_t used = 0;
    struct http_field fields[2];
    for (int i = 0; i < 3; i++)
        assert_true(append(block, sizeof block, &used, "a", "b"));
    assert_int_equal(field_block_read(bytes_of(block, used), fields, 2), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_appended_is_read_back),
        cmocka_unit_test(a_value_without_memory_is_an_empty_value),
        cmocka_unit_test(a_field_that_does_not_fit_writes_nothing),
        cmocka_unit_test(lengths_that_add_up_past_the_address_space_do_not_fit),
        cmocka_unit_test(no_octets_are_no_fields),
        cmocka_unit_test(a_block_cut_anywhere_is_bad_or_shorter),
        cmocka_unit_test(lengths_that_point_outside_are_bad),
        cmocka_unit_test(more_fields_than_the_reader_has_room_for_are_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
