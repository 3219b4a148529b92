#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
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

/* A body as an exchange has one: a run, and another where that cannot grow. */
enum { RUNS_MAX = 64 };

struct body {
    struct spool_run runs[RUNS_MAX];
    uint32_t count;
    uint64_t bytes;
    uint32_t seed;
};

static int append_some(struct body *body, struct bytes *data)
{
    size_t length = 0;
    int r = body->count > 0 ? spool_append(&spool, &body->runs[body->count - 1], *data, &length) : 0;
    if (r == 0 && length == 0) {
        assert_in_range(body->count, 0, RUNS_MAX - 1);
        body->runs[body->count] = (struct spool_run){};
        r = spool_append(&spool, &body->runs[body->count], *data, &length);
        body->count += r == 0;
    }
    *data = bytes_skip(*data, length);
    body->bytes += length;
    return r;
}

static int append(struct body *body, size_t length)
{
    uint8_t *octets = malloc(length);
    assert_non_null(octets);
    for (size_t i = 0; i < length; i++)
        octets[i] = octet(body->seed, body->bytes + i);
    struct bytes data = bytes_of(octets, length);
    int r = 0;
    while (r == 0 && data.length > 0)
        r = append_some(body, &data);
    free(octets);
    return r;
}

/* As an app process reads them: through the other descriptor. */
static void assert_holds(const struct body *body)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < body->count; i++) {
        const struct spool_run *run = &body->runs[i];
        uint8_t *memory = malloc(run->bytes);
        assert_non_null(memory);
        assert_in_range(run->bytes, (uint64_t)(run->blocks - 1) * BLOCK + 1, (uint64_t)run->blocks * BLOCK);
        assert_int_equal(pread(spool.reader_fd, memory, run->bytes, (off_t)run->first * BLOCK), run->bytes);
        for (uint32_t k = 0; k < run->bytes; k++)
            assert_int_equal(memory[k], octet(body->seed, at + k));
        at += run->bytes;
        free(memory);
    }
    assert_int_equal(at, body->bytes);
}

static void release(struct body *body)
{
    for (uint32_t i = 0; i < body->count; i++)
        spool_release(&spool, &body->runs[i]);
    body->count = 0;
    body->bytes = 0;
}

/* One run, hardly written: where only blocks count. */
static void take_blocks(struct body *body, uint32_t count)
{
    struct spool_run *run = &body->runs[0];
    do {
        run->bytes = run->blocks * BLOCK;
        assert_int_equal(append(body, 1), 0);
    } while (run->blocks < count);
    assert_int_equal(body->count, 1);
    run->bytes = run->blocks * BLOCK;
}

static void open_larger(uint32_t blocks)
{
    spool_deinit(&spool);
    assert_int_equal(spool_init(&spool, "/tmp", (uint64_t)blocks * BLOCK), 0);
}

/* ---- octets ----------------------------------------------------------------------------------------------------- */

static void what_goes_in_is_read_in_order(void **state)
{
    (void)state;
    static const size_t steps[] = {1, 7, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct body body = {.seed = 3};
        while (body.bytes + steps[i] <= 5 * BLOCK && body.bytes < 300 * steps[i])
            assert_int_equal(append(&body, steps[i]), 0);
        assert_int_equal(body.count, 1);
        assert_holds(&body);
        release(&body);
        assert_int_equal(spool.live, 0);
    }
}

