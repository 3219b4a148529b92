#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/supervisor/verdict.h"
#include <cmocka.h>

#include <string.h>

static void a_verdict_is_taken_once([[maybe_unused]] void **state)
{
    struct verdict verdict = {};
    verdict_stop(&verdict, 3);
    struct verdict taken = verdict_take(&verdict);
    assert_int_equal(taken.kind, VERDICT_STOP);
    assert_int_equal(taken.exit_code, 3);
    assert_int_equal(verdict_take(&verdict).kind, VERDICT_NONE);
}

static void of_two_alike_the_first_stays([[maybe_unused]] void **state)
{
    struct verdict verdict = {};
    verdict_reload_fails(&verdict, "first");
    verdict_reload_fails(&verdict, "second");
    assert_string_equal(verdict.why, "first");
    verdict_stop(&verdict, 3);
    verdict_stop(&verdict, 1);
    assert_int_equal(verdict.exit_code, 3);
}

static void a_stop_is_graver_than_a_reload_that_fails([[maybe_unused]] void **state)
{
    struct verdict verdict = {};
    verdict_reload_fails(&verdict, "why");
    verdict_stop(&verdict, 4);
    verdict_reload_fails(&verdict, "why");
    assert_int_equal(verdict.kind, VERDICT_STOP);
    assert_int_equal(verdict.exit_code, 4);
}

static void a_reason_that_is_too_long_is_cut([[maybe_unused]] void **state)
{
    struct verdict verdict = {};
    char why[2 * VERDICT_WHY_BYTES];
    memset(why, 'x', sizeof why - 1);
    why[sizeof why - 1] = '\0';
    verdict_reload_fails(&verdict, why);
    assert_int_equal(strlen(verdict.why), VERDICT_WHY_BYTES - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_verdict_is_taken_once),
        cmocka_unit_test(of_two_alike_the_first_stays),
        cmocka_unit_test(a_stop_is_graver_than_a_reload_that_fails),
        cmocka_unit_test(a_reason_that_is_too_long_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
