#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/exchange/slot.h"

static void a_queued_slot_goes_to_whoever_claims_first(void **state)
{
    (void)state;
    const enum slot_claim order[][2] = {{SLOT_BEGUN, SLOT_RECALLED}, {SLOT_RECALLED, SLOT_BEGUN}};
    for (int i = 0; i < 2; i++) {
        _Atomic uint32_t word = 0;
        slot_claim_set(&word, 12, SLOT_QUEUED);
        assert_true(slot_claim_take(&word, 12, order[i][0]));
        assert_false(slot_claim_take(&word, 12, order[i][1]));
        assert_false(slot_claim_take(&word, 12, order[i][0]));
        assert_int_equal(slot_claim_of(word), order[i][0]);
    }
}

static void a_free_slot_cannot_be_claimed(void **state)
{
    (void)state;
    _Atomic uint32_t word = 0;
    assert_false(slot_claim_take(&word, 0, SLOT_BEGUN));
    slot_claim_set(&word, 4, SLOT_FREE);
    assert_false(slot_claim_take(&word, 4, SLOT_BEGUN));
    assert_int_equal(slot_claim_of(word), SLOT_FREE);
}

static void a_stale_queue_entry_cannot_claim_the_next_life(void **state)
{
    (void)state;
    _Atomic uint32_t word = 0;
    slot_claim_set(&word, 12, SLOT_QUEUED);
    assert_true(slot_claim_take(&word, 12, SLOT_RECALLED));
    slot_claim_set(&word, 12, SLOT_FREE);
    slot_claim_set(&word, 13, SLOT_QUEUED);
    assert_false(slot_claim_take(&word, 12, SLOT_BEGUN));
    assert_int_equal(word, slot_claim_word(13, SLOT_QUEUED));
    assert_true(slot_claim_take(&word, 13, SLOT_BEGUN));
}

static void generations_wrap_at_30_bits_and_leave_the_claim_alone(void **state)
{
    (void)state;
    _Atomic uint32_t word = 0;
    slot_claim_set(&word, SLOT_GENERATION_MASK, SLOT_QUEUED);
    assert_int_equal(slot_claim_of(word), SLOT_QUEUED);
    assert_false(slot_claim_take(&word, 0, SLOT_BEGUN));
    slot_claim_set(&word, (uint32_t)SLOT_GENERATION_MASK + 1, SLOT_QUEUED);
    assert_int_equal(slot_claim_of(word), SLOT_QUEUED);
    assert_true(slot_claim_take(&word, 0, SLOT_BEGUN));
}

static void records_and_pages_have_the_pinned_shape(void **state)
{
    (void)state;
    assert_int_equal(offsetof(struct slot_record, method), 16);
    assert_int_equal(offsetof(struct slot_record, request_id), 56);
    assert_int_equal(offsetof(struct slot_record, client), 64);
    assert_int_equal(offsetof(struct slot_record, fields), sizeof(struct slot_record));
    assert_int_equal(offsetof(struct pair_page, io_sleeping), 64);
    assert_int_equal(offsetof(struct pair_page, claims), 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queued_slot_goes_to_whoever_claims_first),
        cmocka_unit_test(a_free_slot_cannot_be_claimed),
        cmocka_unit_test(a_stale_queue_entry_cannot_claim_the_next_life),
        cmocka_unit_test(generations_wrap_at_30_bits_and_leave_the_claim_alone),
        cmocka_unit_test(records_and_pages_have_the_pinned_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
