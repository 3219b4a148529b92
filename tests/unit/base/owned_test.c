#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "daemon/base/owned.h"

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int open_something(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void a_descriptor_is_closed_at_the_end_of_its_scope(void **state)
{
    (void)state;
    int seen;
    {
        OWNED_FD fd = open_something();
        seen = fd;
        assert_true(is_open(seen));
    }
    assert_false(is_open(seen));
}

static void a_taken_descriptor_stays_open(void **state)
{
    (void)state;
    int taken;
    {
        OWNED_FD fd = open_something();
        taken = fd_take(&fd);
        assert_int_equal(fd, -1);
    }
    assert_true(is_open(taken));
    fd_drop(&taken);
    assert_int_equal(taken, -1);
}

static void replacing_closes_the_old_descriptor(void **state)
{
    (void)state;
    OWNED_FD slot = open_something();
    int old = slot;
    fd_replace(&slot, open_something());
    assert_false(is_open(old));
    assert_true(is_open(slot));
}

static int fail_with_enoent(void)
{
    OWNED_FD bad = 1'000'000; /* closing it sets errno to EBADF */
    errno = ENOENT;
    (void)bad;
    return 0;
}

static void dropping_keeps_errno(void **state)
{
    (void)state;
    fail_with_enoent();
    assert_int_equal(errno, ENOENT);
}

static void a_mapping_is_unmapped_at_the_end_of_its_scope_unless_taken(void **state)
{
    (void)state;
    struct mapping taken;
    void *gone;
    {
        OWNED_MAPPING kept = MAPPING_NONE;
        OWNED_MAPPING dropped = MAPPING_NONE;
        int flags = MAP_PRIVATE | MAP_ANONYMOUS;
        assert_int_equal(mapping_create(4096, PROT_READ | PROT_WRITE, flags, -1, &kept), 0);
        assert_int_equal(mapping_create(4096, PROT_READ | PROT_WRITE, flags, -1, &dropped), 0);
        memset(kept.base, 1, kept.bytes);
        gone = dropped.base;
        taken = mapping_take(&kept);
    }
    assert_int_equal(((char *)taken.base)[4095], 1);
    assert_int_equal(msync(gone, 4096, MS_ASYNC), -1);
    assert_int_equal(errno, ENOMEM);
    mapping_drop(&taken);
    assert_null(taken.base);
}

static void a_failed_mapping_leaves_the_result_untouched(void **state)
{
    (void)state;
    struct mapping mapping = MAPPING_NONE;
    assert_int_equal(mapping_create(4096, PROT_READ, MAP_SHARED, -1, &mapping), -EBADF);
    assert_null(mapping.base);
}

static void heap_memory_is_freed_at_the_end_of_its_scope(void **state)
{
    (void)state;
    OWNED_MEMORY char *text = strdup("the leak checker of the sanitizer build is the judge");
    assert_non_null(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_is_closed_at_the_end_of_its_scope),
        cmocka_unit_test(a_taken_descriptor_stays_open),
        cmocka_unit_test(replacing_closes_the_old_descriptor),
        cmocka_unit_test(dropping_keeps_errno),
        cmocka_unit_test(a_mapping_is_unmapped_at_the_end_of_its_scope_unless_taken),
        cmocka_unit_test(a_failed_mapping_leaves_the_result_untouched),
        cmocka_unit_test(heap_memory_is_freed_at_the_end_of_its_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
