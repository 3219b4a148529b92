#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/exchange/control.h"

static int open_descriptors(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

struct channel {
    int fds[2]; /* supervisor, child */
    int descriptors_before;
    struct control_message message;
};

static int setup(void **state)
{
    static struct channel channel;
    channel = (struct channel){.descriptors_before = open_descriptors()};
    *state = &channel;
    return control_pair(channel.fds);
}

/* No test leaks a descriptor. */
static int teardown(void **state)
{
    struct channel *channel = *state;
    control_close_fds(&channel->message);
    for (int i = 0; i < 2; i++)
        if (channel->fds[i] >= 0)
            close(channel->fds[i]);
    return open_descriptors() != channel->descriptors_before;
}

static void a_message_arrives_with_payload_and_descriptors(void **state)
{
    struct channel *channel = *state;
    struct control_message *message = &channel->message;
    const struct control_ready ready = {.places = 4, .flags = CONTROL_APP_WSGI};
    int event = eventfd(5, EFD_CLOEXEC);
    uint64_t count = 0;

    assert_int_equal(control_send(channel->fds[1], CONTROL_READY, &ready, sizeof ready, &event, 1), 0);
    assert_int_equal(control_receive(channel->fds[0], message), 1);
    assert_int_equal(message->kind, CONTROL_READY);
    assert_int_equal(message->fd_count, 1);
    assert_int_equal(fcntl(message->fds[0], F_GETFD), FD_CLOEXEC);
    assert_int_equal(read(message->fds[0], &count, sizeof count), sizeof count);
    assert_int_equal(count, 5);

    const struct control_ready *received = control_payload(message, sizeof ready);
    assert_non_null(received);
    assert_memory_equal(received, &ready, sizeof ready);
    assert_null(control_payload(message, sizeof ready - 1));
    assert_null(control_payload(message, sizeof ready + 1));
    close(event);
}

static void a_message_may_be_its_kind_alone(void **state)
{
    struct channel *channel = *state;
    assert_int_equal(control_send(channel->fds[0], CONTROL_DRAIN, NULL, 0, NULL, 0), 0);
    assert_int_equal(control_receive(channel->fds[1], &channel->message), 1);
    assert_int_equal(channel->message.kind, CONTROL_DRAIN);
    assert_int_equal(channel->message.payload_bytes, 0);
    assert_int_equal(channel->message.fd_count, 0);
    assert_non_null(control_payload(&channel->message, 0));
}

static void the_largest_payload_and_most_descriptors_pass(void **state)
{
    struct channel *channel = *state;
    uint8_t payload[CONTROL_PAYLOAD_MAX];
    int fds[CONTROL_FDS_MAX];
    memset(payload, 0x5a, sizeof payload);
    for (int i = 0; i < CONTROL_FDS_MAX; i++)
        fds[i] = channel->fds[0];
    assert_int_equal(control_send(channel->fds[0], CONTROL_SETTINGS, payload, sizeof payload, fds, CONTROL_FDS_MAX), 0);
    assert_int_equal(control_receive(channel->fds[1], &channel->message), 1);
    assert_int_equal(channel->message.payload_bytes, sizeof payload);
    assert_memory_equal(channel->message.payload, payload, sizeof payload);
    assert_int_equal(channel->message.fd_count, CONTROL_FDS_MAX);
}

static void what_is_too_large_is_not_sent(void **state)
{
    struct channel *channel = *state;
    const uint8_t payload[CONTROL_PAYLOAD_MAX + 1] = {};
    const int fds[CONTROL_FDS_MAX + 1] = {};
    assert_int_equal(control_send(channel->fds[1], CONTROL_FAILED, payload, sizeof payload, NULL, 0), -EMSGSIZE);
    assert_int_equal(control_send(channel->fds[1], CONTROL_FAILED, NULL, 0, fds, CONTROL_FDS_MAX + 1), -EMSGSIZE);
    assert_int_equal(control_receive(channel->fds[0], &channel->message), -EAGAIN);
}

static void a_closed_end_reads_as_zero_and_writes_as_epipe(void **state)
{
    struct channel *channel = *state;
    close(channel->fds[1]);
    channel->fds[1] = -1;
    assert_int_equal(control_receive(channel->fds[0], &channel->message), 0);
    assert_int_equal(control_send(channel->fds[0], CONTROL_STOP, NULL, 0, NULL, 0), -EPIPE);
}

static void a_supervisor_never_waits_for_a_child_that_does_not_read(void **state)
{
    struct channel *channel = *state;
    uint8_t payload[CONTROL_PAYLOAD_MAX] = {};
    int r = 0;
    for (int i = 0; i < 100'000 && r == 0; i++)
        r = control_send(channel->fds[0], CONTROL_SETTINGS, payload, sizeof payload, NULL, 0);
    assert_int_equal(r, -EAGAIN);
}

/* Sends what control_send() never would. */
static void send_raw(int fd, const void *data, size_t bytes, int passed_fd)
{
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control = {};
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (passed_fd >= 0) {
        header.msg_control = &control;
        header.msg_controllen = sizeof control;
        control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &passed_fd, sizeof passed_fd);
    }
    assert_int_equal(sendmsg(fd, &header, MSG_NOSIGNAL), bytes);
}

static void an_unknown_kind_is_bad_and_its_descriptors_are_closed(void **state)
{
    struct channel *channel = *state;
    const uint32_t kinds[] = {0, CONTROL_KINDS, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        int before = open_descriptors();
        send_raw(channel->fds[1], &kinds[i], sizeof kinds[i], channel->fds[1]);
        assert_int_equal(control_receive(channel->fds[0], &channel->message), -EBADMSG);
        assert_int_equal(channel->message.fd_count, 0);
        assert_int_equal(open_descriptors(), before);
    }
}

static void a_message_that_is_cut_is_bad(void **state)
{
    struct channel *channel = *state;
    static uint8_t data[sizeof(uint32_t) + CONTROL_PAYLOAD_MAX + 1] = {CONTROL_READY};
    send_raw(channel->fds[1], data, 3, channel->fds[1]);
    assert_int_equal(control_receive(channel->fds[0], &channel->message), -EBADMSG);
    send_raw(channel->fds[1], data, sizeof data, channel->fds[1]);
    assert_int_equal(control_receive(channel->fds[0], &channel->message), -EBADMSG);
}

static void an_empty_message_reads_as_closed_and_keeps_no_descriptor(void **state)
{
    struct channel *channel = *state;
    int before = open_descriptors();
    send_raw(channel->fds[1], NULL, 0, channel->fds[1]);
    assert_int_equal(control_receive(channel->fds[0], &channel->message), 0);
    assert_int_equal(open_descriptors(), before);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_message_arrives_with_payload_and_descriptors),
        CASE(a_message_may_be_its_kind_alone),
        CASE(the_largest_payload_and_most_descriptors_pass),
        CASE(what_is_too_large_is_not_sent),
        CASE(a_closed_end_reads_as_zero_and_writes_as_epipe),
        CASE(a_supervisor_never_waits_for_a_child_that_does_not_read),
        CASE(an_unknown_kind_is_bad_and_its_descriptors_are_closed),
        CASE(a_message_that_is_cut_is_bad),
        CASE(an_empty_message_reads_as_closed_and_keeps_no_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
