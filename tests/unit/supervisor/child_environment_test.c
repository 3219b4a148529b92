#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/owned.h"
#include "daemon/supervisor/child_environment.h"

static char *text(const char *constant)
{
    return (char *)(uintptr_t)constant;
}

static void later_lists_win_and_a_bare_name_removes(void **state)
{
    (void)state;
    char *const base[] = {text("A=1"), text("B=2"), text("AB=3"), NULL};
    char *first_items[] = {text("A=first"), text("C=4"), text("B")};
    char *second_items[] = {text("C=second"), text("D="), text("NOT_THERE")};
    const struct string_list first = {3, first_items}, second = {3, second_items};
    const struct string_list *const changes[] = {&first, &second};
    OWNED_MEMORY char **result = child_environment_create(base, changes, 2);
    static const char *const expected[] = {"AB=3", "A=first", "C=second", "D="};
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(result[i], expected[i]);
    assert_null(result[4]);
}

static void no_changes_give_the_same_environment(void **state)
{
    (void)state;
    char *const base[] = {text("A=1"), NULL};
    OWNED_MEMORY char **result = child_environment_create(base, NULL, 0);
    assert_string_equal(result[0], "A=1");
    assert_null(result[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(later_lists_win_and_a_bare_name_removes),
        cmocka_unit_test(no_changes_give_the_same_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
