#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/io/spool.h"

enum { BLOCK = SPOOL_BLOCK_BYTES };

static struct spool spool;

static int open_spool(void **state)
{
    (void)state;
    return spool_init(&spool, "/tmp", 8 * BLOCK);
}

static int close_spool(void **state)
{
    (void)state;
    uint32_t live = spool.live;
    spool_deinit(&spool);
    return live == 0 ? 0 : -1;
}

/* Octet `index` of body `seed`. */
static uint8_t octet(uint32_t seed, uint64_t index)
{
    return (uint8_t)(seed * 31 + index * 7 + index / 251);
}

static int append(struct spool_chain *chain, uint32_t seed, uint64_t *at, size_t length)
{
    uint8_t *data = malloc(length);
    assert_non_null(data);
    for (size_t i = 0; i < length; i++)
        data[i] = octet(seed, *at + i);
    int r = spool_append(&spool, chain, bytes_of(data, length));
    free(data);
    *at += length;
    return r;
}

static void assert_takes(struct spool_chain *chain, uint32_t seed, uint64_t from, uint64_t to, size_t capacity)
{
    uint8_t *memory = malloc(capacity);
    assert_non_null(memory);
    while (from < to) {
        size_t length = 0;
        assert_int_equal(spool_take(&spool, chain, memory, capacity, &length), 0);
        assert_in_range(length, 1, capacity);
        for (size_t i = 0; i < length; i++)
            assert_int_equal(memory[i], octet(seed, from + i));
        from += length;
    }
    assert_int_equal(from, to);
    free(memory);
}

static void what_goes_in_comes_out_in_order(void **state)
{
    (void)state;
    static const size_t steps[] = {1, 7, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct spool_chain chain = {};
        uint64_t written = 0;
        while (written + steps[i] <= 5 * BLOCK && written < 300 * steps[i])
            assert_int_equal(append(&chain, 3, &written, steps[i]), 0);
        assert_int_equal(chain.bytes, written);
        assert_takes(&chain, 3, 0, written, steps[sizeof steps / sizeof steps[0] - 1 - i]);
        assert_int_equal(chain.bytes, 0);
        assert_int_equal(spool.live, 0);
    }
}

