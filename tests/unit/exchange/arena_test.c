#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/exchange/arena.h"

enum { PAGE_BYTES = 4096 };

static struct arena made(size_t bytes, enum arena_seal seal)
{
    struct arena arena;
    assert_int_equal(arena_create(&arena, "test", bytes, seal), 0);
    return arena;
}

/* A descriptor of `arena` that a second process would have got. */
static int handed_over(const struct arena *arena)
{
    int fd = fcntl(arena_fd(arena), F_DUPFD_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

static void assert_closed(int fd)
{
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
}

static void size_is_rounded_up_to_pages_and_reads_as_zero(void **state)
{
    (void)state;
    struct arena arena = made(PAGE_BYTES + 1, ARENA_SEAL_SIZE);
    assert_int_equal(arena.bytes, 2 * PAGE_BYTES);
    assert_true(arena.writable);
    for (size_t i = 0; i < arena.bytes; i++)
        assert_int_equal(arena.base[i], 0);
    arena_deinit(&arena);
}

static void an_arena_of_no_bytes_is_refused(void **state)
{
    (void)state;
    struct arena arena = {.bytes = 42};
    assert_true(arena_create(&arena, "test", 0, ARENA_SEAL_SIZE) < 0);
    assert_int_equal(arena.bytes, 42);
}

static void a_sealed_arena_keeps_its_size(void **state)
{
    (void)state;
    struct arena arena = made(PAGE_BYTES, ARENA_SEAL_SIZE);
    assert_int_equal(ftruncate(arena_fd(&arena), 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(arena_fd(&arena), 2 * PAGE_BYTES), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(arena_fd(&arena), F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_int_equal(errno, EPERM);
    arena_deinit(&arena);
}

static void what_one_mapping_writes_the_other_reads(void **state)
{
    (void)state;
    struct arena arena = made(PAGE_BYTES, ARENA_SEAL_WRITER);
    struct arena reader;
    assert_int_equal(arena_adopt(&reader, handed_over(&arena), false, PAGE_BYTES, PAGE_BYTES), 0);
    assert_int_equal(reader.bytes, PAGE_BYTES);
    assert_int_equal(arena_fd(&reader), -1);
    assert_false(reader.writable);
    arena.base[100] = 7;
    assert_int_equal(reader.base[100], 7);
    arena_deinit(&reader);
    arena_deinit(&arena);
}

static void nobody_but_the_maker_can_write_a_writer_sealed_arena(void **state)
{
    (void)state;
    struct arena arena = made(PAGE_BYTES, ARENA_SEAL_WRITER);
    int fd = handed_over(&arena);
    struct arena thief;
    assert_int_equal(arena_adopt(&thief, handed_over(&arena), true, PAGE_BYTES, PAGE_BYTES), -EPERM);
    assert_ptr_equal(mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE_BYTES), -1);

    void *view = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(view, MAP_FAILED);
    assert_int_equal(mprotect(view, PAGE_BYTES, PROT_READ | PROT_WRITE), -1);
    munmap(view, PAGE_BYTES);
    close(fd);

    arena.base[0] = 1; /* the maker's own mapping still may */
    assert_int_equal(arena.base[0], 1);
    arena_deinit(&arena);
}

static void a_size_sealed_arena_is_writable_for_the_process_that_gets_it(void **state)
{
    (void)state;
    struct arena arena = made(PAGE_BYTES, ARENA_SEAL_SIZE);
    struct arena writer;
    assert_int_equal(arena_adopt(&writer, handed_over(&arena), true, 1, 1 << 20), 0);
    writer.base[5] = 9;
    assert_int_equal(arena.base[5], 9);
    arena_deinit(&writer);
    arena_deinit(&arena);
}

static void a_memfd_that_could_shrink_is_refused(void **state)
{
    (void)state;
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct arena arena = {.bytes = 42};
    assert_int_equal(ftruncate(fd, PAGE_BYTES), 0);
    assert_int_equal(arena_adopt(&arena, fd, false, 1, PAGE_BYTES), -EPERM);
    assert_int_equal(arena.bytes, 42);
    assert_closed(fd);
}

static void a_descriptor_without_seals_is_refused(void **state)
{
    (void)state;
    struct arena arena;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(arena_adopt(&arena, fd, false, 0, PAGE_BYTES), -EINVAL);
    assert_closed(fd);
}

static void a_size_outside_the_bounds_is_refused(void **state)
{
    (void)state;
    struct arena arena = made(2 * PAGE_BYTES, ARENA_SEAL_SIZE);
    struct arena other;
    int fd = handed_over(&arena);
    assert_int_equal(arena_adopt(&other, fd, false, 2 * PAGE_BYTES + 1, 1 << 20), -EBADF);
    assert_closed(fd);
    assert_int_equal(arena_adopt(&other, handed_over(&arena), false, 0, 2 * PAGE_BYTES - 1), -EBADF);
    arena_deinit(&arena);
}

static void only_spans_inside_the_arena_have_an_address(void **state)
{
    (void)state;
    uint8_t memory[PAGE_BYTES];
    const struct arena arena = {.base = memory, .bytes = sizeof memory, .fd = -1};
    assert_ptr_equal(arena_at(&arena, 0, PAGE_BYTES), memory);
    assert_ptr_equal(arena_at(&arena, PAGE_BYTES - 1, 1), memory + PAGE_BYTES - 1);
    assert_ptr_equal(arena_at(&arena, PAGE_BYTES, 0), memory + PAGE_BYTES);
    assert_null(arena_at(&arena, 0, PAGE_BYTES + 1));
    assert_null(arena_at(&arena, PAGE_BYTES - 1, 2));
    assert_null(arena_at(&arena, PAGE_BYTES, 1));
    assert_null(arena_at(&arena, PAGE_BYTES + 1, 0));
    assert_null(arena_at(&arena, 1, UINT64_MAX));
    assert_null(arena_at(&arena, UINT64_MAX, 1));
    assert_null(arena_at(&arena, UINT32_MAX, UINT32_MAX));
}

static void deinit_of_a_zeroed_arena_closes_nothing(void **state)
{
    (void)state;
    struct arena arena = {};
    arena_deinit(&arena);
    assert_true(fcntl(0, F_GETFD) >= 0 || errno == EBADF);

    arena = made(PAGE_BYTES, ARENA_SEAL_SIZE);
    int fd = arena_fd(&arena);
    arena_deinit(&arena);
    assert_closed(fd);
    assert_null(arena.base);
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_is_rounded_up_to_pages_and_reads_as_zero),
        cmocka_unit_test(an_arena_of_no_bytes_is_refused),
        cmocka_unit_test(a_sealed_arena_keeps_its_size),
        cmocka_unit_test(what_one_mapping_writes_the_other_reads),
        cmocka_unit_test(nobody_but_the_maker_can_write_a_writer_sealed_arena),
        cmocka_unit_test(a_size_sealed_arena_is_writable_for_the_process_that_gets_it),
        cmocka_unit_test(a_memfd_that_could_shrink_is_refused),
        cmocka_unit_test(a_descriptor_without_seals_is_refused),
        cmocka_unit_test(a_size_outside_the_bounds_is_refused),
        cmocka_unit_test(only_spans_inside_the_arena_have_an_address),
        cmocka_unit_test(deinit_of_a_zeroed_arena_closes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
