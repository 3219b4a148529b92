#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/supervisor/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct handover *with_one_socket(int fd)
{
    struct handover *handover = handover_create();
    assert_non_null(handover);
    handover->rings = 1;
    handover->listener_count = 1;
    handover->listeners[0].fd_count = 1;
    handover->listeners[0].fds[0] = fd;
    snprintf(handover->listeners[0].key, sizeof handover->listeners[0].key, "127.0.0.1:80");
    return handover;
}

static void publish(const struct handover *handover)
{
    int fd;
    assert_int_equal(handover_publish(handover, &fd), 0);
    assert_int_equal(fcntl(fd, F_GETFD), 0); /* it survives execve() */
}

static void a_program_that_was_left_nothing_takes_nothing([[maybe_unused]] void **state)
{
    struct handover *taken = (struct handover *)1;
    assert_int_equal(handover_take(&taken), 0);
    assert_null(taken);
}

static void what_is_published_is_taken_once([[maybe_unused]] void **state)
{
    struct handover *left = with_one_socket(-1), *taken, *again;
    publish(left);
    assert_int_equal(handover_take(&taken), 0);
    assert_non_null(taken);
    assert_memory_equal(taken, left, sizeof *left);
    assert_int_equal(handover_take(&again), 0);
    assert_null(again);
    handover_destroy(taken);
    handover_destroy(left);
}

static void descriptors_survive_execution_and_then_no_other([[maybe_unused]] void **state)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct handover *left = with_one_socket(fd), *taken;
    handover_set_inherited(left, true);
    assert_int_equal(fcntl(fd, F_GETFD), 0);
    publish(left);
    assert_int_equal(handover_take(&taken), 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    handover_destroy(taken);
    handover_destroy(left);
    close(fd);
}

static void sockets_are_found_by_their_address_until_they_are_taken([[maybe_unused]] void **state)
{
    struct handover *left = with_one_socket(7);
    assert_null(handover_find_listener(left, "127.0.0.1:81"));
    struct handover_listener *listener = handover_find_listener(left, "127.0.0.1:80");
    assert_ptr_equal(listener, &left->listeners[0]);
    listener->fd_count = 0;
    assert_null(handover_find_listener(left, "127.0.0.1:80"));
    assert_null(handover_find_listener(NULL, "127.0.0.1:80"));
    handover_destroy(left);
}

static void refuse(void (*spoil)(struct handover *left))
{
    struct handover *left = with_one_socket(-1), *taken = NULL;
    spoil(left);
    publish(left);
    assert_int_equal(handover_take(&taken), -EPROTO);
    assert_null(taken);
    handover_destroy(left);
}

static void another_version(struct handover *left)
{
    left->version++;
}

static void too_many_children(struct handover *left)
{
    left->child_count = HANDOVER_CHILDREN_MAX + 1;
}

static void too_many_sockets(struct handover *left)
{
    left->listeners[0].fd_count = LAYOUT_RINGS_MAX + 1;
}

static void what_is_not_understood_is_refused([[maybe_unused]] void **state)
{
    refuse(another_version);
    refuse(too_many_children);
    refuse(too_many_sockets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_that_was_left_nothing_takes_nothing),
        cmocka_unit_test(what_is_published_is_taken_once),
        cmocka_unit_test(descriptors_survive_execution_and_then_no_other),
        cmocka_unit_test(sockets_are_found_by_their_address_until_they_are_taken),
        cmocka_unit_test(what_is_not_understood_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