static void bodies_grow_beside_each_other(void **state)
{
    (void)state;
    struct body bodies[3] = {{.seed = 0}, {.seed = 1}, {.seed = 2}};
    for (int round = 0; round < 4; round++)
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(append(&bodies[i], 30'000 + i), 0);
    for (uint32_t i = 0; i < 3; i++) {
        assert_holds(&bodies[i]);
        release(&bodies[i]);
    }
}

static void a_body_grows_in_one_run_while_there_is_room_beside_the_others(void **state)
{
    (void)state;
    struct body bodies[4] = {{.seed = 0}, {.seed = 1}, {.seed = 2}, {.seed = 3}};
    open_larger(4 * 32);
    for (int round = 0; round < 32; round++)
        for (uint32_t i = 0; i < 4; i++)
            assert_int_equal(append(&bodies[i], BLOCK), 0);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(bodies[i].count, 1);
        assert_holds(&bodies[i]);
        release(&bodies[i]);
    }
}

static void a_run_ends_where_it_is_as_long_as_one_may_be(void **state)
{
    (void)state;
    struct body body = {.seed = 5};
    open_larger(SPOOL_RUN_BLOCKS + 32);
    take_blocks(&body, SPOOL_RUN_BLOCKS);
    assert_int_equal(append(&body, 1), 0);
    assert_int_equal(body.count, 2);
    assert_int_equal(body.runs[1].first, SPOOL_RUN_BLOCKS);
    release(&body);
}

static void who_may_read_may_not_write(void **state)
{
    (void)state;
    char path[64];
    assert_int_equal(write(spool.reader_fd, "x", 1), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(ftruncate(spool.reader_fd, 0), -1);
    if (geteuid() == 0)
        return; /* who may do all */
    snprintf(path, sizeof path, "/proc/self/fd/%d", spool.reader_fd);
    assert_int_equal(open(path, O_RDWR), -1);
}

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

static void a_full_spool_refuses_until_a_body_is_released(void **state)
{
    (void)state;
    struct body first = {.seed = 1}, second = {.seed = 2}, third = {.seed = 3};
    assert_int_equal(append(&first, 5 * BLOCK), 0);
    assert_int_equal(append(&second, 3 * BLOCK + 1), -ENOBUFS);
    assert_int_equal(second.bytes, 3 * BLOCK);
    release(&second);
    assert_int_equal(append(&third, 3 * BLOCK), 0);
    assert_int_equal(append(&third, 1), -ENOBUFS);
    assert_holds(&third);
    release(&first);
    assert_int_equal(append(&third, 5 * BLOCK), 0);
    assert_holds(&third);
    release(&third);
}

/* Every block is found again, however the bodies before lay. */
static void no_block_is_lost_over_many_bodies(void **state)
{
    (void)state;
    struct body bodies[8] = {};
    open_larger(75);
    for (uint32_t round = 0; round < 400; round++) {
        struct body *body = &bodies[round * 5 % 8];
        if (body->bytes > 0)
            assert_holds(body);
        release(body);
        body->seed = round;
        (void)!append(body, 1 + (size_t)(round * 7919 % 12) * BLOCK / 2);
    }
    for (uint32_t i = 0; i < 8; i++)
        release(&bodies[i]);
    assert_int_equal(spool.live, 0);
    assert_int_equal(append(&bodies[0], 75 * BLOCK), 0);
    assert_int_equal(bodies[0].count, 1);
    release(&bodies[0]);
}

/* ---- space ------------------------------------------------------------------------------------------------------ */

static uint64_t space(void)
{
    struct stat status;
    assert_int_equal(fstat(spool.fd, &status), 0);
    assert_int_equal(status.st_nlink, 0);
    return (uint64_t)status.st_blocks * 512;
}

/* As many turns as it takes; returns how many. */
static int turn_until_done(uint64_t now_ms)
{
    int turns = 1;
    while (spool_turn(&spool, now_ms) == now_ms)
        turns++;
    return turns;
}

static void released_blocks_give_their_space_back_when_it_is_quiet(void **state)
{
    (void)state;
    struct body kept = {.seed = 1}, body = {.seed = 2};
    assert_int_equal(append(&kept, BLOCK), 0);
    assert_int_equal(append(&body, 4 * BLOCK), 0);
    assert_in_range(space(), 5 * BLOCK, 6 * BLOCK);
    assert_int_equal(spool_turn(&spool, 1'000), UINT64_MAX);
    release(&body);
    assert_int_equal(spool_turn(&spool, 1'500), 1'000 + SPOOL_QUIET_MS);
    assert_in_range(space(), 5 * BLOCK, 6 * BLOCK);
    turn_until_done(1'000 + SPOOL_QUIET_MS);
    assert_in_range(space(), BLOCK, 2 * BLOCK);
    assert_holds(&kept);
    release(&kept);
    turn_until_done(3'000);
    assert_int_equal(space(), 0);
    assert_int_equal(spool_turn(&spool, 4'000), UINT64_MAX);
}

static void a_block_that_is_used_again_keeps_its_space(void **state)
{
    (void)state;
    struct body body = {.seed = 1};
    assert_int_equal(append(&body, 4 * BLOCK), 0);
    release(&body);
    body.seed = 2;
    assert_int_equal(append(&body, 4 * BLOCK), 0);
    assert_int_equal(spool.stale, 0);
    turn_until_done(100'000);
    assert_holds(&body);
    release(&body);
}

static void a_turn_gives_back_some_blocks_only_and_keeps_the_first_ones_warm(void **state)
{
    (void)state;
    enum { MORE = 3 * SPOOL_TURN_BLOCKS };
    struct body body = {.seed = 1};
    open_larger(SPOOL_WARM_BLOCKS + MORE);
    take_blocks(&body, SPOOL_WARM_BLOCKS + MORE);
    release(&body);
    assert_int_equal(turn_until_done(1'000), 3);
    assert_int_equal(spool.stale, SPOOL_WARM_BLOCKS);
    body.seed = 2;
    assert_int_equal(append(&body, BLOCK), 0);
    assert_int_equal(spool.stale, SPOOL_WARM_BLOCKS - 1);
    assert_int_equal(body.runs[0].first, 0);
    release(&body);
    turn_until_done(100'000);
    turn_until_done(200'000);
    assert_int_equal(space(), 0);
}

/* As a full disk does: the write fails, and nothing is lost but this body. */
static void a_write_that_fails_leaves_no_block_behind(void **state)
{
    (void)state;
    struct body whole = {.seed = 1}, body = {.seed = 2};
    struct rlimit before;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(append(&whole, 100), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit tight = {.rlim_cur = BLOCK + 10, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    assert_int_equal(append(&body, 11), -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(spool.live, 1);
    release(&body);
    assert_holds(&whole);
    release(&whole);
}

static void a_spool_without_room_opens_and_refuses(void **state)
{
    (void)state;
    struct spool none = {};
    struct spool_run run = {};
    size_t length = 0;
    assert_false(spool_is_open(&none));
    assert_int_equal(spool_init(&none, "/tmp", 0), 0);
    assert_true(spool_is_open(&none));
    assert_int_equal(spool_append(&none, &run, BYTES_LITERAL("a"), &length), -ENOBUFS);
    spool_release(&none, &run);
    spool_deinit(&none);
    assert_int_equal(spool_init(&none, "/tmp/there is no such directory", BLOCK), -ENOENT);
    assert_false(spool_is_open(&none));
}

#define SPOOL_TEST(name) cmocka_unit_test_setup_teardown(name, open_spool, close_spool)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(what_goes_in_is_read_in_order),
        SPOOL_TEST(bodies_grow_beside_each_other),
        SPOOL_TEST(a_body_grows_in_one_run_while_there_is_room_beside_the_others),
        SPOOL_TEST(a_run_ends_where_it_is_as_long_as_one_may_be),
        SPOOL_TEST(who_may_read_may_not_write),
        SPOOL_TEST(a_full_spool_refuses_until_a_body_is_released),
        SPOOL_TEST(no_block_is_lost_over_many_bodies),
        SPOOL_TEST(released_blocks_give_their_space_back_when_it_is_quiet),
        SPOOL_TEST(a_block_that_is_used_again_keeps_its_space),
        SPOOL_TEST(a_turn_gives_back_some_blocks_only_and_keeps_the_first_ones_warm),
        SPOOL_TEST(a_write_that_fails_leaves_no_block_behind),
        cmocka_unit_test(a_spool_without_room_opens_and_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
