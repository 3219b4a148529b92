#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "daemon/exchange/doorbell.h"

static bool readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}

static int setup(void **state)
{
    static int fd;
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    *state = &fd;
    return fd < 0;
}

static int teardown(void **state)
{
    return close(*(int *)*state);
}

static void nobody_is_woken_who_does_not_sleep(void **state)
{
    int fd = *(int *)*state;
    _Atomic uint32_t sleeping = 0;
    assert_false(doorbell_ring(&sleeping, fd));
    assert_false(readable(fd));
}

static void one_sleep_is_answered_by_one_wake(void **state)
{
    int fd = *(int *)*state;
    _Atomic uint32_t sleeping = 0;
    uint64_t count = 0;
    doorbell_sleeping(&sleeping);
    assert_true(doorbell_ring(&sleeping, fd));
    assert_false(doorbell_ring(&sleeping, fd));
    assert_int_equal(read(fd, &count, sizeof count), sizeof count);
    assert_int_equal(count, 1);

    doorbell_sleeping(&sleeping);
    assert_true(doorbell_ring(&sleeping, fd));
    assert_true(readable(fd));
}

static void who_woke_for_another_reason_is_left_alone(void **state)
{
    int fd = *(int *)*state;
    _Atomic uint32_t sleeping = 0;
    doorbell_sleeping(&sleeping);
    doorbell_awake(&sleeping);
    assert_false(doorbell_ring(&sleeping, fd));
    assert_false(readable(fd));
}

static void a_counter_at_its_end_neither_blocks_nor_goes_quiet(void **state)
{
    int fd = *(int *)*state;
    _Atomic uint32_t sleeping = 0;
    const uint64_t full = UINT64_MAX - 1;
    assert_int_equal(write(fd, &full, sizeof full), sizeof full);
    doorbell_sleeping(&sleeping);
    assert_true(doorbell_ring(&sleeping, fd));
    assert_true(readable(fd));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_is_woken_who_does_not_sleep, setup, teardown),
        cmocka_unit_test_setup_teardown(one_sleep_is_answered_by_one_wake, setup, teardown),
        cmocka_unit_test_setup_teardown(who_woke_for_another_reason_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_counter_at_its_end_neither_blocks_nor_goes_quiet, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
