#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/io/memory_account.h"

/* Charges or credits until so much is charged, and looks. */
static enum memory_step at(struct memory_account *account, uint64_t bytes)
{
    if (bytes > account->charged)
        memory_account_charge(account, bytes - account->charged);
    else
        memory_account_credit(account, account->charged - bytes);
    const enum memory_step before = account->step;
    const bool changed = memory_account_look(account, 0);
    assert_int_equal(changed, account->step != before);
    assert_int_equal(account->bytes, bytes);
    return account->step;
}

static void steps_begin_at_85_and_95_percent(void **state)
{
    (void)state;
    struct memory_account account = {.bytes_max = 1'000};
    assert_int_equal(at(&account, 849), MEMORY_NORMAL);
    assert_int_equal(at(&account, 850), MEMORY_SCARCE);
    assert_int_equal(at(&account, 949), MEMORY_SCARCE);
    assert_int_equal(at(&account, 950), MEMORY_EXHAUSTED);
    assert_int_equal(at(&account, 5'000), MEMORY_EXHAUSTED);
}

static void steps_end_lower_than_they_begin(void **state)
{
    (void)state;
    struct memory_account account = {.bytes_max = 1'000};
    assert_int_equal(at(&account, 950), MEMORY_EXHAUSTED);
    assert_int_equal(at(&account, 900), MEMORY_EXHAUSTED);
    assert_int_equal(at(&account, 899), MEMORY_SCARCE);
    assert_int_equal(at(&account, 949), MEMORY_SCARCE);
    assert_int_equal(at(&account, 750), MEMORY_SCARCE);
    assert_int_equal(at(&account, 749), MEMORY_NORMAL);
    assert_int_equal(at(&account, 849), MEMORY_NORMAL);
}

static void a_jump_passes_both_steps_at_once(void **state)
{
    (void)state;
    struct memory_account account = {.bytes_max = 1'000};
    assert_int_equal(at(&account, 1'000), MEMORY_EXHAUSTED);
    assert_int_equal(at(&account, 0), MEMORY_NORMAL);
}

static void without_a_cap_nothing_is_scarce(void **state)
{
    (void)state;
    struct memory_account account = {};
    assert_int_equal(at(&account, UINT64_MAX / 2), MEMORY_NORMAL);
}

static void a_cap_that_is_taken_away_or_raised_ends_the_step(void **state)
{
    (void)state;
    struct memory_account account = {.bytes_max = 1'000};
    assert_int_equal(at(&account, 1'000), MEMORY_EXHAUSTED);
    account.bytes_max = 10'000;
    assert_int_equal(at(&account, 1'000), MEMORY_NORMAL);
}

static void a_cap_of_any_size_is_divided_without_overflow(void **state)
{
    (void)state;
    struct memory_account account = {.bytes_max = UINT64_MAX};
    assert_int_equal(at(&account, UINT64_MAX / 10 * 8), MEMORY_NORMAL);
    assert_int_equal(at(&account, UINT64_MAX / 10 * 9), MEMORY_SCARCE);
    assert_int_equal(at(&account, UINT64_MAX), MEMORY_EXHAUSTED);
}

static void live_objects_of_watched_slabs_count(void **state)
{
    (void)state;
    struct memory_account account = {.bytes_max = 1'000};
    struct slab slab;
    slab_init(&slab, 160, 4);
    memory_account_watch(&account, &slab);
    void *objects[6];
    for (int i = 0; i < 6; i++)
        assert_non_null(objects[i] = slab_borrow(&slab));
    memory_account_charge(&account, 30);
    assert_true(memory_account_look(&account, 10));
    assert_int_equal(account.bytes, 6 * 160 + 30 + 10);
    assert_int_equal(account.step, MEMORY_EXHAUSTED);
    for (int i = 0; i < 6; i++)
        slab_give_back(&slab, objects[i]);
    memory_account_credit(&account, 30);
    assert_true(memory_account_look(&account, 0));
    assert_int_equal(account.bytes, 0);
    slab_deinit(&slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_begin_at_85_and_95_percent),
        cmocka_unit_test(steps_end_lower_than_they_begin),
        cmocka_unit_test(a_jump_passes_both_steps_at_once),
        cmocka_unit_test(without_a_cap_nothing_is_scarce),
        cmocka_unit_test(a_cap_that_is_taken_away_or_raised_ends_the_step),
        cmocka_unit_test(a_cap_of_any_size_is_divided_without_overflow),
        cmocka_unit_test(live_objects_of_watched_slabs_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
