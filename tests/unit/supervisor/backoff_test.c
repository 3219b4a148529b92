#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/supervisor/backoff.h"
#include <cmocka.h>

enum { START_MS = 1'000'000 };

static void the_first_two_deaths_are_answered_at_once([[maybe_unused]] void **state)
{
    struct backoff backoff = {};
    assert_int_equal(backoff_after_death(&backoff, START_MS), 0);
    assert_int_equal(backoff_after_death(&backoff, START_MS + 1), 0);
}

static void the_third_death_within_the_window_waits([[maybe_unused]] void **state)
{
    struct backoff backoff = {};
    (void)backoff_after_death(&backoff, START_MS);
    (void)backoff_after_death(&backoff, START_MS + 1);
    assert_int_equal(backoff_after_death(&backoff, START_MS + 2), BACKOFF_DELAY_MIN_MS);
}

static void deaths_far_apart_never_wait([[maybe_unused]] void **state)
{
    struct backoff backoff = {};
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(backoff_after_death(&backoff, START_MS + i * (BACKOFF_WINDOW_MS / 2 + 1)), 0);
}

static void the_delay_doubles_up_to_its_limit([[maybe_unused]] void **state)
{
    static const uint32_t expected[] = {0, 0, 100, 200, 400, 800, 1600, 3200, 6400, 10'000, 10'000, 10'000};
    struct backoff backoff = {};
    uint64_t now_ms = START_MS;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        uint32_t delay_ms = backoff_after_death(&backoff, now_ms);
        assert_int_equal(delay_ms, expected[i]);
        now_ms += delay_ms + 50;
    }
}

static void a_calm_time_forgives_all([[maybe_unused]] void **state)
{
    struct backoff backoff = {};
    for (int i = 0; i < 4; i++)
        (void)backoff_after_death(&backoff, START_MS);
    assert_int_equal(backoff_after_death(&backoff, START_MS + BACKOFF_WINDOW_MS + 201), 0);
}

static void calm_is_counted_from_the_end_of_the_delay([[maybe_unused]] void **state)
{
    struct backoff backoff = {};
    for (int i = 0; i < 4; i++)
        (void)backoff_after_death(&backoff, START_MS);
    assert_int_equal(backoff_after_death(&backoff, START_MS + BACKOFF_WINDOW_MS + 200), 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_two_deaths_are_answered_at_once),
        cmocka_unit_test(the_third_death_within_the_window_waits),
        cmocka_unit_test(deaths_far_apart_never_wait),
        cmocka_unit_test(the_delay_doubles_up_to_its_limit),
        cmocka_unit_test(a_calm_time_forgives_all),
        cmocka_unit_test(calm_is_counted_from_the_end_of_the_delay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
