#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proto/http_target.h"

static void assert_split(const char *target, const char *path, const char *query)
{
    struct bytes ret_path, ret_query;
    http_target_split(bytes_of_string(target), &ret_path, &ret_query);
    assert_true(bytes_equal(ret_path, bytes_of_string(path)));
    assert_true(bytes_equal(ret_query, bytes_of_string(query)));
}

static void first_question_mark_ends_the_path(void **state)
{
    (void)state;
    assert_split("/a", "/a", "");
    assert_split("/a?", "/a", "");
    assert_split("/a?b?c", "/a", "b?c");
    assert_split("?b", "", "b");
    assert_split("", "", "");
}

static void target_has_visible_ascii_but_no_number_sign(void **state)
{
    (void)state;
    for (unsigned octet = 0; octet < 256; octet++) {
        const uint8_t target[] = {'/', (uint8_t)octet, 'a'};
        bool good = octet > ' ' && octet < 0x7f && octet != '#';
        assert_int_equal(http_target_octets_valid(bytes_of(target, sizeof(target))), good);
    }
    assert_true(http_target_octets_valid((struct bytes){}));
}

static void encoded_nul_is_found_anywhere(void **state)
{
    (void)state;
    static const char *const with[] = {"%00", "/a%00", "/%00b", "/%25%00", "/%%00", "/%0%00"};
    static const char *const without[] = {"", "/", "%", "%0", "/%0", "/%01", "/%10", "/%2500", "/%0%0", "/00"};
    for (size_t i = 0; i < sizeof(with) / sizeof(with[0]); i++)
        assert_true(http_target_has_nul(bytes_of_string(with[i])));
    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++)
        assert_false(http_target_has_nul(bytes_of_string(without[i])));
}

static void assert_same(const char *a, const char *b, bool https, bool expected)
{
    assert_int_equal(http_target_same_authority(bytes_of_string(a), bytes_of_string(b), https), expected);
    assert_int_equal(http_target_same_authority(bytes_of_string(b), bytes_of_string(a), https), expected);
}

static void authorities_are_compared_without_case(void **state)
{
    (void)state;
    assert_same("A.example", "a.EXAMPLE", true, true);
    assert_same("a.example", "b.example", true, false);
    assert_same("a.example", "a.example.", true, false);
    assert_same("[2001:DB8::1]:80", "[2001:db8::1]:80", true, true);
    assert_same("", "", true, true);
    assert_same("", "a", true, false);
}

static void left_out_port_is_that_of_the_scheme(void **state)
{
    (void)state;
    assert_same("a", "a:80", false, true);
    assert_same("a", "a:443", false, false);
    assert_same("a", "a:443", true, true);
    assert_same("a", "a:80", true, false);
    assert_same("a:", "a", true, true);
    assert_same("a:", "a:443", true, true);
    assert_same("a:0443", "a", true, true);
    assert_same("[::1]", "[::1]:443", true, true);
}

static void digits_at_the_end_of_a_name_are_no_port(void **state)
{
    (void)state;
    assert_same("a443", "a", true, false);
    assert_same("127.0.0.1", "127.0.0.2", true, false);
    assert_same("127.0.0.1", "127.0.0.1:443", true, true);
    assert_same("443", "443", true, true);
    assert_same("[::443]", "[::]:443", true, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_question_mark_ends_the_path),
        cmocka_unit_test(target_has_visible_ascii_but_no_number_sign),
        cmocka_unit_test(encoded_nul_is_found_anywhere),
        cmocka_unit_test(authorities_are_compared_without_case),
        cmocka_unit_test(left_out_port_is_that_of_the_scheme),
        cmocka_unit_test(digits_at_the_end_of_a_name_are_no_port),
    };
    return cmocka_run_group_tests_name("http_target", tests, NULL, NULL);
}
