#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "daemon/exchange/block_pool.h"

enum { SMALL = 5, LARGE = 3, OFFSET = 8192 };

static int setup(void **state)
{
    static struct block_pool pool;
    *state = &pool;
    return block_pool_init(&pool, OFFSET, SMALL, LARGE);
}

static int teardown(void **state)
{
    block_pool_deinit(*state);
    return 0;
}

static void every_block_is_lent_once_and_then_the_pool_is_empty(void **state)
{
    struct block_pool *pool = *state;
    bool seen[SMALL + LARGE] = {};
    for (int i = 0; i < SMALL + LARGE; i++) {
        int64_t block = i < SMALL ? block_pool_borrow_small(pool, 1) : block_pool_borrow_large(pool, 1);
        assert_in_range(block, i < SMALL ? 0 : SMALL, i < SMALL ? SMALL - 1 : SMALL + LARGE - 1);
        assert_false(seen[block]);
        seen[block] = true;
    }
    assert_int_equal(block_pool_borrow_small(pool, 1), -ENOBUFS);
    assert_int_equal(block_pool_borrow_large(pool, 1), -ENOBUFS);
    assert_int_equal(block_pool_lent(pool), SMALL + LARGE);
    for (uint32_t i = 0; i < SMALL + LARGE; i++)
        assert_true(block_pool_give_back(pool, i, NULL));
    assert_int_equal(block_pool_lent(pool), 0);
}

static void blocks_lie_side_by_side_without_overlap(void **state)
{
    const struct block_pool *pool = *state;
    uint32_t expected = OFFSET;
    assert_int_equal(block_pool_count(pool), SMALL + LARGE);
    for (uint32_t i = 0; i < SMALL + LARGE; i++) {
        assert_int_equal(block_pool_offset(pool, i), expected);
        expected += block_pool_bytes(pool, i);
    }
    assert_int_equal(expected, OFFSET + SMALL * LAYOUT_SMALL_BLOCK_BYTES + LARGE * LAYOUT_LARGE_BLOCK_BYTES);
}

static void the_block_used_last_is_used_next(void **state)
{
    struct block_pool *pool = *state;
    assert_int_equal(block_pool_borrow_small(pool, 1), 0);
    assert_int_equal(block_pool_borrow_small(pool, 1), 1);
    assert_int_equal(block_pool_borrow_large(pool, 1), SMALL);
    assert_true(block_pool_give_back(pool, 0, NULL));
    assert_int_equal(block_pool_borrow_small(pool, 1), 0);
}

static void a_number_that_is_not_on_loan_is_refused(void **state)
{
    struct block_pool *pool = *state;
    uint32_t borrower = 77;
    assert_false(block_pool_give_back(pool, 0, &borrower));
    assert_false(block_pool_give_back(pool, SMALL + LARGE, &borrower));
    assert_false(block_pool_give_back(pool, UINT32_MAX, &borrower));
    assert_int_equal(borrower, 77);

    int64_t block = block_pool_borrow_large(pool, 5);
    assert_true(block_pool_give_back(pool, (uint32_t)block, &borrower));
    assert_int_equal(borrower, 5);
    assert_false(block_pool_give_back(pool, (uint32_t)block, &borrower));
    assert_int_equal(block_pool_lent(pool), 0);
}

static void a_pool_may_have_no_blocks_of_a_size(void **state)
{
    (void)state;
    struct block_pool pool;
    assert_int_equal(block_pool_init(&pool, 0, 0, 1), 0);
    assert_int_equal(block_pool_borrow_small(&pool, 1), -ENOBUFS);
    assert_int_equal(block_pool_borrow_large(&pool, 1), 0);
    assert_int_equal(block_pool_offset(&pool, 0), 0);
    assert_int_equal(block_pool_bytes(&pool, 0), LAYOUT_LARGE_BLOCK_BYTES);
    block_pool_deinit(&pool);
    block_pool_deinit(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_block_is_lent_once_and_then_the_pool_is_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(blocks_lie_side_by_side_without_overlap, setup, teardown),
        cmocka_unit_test_setup_teardown(the_block_used_last_is_used_next, setup, teardown),
        cmocka_unit_test_setup_teardown(a_number_that_is_not_on_loan_is_refused, setup, teardown),
        cmocka_unit_test(a_pool_may_have_no_blocks_of_a_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
