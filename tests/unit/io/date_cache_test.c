#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "daemon/io/date_cache.h"

static void assert_date(time_t second, const char *expected)
{
    struct date_cache cache = {};
    struct bytes text = date_cache_at(&cache, second);
    assert_int_equal(text.length, DATE_CACHE_BYTES);
    assert_memory_equal(text.data, expected, DATE_CACHE_BYTES);
}

static void known_instants_have_their_imf_fixdate(void **state)
{
    (void)state;
    assert_date(0, "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_date(784111777, "Sun, 06 Nov 1994 08:49:37 GMT"); /* the example of RFC 9110 5.6.7 */
    assert_date(951782400, "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_date(1795366800, "Sun, 22 Nov 2026 17:00:00 GMT");
    assert_date(4107542399, "Sun, 28 Feb 2100 23:59:59 GMT");
}

static void times_beyond_four_digit_years_are_shown_as_the_nearest(void **state)
{
    (void)state;
    assert_date(INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT");
    assert_date(INT64_MIN, "Sat, 01 Jan 0000 00:00:00 GMT");
}

static void a_new_second_gives_a_new_text_also_backwards(void **state)
{
    (void)state;
    struct date_cache cache = {};
    assert_memory_equal(date_cache_at(&cache, 59).data + 17, "00:00:59", 8);
    assert_memory_equal(date_cache_at(&cache, 60).data + 17, "00:01:00", 8);
    assert_memory_equal(date_cache_at(&cache, 60).data + 17, "00:01:00", 8);
    assert_memory_equal(date_cache_at(&cache, 59).data + 17, "00:00:59", 8);
}

static void the_same_second_is_not_rendered_again(void **state)
{
    (void)state;
    struct date_cache cache = {};
    struct bytes text = date_cache_at(&cache, 59);
    cache.text[0] = '#';
    assert_ptr_equal(date_cache_at(&cache, 59).data, text.data);
    assert_int_equal(text.data[0], '#');
}

/* strftime in the C locale is an independent maker of the same text. */
static void every_day_of_eight_centuries_agrees_with_strftime(void **state)
{
    (void)state;
    struct date_cache cache = {};
    for (time_t second = -400LL * 365 * 86400; second < 400LL * 365 * 86400; second += 86400 + 3661) {
        struct tm utc;
        char expected[64];
        gmtime_r(&second, &utc);
        assert_int_equal(strftime(expected, sizeof expected, "%a, %d %b %Y %H:%M:%S GMT", &utc), DATE_CACHE_BYTES);
        assert_memory_equal(date_cache_at(&cache, second).data, expected, DATE_CACHE_BYTES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_instants_have_their_imf_fixdate),
        cmocka_unit_test(times_beyond_four_digit_years_are_shown_as_the_nearest),
        cmocka_unit_test(a_new_second_gives_a_new_text_also_backwards),
        cmocka_unit_test(the_same_second_is_not_rendered_again),
        cmocka_unit_test(every_day_of_eight_centuries_agrees_with_strftime),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
