#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/spin_policy.h"
#include <cmocka.h>

static void who_is_told_to_sleep_never_spins([[maybe_unused]] void **state)
{
    struct spin_policy policy;
    spin_policy_init(&policy, false, false, 64, 2);
    spin_policy_learn(&policy, 1);
    assert_int_equal(policy.spin_ns, 0);
}

static void who_is_told_to_spin_always_does_for_as_long([[maybe_unused]] void **state)
{
    struct spin_policy policy;
    spin_policy_init(&policy, true, false, 1, 2);
    spin_policy_learn(&policy, 1'000'000'000);
    assert_int_equal(policy.spin_ns, SPIN_MOST_NS);
}

static void adaptive_is_off_where_no_cpu_is_left_over([[maybe_unused]] void **state)
{
    struct spin_policy policy;
    spin_policy_init(&policy, true, true, 2, 2);
    spin_policy_learn(&policy, 1);
    assert_int_equal(policy.spin_ns, 0);
    spin_policy_init(&policy, true, true, 3, 2);
    assert_int_equal(policy.spin_ns, SPIN_LEAST_NS);
}

static void adaptive_grows_with_short_waits_and_shrinks_with_long_ones([[maybe_unused]] void **state)
{
    struct spin_policy policy;
    spin_policy_init(&policy, true, true, 8, 2);
    spin_policy_learn(&policy, SPIN_MOST_NS);
    assert_int_equal(policy.spin_ns, 2 * SPIN_LEAST_NS);
    for (int i = 0; i < 10; i++)
        spin_policy_learn(&policy, SPIN_LEAST_NS);
    assert_int_equal(policy.spin_ns, SPIN_MOST_NS);
    spin_policy_learn(&policy, SPIN_MOST_NS + 1);
    assert_int_equal(policy.spin_ns, SPIN_MOST_NS / 2);
    for (int i = 0; i < 10; i++)
        spin_policy_learn(&policy, 1'000'000);
    assert_int_equal(policy.spin_ns, SPIN_LEAST_NS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_told_to_sleep_never_spins),
        cmocka_unit_test(who_is_told_to_spin_always_does_for_as_long),
        cmocka_unit_test(adaptive_is_off_where_no_cpu_is_left_over),
        cmocka_unit_test(adaptive_grows_with_short_waits_and_shrinks_with_long_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
