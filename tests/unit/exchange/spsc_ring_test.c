#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "daemon/exchange/spsc_ring.h"

enum { CAPACITY = 8 };

/* A ring with both ends in one process. */
struct pair {
    struct spsc_position tail;
    struct spsc_position head;
    struct message entries[CAPACITY];
    struct spsc_writer writer;
    struct spsc_reader reader;
};

static void pair_init(struct pair *pair, uint32_t epoch)
{
    pair->writer = (struct spsc_writer){
        .entries = pair->entries, .tail = &pair->tail, .head = &pair->head, .capacity = CAPACITY, .epoch = epoch};
    pair->reader = (struct spsc_reader){
        .entries = pair->entries, .tail = &pair->tail, .head = &pair->head, .capacity = CAPACITY, .epoch = epoch};
}

static bool push(struct pair *pair, uint32_t number)
{
    struct message message = {.kind = MESSAGE_REQUEST, .slot = number, .generation = ~number};
    return spsc_push(&pair->writer, &message);
}

static void assert_popped(struct pair *pair, uint32_t number)
{
    struct message message;
    assert_int_equal(spsc_pop(&pair->reader, &message), 1);
    assert_int_equal(message.kind, MESSAGE_REQUEST);
    assert_int_equal(message.slot, number);
    assert_int_equal(message.generation, ~number);
}

static void assert_empty(struct pair *pair)
{
    struct message message = {.slot = 77};
    assert_int_equal(spsc_pop(&pair->reader, &message), 0);
    assert_int_equal(message.slot, 77);
    assert_false(spsc_reader_pending(&pair->reader));
}

static void an_empty_ring_gives_nothing(void **state)
{
    (void)state;
    struct pair pair = {};
    pair_init(&pair, 0);
    assert_empty(&pair);
    assert_int_equal(spsc_writer_room(&pair.writer), CAPACITY);
}

static void messages_come_out_whole_and_in_order(void **state)
{
    (void)state;
    struct pair pair = {};
    pair_init(&pair, 3);
    for (uint32_t i = 0; i < 5; i++)
        assert_true(push(&pair, i));
    assert_true(spsc_reader_pending(&pair.reader));
    for (uint32_t i = 0; i < 5; i++)
        assert_popped(&pair, i);
    assert_empty(&pair);
}

static void a_full_ring_refuses_and_loses_nothing(void **state)
{
    (void)state;
    struct pair pair = {};
    pair_init(&pair, 0);
    for (uint32_t i = 0; i < CAPACITY; i++)
        assert_true(push(&pair, i));
    assert_int_equal(spsc_writer_room(&pair.writer), 0);
    assert_false(push(&pair, 99));

    assert_popped(&pair, 0);
    assert_int_equal(spsc_writer_room(&pair.writer), 1);
    assert_true(push(&pair, CAPACITY));
    assert_false(push(&pair, 99));
    for (uint32_t i = 1; i <= CAPACITY; i++)
        assert_popped(&pair, i);
    assert_empty(&pair);
}

static void positions_run_over_the_end_of_32_bits(void **state)
{
    (void)state;
    struct pair pair = {};
    const uint32_t start = UINT32_MAX - 20;
    pair_init(&pair, 7);
    pair.tail.value = pair.head.value = (uint64_t)7 << 32 | start;
    pair.writer.position = pair.writer.head_seen = pair.reader.position = pair.reader.tail_seen = start;

    for (uint32_t i = 0; i < 50; i++) {
        assert_true(push(&pair, 2 * i));
        assert_true(push(&pair, 2 * i + 1));
        assert_popped(&pair, 2 * i);
        assert_popped(&pair, 2 * i + 1);
    }
    assert_int_equal((uint32_t)pair.tail.value, start + 100);
    assert_int_equal((uint32_t)(pair.tail.value >> 32), 7);
    assert_empty(&pair);
}

static void a_tail_further_than_the_capacity_is_the_writers_fault(void **state)
{
    (void)state;
    const uint32_t impossible[] = {CAPACITY + 1, 1 << 20, UINT32_MAX};
    for (size_t i = 0; i < sizeof impossible / sizeof impossible[0]; i++) {
        struct pair pair = {};
        struct message message;
        pair_init(&pair, 0);
        pair.tail.value = impossible[i];
        assert_int_equal(spsc_pop(&pair.reader, &message), -EPROTO);
        assert_int_equal(pair.reader.position, 0);
        assert_int_equal(pair.head.value, 0);
    }
}

static void a_tail_that_runs_backwards_is_the_writers_fault(void **state)
{
    (void)state;
    struct pair pair = {};
    struct message message;
    pair_init(&pair, 0);
    assert_true(push(&pair, 1));
    assert_true(push(&pair, 2));
    assert_popped(&pair, 1);
    assert_popped(&pair, 2);
    pair.tail.value = 1;
    assert_int_equal(spsc_pop(&pair.reader, &message), -EPROTO);
}

static void a_head_that_makes_no_sense_gives_no_room(void **state)
{
    (void)state;
    const uint32_t impossible[] = {CAPACITY + 1, UINT32_MAX - CAPACITY, 1U << 31};
    for (size_t i = 0; i < sizeof impossible / sizeof impossible[0]; i++) {
        struct pair pair = {};
        pair_init(&pair, 0);
        for (uint32_t n = 0; n < CAPACITY; n++)
            assert_true(push(&pair, n));
        pair.head.value = impossible[i];
        assert_int_equal(spsc_writer_room(&pair.writer), 0);
        assert_false(push(&pair, 99));
        pair.head.value = 1;
        assert_int_equal(spsc_writer_room(&pair.writer), 1);
    }
}

/* The successor of a dead reader begins while the survivor's words are still those of the pair before. */
static void a_tail_of_an_earlier_epoch_reads_as_empty(void **state)
{
    (void)state;
    struct pair pair = {};
    pair_init(&pair, 1);
    for (uint32_t i = 0; i < 5; i++)
        assert_true(push(&pair, i));
    pair.head = (struct spsc_position){};
    pair.reader = (struct spsc_reader){
        .entries = pair.entries, .tail = &pair.tail, .head = &pair.head, .capacity = CAPACITY, .epoch = 2};
    assert_empty(&pair);

    pair_init(&pair, 2);
    assert_empty(&pair);
    assert_true(push(&pair, 40));
    assert_popped(&pair, 40);
    assert_empty(&pair);
}

static void a_head_of_an_earlier_epoch_reads_as_nothing_popped(void **state)
{
    (void)state;
    struct pair pair = {};
    pair.head.value = (uint64_t)1 << 32 | 5;
    pair_init(&pair, 2);
    for (uint32_t i = 0; i < CAPACITY; i++)
        assert_true(push(&pair, i));
    assert_false(push(&pair, 99));
    for (uint32_t i = 0; i < CAPACITY; i++)
        assert_popped(&pair, i);
    assert_int_equal(spsc_writer_room(&pair.writer), CAPACITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_ring_gives_nothing),
        cmocka_unit_test(messages_come_out_whole_and_in_order),
        cmocka_unit_test(a_full_ring_refuses_and_loses_nothing),
        cmocka_unit_test(positions_run_over_the_end_of_32_bits),
        cmocka_unit_test(a_tail_further_than_the_capacity_is_the_writers_fault),
        cmocka_unit_test(a_tail_that_runs_backwards_is_the_writers_fault),
        cmocka_unit_test(a_head_that_makes_no_sense_gives_no_room),
        cmocka_unit_test(a_tail_of_an_earlier_epoch_reads_as_empty),
        cmocka_unit_test(a_head_of_an_earlier_epoch_reads_as_nothing_popped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