static void chains_grow_beside_each_other(void **state)
{
    (void)state;
    struct spool_chain chains[3] = {};
    uint64_t written[3] = {};
    for (int round = 0; round < 4; round++)
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(append(&chains[i], i, &written[i], 30'000 + i), 0);
    for (uint32_t i = 0; i < 3; i++)
        assert_takes(&chains[i], i, 0, written[i], 10'000);
}

static void reading_and_writing_alternate(void **state)
{
    (void)state;
    struct spool_chain chain = {};
    uint64_t written = 0, taken = 0;
    for (int round = 0; round < 200; round++) {
        assert_int_equal(append(&chain, 9, &written, 20'000), 0);
        uint64_t until = round % 7 == 6 ? written : written - 5'000;
        while (taken < until) {
            uint64_t step = until - taken < 7'777 ? until - taken : 7'777;
            size_t length = 0;
            uint8_t memory[7'777];
            assert_int_equal(spool_take(&spool, &chain, memory, (size_t)step, &length), 0);
            for (size_t i = 0; i < length; i++)
                assert_int_equal(memory[i], octet(9, taken + i));
            taken += length;
        }
    }
    spool_release(&spool, &chain);
}

static void taking_from_an_empty_chain_gives_nothing(void **state)
{
    (void)state;
    struct spool_chain chain = {};
    uint8_t memory[1];
    size_t length = 1;
    assert_int_equal(spool_take(&spool, &chain, memory, 1, &length), 0);
    assert_int_equal(length, 0);
    spool_release(&spool, &chain);
}

static void a_full_spool_refuses_until_a_chain_is_released(void **state)
{
    (void)state;
    struct spool_chain first = {}, second = {}, third = {};
    uint64_t at = 0;
    assert_int_equal(append(&first, 1, &at, 5 * BLOCK), 0);
    at = 0;
    assert_int_equal(append(&second, 2, &at, 3 * BLOCK + 1), -ENOBUFS);
    spool_release(&spool, &second);
    at = 0;
    assert_int_equal(append(&third, 3, &at, 3 * BLOCK), 0);
    uint64_t more = at;
    assert_int_equal(append(&third, 3, &more, 1), -ENOBUFS);
    assert_takes(&third, 3, 0, at, BLOCK);
    spool_release(&spool, &first);
}

/* As many turns as it takes; returns how many. */
static int turn_until_done(void)
{
    int turns = 1;
    while (spool_turn(&spool))
        turns++;
    return turns;
}

static void released_blocks_give_their_space_back(void **state)
{
    (void)state;
    struct spool_chain chain = {};
    uint64_t at = 0;
    struct stat status;
    assert_int_equal(append(&chain, 1, &at, 4 * BLOCK), 0);
    assert_int_equal(fstat(spool.fd, &status), 0);
    assert_int_equal(status.st_nlink, 0);
    assert_true(status.st_blocks * 512 >= 4 * BLOCK);
    assert_takes(&chain, 1, 0, 2 * BLOCK, BLOCK);
    turn_until_done();
    assert_int_equal(fstat(spool.fd, &status), 0);
    assert_true(status.st_blocks * 512 < 3 * BLOCK);
    spool_release(&spool, &chain);
    turn_until_done();
    assert_int_equal(fstat(spool.fd, &status), 0);
    assert_int_equal(status.st_blocks, 0);
}

static void a_turn_gives_back_some_blocks_only(void **state)
{
    (void)state;
    struct spool_chain chain = {};
    uint64_t at = 0;
    spool_deinit(&spool);
    assert_int_equal(spool_init(&spool, "/tmp", 100 * BLOCK), 0);
    assert_int_equal(append(&chain, 1, &at, 100 * BLOCK), 0);
    spool_release(&spool, &chain);
    assert_int_equal(turn_until_done(), (100 + SPOOL_TURN_BLOCKS - 1) / SPOOL_TURN_BLOCKS);
    assert_false(spool_turn(&spool));
    at = 0;
    assert_int_equal(append(&chain, 2, &at, 100 * BLOCK), 0);
    assert_takes(&chain, 2, 0, at, BLOCK);
}

/* As a full disk does: the write fails, and nothing is lost but this body. */
static void a_write_that_fails_leaves_no_block_behind(void **state)
{
    (void)state;
    struct spool_chain whole = {}, chain = {};
    struct rlimit before;
    uint64_t at = 0, other = 0;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(append(&whole, 1, &at, 100), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit tight = {.rlim_cur = BLOCK + 10, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    assert_int_equal(append(&chain, 2, &other, 11), -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    spool_release(&spool, &chain);
    assert_int_equal(spool.live, 1);
    assert_takes(&whole, 1, 0, at, 100);
}

static void a_spool_without_room_opens_and_refuses(void **state)
{
    (void)state;
    struct spool none = {};
    struct spool_chain chain = {};
    assert_false(spool_is_open(&none));
    assert_int_equal(spool_init(&none, "/tmp", 0), 0);
    assert_true(spool_is_open(&none));
    assert_int_equal(spool_append(&none, &chain, BYTES_LITERAL("a")), -ENOBUFS);
    spool_release(&none, &chain);
    spool_deinit(&none);
    assert_int_equal(spool_init(&none, "/tmp/there is no such directory", BLOCK), -ENOENT);
    assert_false(spool_is_open(&none));
}

#define SPOOL_TEST(name) cmocka_unit_test_setup_teardown(name, open_spool, close_spool)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(what_goes_in_comes_out_in_order),
        SPOOL_TEST(chains_grow_beside_each_other),
        SPOOL_TEST(reading_and_writing_alternate),
        SPOOL_TEST(taking_from_an_empty_chain_gives_nothing),
        SPOOL_TEST(a_full_spool_refuses_until_a_chain_is_released),
        SPOOL_TEST(released_blocks_give_their_space_back),
        SPOOL_TEST(a_turn_gives_back_some_blocks_only),
        SPOOL_TEST(a_write_that_fails_leaves_no_block_behind),
        cmocka_unit_test(a_spool_without_room_opens_and_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
