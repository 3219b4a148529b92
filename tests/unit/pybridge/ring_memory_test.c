#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "pybridge/ring_memory.h"
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { INBOUND_BYTES = 8'192, PAIR_BYTES = 4'096 };

/* The descriptor alone, as it comes over the control socket. */
static int make_arena(size_t bytes, enum arena_seal seal)
{
    struct arena arena;
    assert_int_equal(arena_create(&arena, "ring-memory-test", bytes, seal), 0);
    int fd = dup(arena.fd);
    assert_true(fd >= 0);
    arena_deinit(&arena);
    return fd;
}

static bool is_closed(int fd)
{
    return fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

static void the_last_holder_frees_it([[maybe_unused]] void **state)
{
    int inbound = make_arena(INBOUND_BYTES, ARENA_SEAL_SIZE), pair = make_arena(PAIR_BYTES, ARENA_SEAL_SIZE);
    struct ring_memory *memory = ring_memory_adopt(inbound, INBOUND_BYTES, pair, PAIR_BYTES);
    assert_non_null(memory);
    assert_int_equal(memory->spool, -1);
    memory->spool = make_arena(PAIR_BYTES, ARENA_SEAL_SIZE);
    int spool = memory->spool;
    memory->holders++;
    ring_memory_release(memory);
    assert_false(is_closed(spool));
    assert_int_equal(memory->pair->claims[0], 0);
    ring_memory_release(memory);
    assert_true(is_closed(spool));
}

static void what_is_too_small_is_refused_and_closed([[maybe_unused]] void **state)
{
    int inbound = make_arena(INBOUND_BYTES, ARENA_SEAL_SIZE), pair = make_arena(PAIR_BYTES, ARENA_SEAL_SIZE);
    assert_null(ring_memory_adopt(inbound, 2 * INBOUND_BYTES, pair, PAIR_BYTES));
    assert_true(is_closed(inbound));
    assert_true(is_closed(pair));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_holder_frees_it),
        cmocka_unit_test(what_is_too_small_is_refused_and_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
