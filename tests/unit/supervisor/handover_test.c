#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/owned.h"
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

static void a_trial_touches_no_descriptor([[maybe_unused]] void **state)
{
    OWNED_FD fd = open("/dev/null", O_RDONLY); /* in a program that is tried it would be something else */
    struct handover *left = with_one_socket(fd), *taken;
    left->is_trial = 1;
    publish(left);
    assert_int_equal(handover_take(&taken), 0);
    assert_int_equal(fcntl(fd, F_GETFD), 0);
    handover_destroy(taken);
    handover_destroy(left);
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

static void add_child(struct handover *left)
{
    left->children[0] = (struct handover_child){.pid = 1'000'000, .control = 1'000, .output = {-1, -1}};
    left->child_count = 1;
}

static void another_magic(struct handover *left)
{
    left->magic++;
}

static void another_version(struct handover *left)
{
    left->version++;
}

static void another_size(struct handover *left)
{
    left->bytes--;
}

static void too_many_children(struct handover *left)
{
    left->child_count = HANDOVER_CHILDREN_MAX + 1;
}

static void too_many_listeners(struct handover *left)
{
    left->listener_count = LISTENERS_MAX + 1;
}

static void too_many_sockets(struct handover *left)
{
    left->listeners[0].fd_count = LAYOUT_RINGS_MAX + 1;
}

static void too_many_rings(struct handover *left)
{
    left->rings = LAYOUT_RINGS_MAX + 1;
}

static void more_inherited_sockets_than_there_can_be(struct handover *left)
{
    left->inherited_count = 65;
}

static void neither_a_trial_nor_none(struct handover *left)
{
    left->is_trial = 2;
}

static void names_without_end(struct handover *left)
{
    memset(left->inherited_names, 'a', sizeof left->inherited_names);
}

static void a_pid_file_without_end(struct handover *left)
{
    memset(left->pid_file, 'a', sizeof left->pid_file);
}

static void too_many_ticket_keys(struct handover *left)
{
    left->tickets.count = CONTROL_TLS_TICKET_KEYS + 1;
}

static void an_address_without_end(struct handover *left)
{
    memset(left->listeners[0].key, 'a', sizeof left->listeners[0].key);
}

static void a_path_without_end(struct handover *left)
{
    memset(left->listeners[0].path, 'a', sizeof left->listeners[0].path);
}

static void a_child_that_is_everybody(struct handover *left)
{
    add_child(left);
    left->children[0].pid = -1;
}

static void a_child_that_is_our_own_group(struct handover *left)
{
    add_child(left);
    left->children[0].pid = 0;
}

static void a_child_on_our_standard_error(struct handover *left)
{
    add_child(left);
    left->children[0].control = STDERR_FILENO;
}

static void a_child_of_a_third_kind(struct handover *left)
{
    add_child(left);
    left->children[0].is_app = 2;
}

static void a_ring_that_cannot_be(struct handover *left)
{
    add_child(left);
    left->children[0].index = LAYOUT_RINGS_MAX;
}

static void an_app_that_cannot_be(struct handover *left)
{
    add_child(left);
    left->children[0].is_app = 1;
    left->children[0].index = LAYOUT_APPS_MAX;
}

static void what_is_not_understood_is_refused([[maybe_unused]] void **state)
{
    static void (*const spoilers[])(struct handover *) = {
        another_magic,
        another_version,
        another_size,
        too_many_children,
        too_many_listeners,
        too_many_sockets,
        too_many_rings,
        more_inherited_sockets_than_there_can_be,
        neither_a_trial_nor_none,
        names_without_end,
        a_pid_file_without_end,
        too_many_ticket_keys,
        an_address_without_end,
        a_path_without_end,
        a_child_that_is_everybody,
        a_child_that_is_our_own_group,
        a_child_on_our_standard_error,
        a_child_of_a_third_kind,
        a_ring_that_cannot_be,
        an_app_that_cannot_be,
    };
    for (size_t i = 0; i < sizeof spoilers / sizeof spoilers[0]; i++)
        refuse(spoilers[i]);
}

static void every_octet_of_the_counts_may_be_anything([[maybe_unused]] void **state)
{
    struct handover *left = with_one_socket(-1), *taken;
    add_child(left);
    for (size_t at = 0; at < offsetof(struct handover, tickets); at++) {
        uint8_t *octet = (uint8_t *)left + at, before = *octet;
        *octet = 0xff;
        publish(left);
        assert_int_equal(handover_take(&taken), -EPROTO);
        *octet = before;
    }
    publish(left);
    assert_int_equal(handover_take(&taken), 0);
    assert_int_equal(taken->children[0].pid, 1'000'000);
    handover_destroy(taken);
    handover_destroy(left);
}

static void a_file_that_is_too_short_is_refused([[maybe_unused]] void **state)
{
    struct handover *left = with_one_socket(-1), *taken = NULL;
    int fd;
    assert_int_equal(handover_publish(left, &fd), 0);
    assert_int_equal(ftruncate(fd, sizeof *left - 1), 0);
    assert_int_equal(handover_take(&taken), -EPROTO);
    assert_null(taken);
    handover_destroy(left);
}

static void a_number_that_is_no_descriptor_is_refused([[maybe_unused]] void **state)
{
    struct handover *taken = NULL;
    setenv("_UROBOROS_HANDOVER", "1000000", 1);
    assert_int_equal(handover_take(&taken), -EBADF);
    setenv("_UROBOROS_HANDOVER", "-7", 1);
    assert_int_equal(handover_take(&taken), -EBADF);
    setenv("_UROBOROS_HANDOVER", "a lot", 1);
    assert_int_equal(handover_take(&taken), -EBADF);
    assert_null(taken);
    assert_int_not_equal(fcntl(STDIN_FILENO, F_GETFD), -1);
}

static void a_program_knows_whether_it_would_understand([[maybe_unused]] void **state)
{
    assert_int_equal(handover_check_format(), 0); /* nobody asks */
    handover_announce_format();
    assert_int_equal(handover_check_format(), 0);
    assert_null(getenv("_UROBOROS_HANDOVER_FORMAT")); /* asked once, and no application sees it */
    setenv("_UROBOROS_HANDOVER_FORMAT", "0.0", 1);
    assert_int_equal(handover_check_format(), -EPROTO);
    handover_announce_format();
    handover_unannounce_format();
    assert_null(getenv("_UROBOROS_HANDOVER_FORMAT"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_that_was_left_nothing_takes_nothing),
        cmocka_unit_test(what_is_published_is_taken_once),
        cmocka_unit_test(descriptors_survive_execution_and_then_no_other),
        cmocka_unit_test(a_trial_touches_no_descriptor),
        cmocka_unit_test(sockets_are_found_by_their_address_until_they_are_taken),
        cmocka_unit_test(what_is_not_understood_is_refused),
        cmocka_unit_test(every_octet_of_the_counts_may_be_anything),
        cmocka_unit_test(a_file_that_is_too_short_is_refused),
        cmocka_unit_test(a_number_that_is_no_descriptor_is_refused),
        cmocka_unit_test(a_program_knows_whether_it_would_understand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
