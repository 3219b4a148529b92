#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/exchange/file_handover.h"

static const struct file_handover SENT = {.slot = 3, .generation = 7, .offset = 1ULL << 40, .length = 99};

static void a_file_arrives_with_what_was_said_of_it(void **state)
{
    (void)state;
    int channel[2], fd = -1;
    struct file_handover got;
    assert_int_equal(file_handover_pair(channel), 0);
    int file = memfd_create("handover", 0);
    assert_int_equal(file_handover_send(channel[1], &SENT, file), 0);
    close(file);
    assert_int_equal(file_handover_receive(channel[0], &got, &fd), 0);
    assert_memory_equal(&got, &SENT, sizeof got);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(file_handover_receive(channel[0], &got, &fd), -EAGAIN);
    close(fd);
    close(channel[0]);
    close(channel[1]);
}

static void what_is_no_handover_is_refused(void **state)
{
    (void)state;
    int channel[2], fd = -1;
    struct file_handover got;
    assert_int_equal(file_handover_pair(channel), 0);
    assert_int_equal(send(channel[1], "short", 5, 0), 5);
    assert_int_equal(file_handover_receive(channel[0], &got, &fd), -EBADMSG);
    assert_int_equal(send(channel[1], &SENT, sizeof SENT, 0), sizeof SENT);
    assert_int_equal(file_handover_receive(channel[0], &got, &fd), -EBADMSG); /* without a descriptor */
    close(channel[1]);
    assert_int_equal(file_handover_receive(channel[0], &got, &fd), -EBADMSG);
    close(channel[0]);
    assert_int_equal(fd, -1);
}

static void of_two_descriptors_in_one_message_no_more_than_one_arrives(void **state)
{
    (void)state;
    int channel[2], fd = -1;
    struct file_handover got;
    assert_int_equal(file_handover_pair(channel), 0);
    int file = memfd_create("handover", 0);
    const int files[2] = {file, file};
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(sizeof files)];
    } control = {};
    struct iovec part = {(void *)(uintptr_t)&SENT, sizeof SENT};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof files);
    memcpy(CMSG_DATA(rights), files, sizeof files);
    assert_true(sendmsg(channel[1], &header, 0) > 0);
    int before = dup(file);
    close(before);
    assert_int_equal(file_handover_receive(channel[0], &got, &fd), 0);
    assert_int_equal(fd, before);
    int after = dup(file);
    assert_int_equal(after, before + 1); /* the next number is free: nothing else arrived */
    close(after);
    close(fd);
    close(file);
    close(channel[0]);
    close(channel[1]);
}

static void a_process_that_may_have_no_more_descriptors_says_so(void **state)
{
    (void)state;
    int channel[2], fd = -1;
    struct file_handover got;
    struct rlimit limit;
    assert_int_equal(file_handover_pair(channel), 0);
    int file = memfd_create("handover", 0);
    assert_int_equal(file_handover_send(channel[1], &SENT, file), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit none = limit;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int r = file_handover_receive(channel[0], &got, &fd);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(r, -EMFILE);
    assert_int_equal(fd, -1);
    close(file);
    close(channel[0]);
    close(channel[1]);
}

static void one_that_is_full_does_not_block(void **state)
{
    (void)state;
    int channel[2], r = 0;
    assert_int_equal(file_handover_pair(channel), 0);
    int file = memfd_create("handover", 0);
    for (int i = 0; i < 100'000 && r == 0; i++)
        r = file_handover_send(channel[1], &SENT, file);
    assert_true(r == -EAGAIN || r == -ETOOMANYREFS);
    close(file);
    close(channel[0]);
    close(channel[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_arrives_with_what_was_said_of_it),
        cmocka_unit_test(what_is_no_handover_is_refused),
        cmocka_unit_test(of_two_descriptors_in_one_message_no_more_than_one_arrives),
        cmocka_unit_test(a_process_that_may_have_no_more_descriptors_says_so),
        cmocka_unit_test(one_that_is_full_does_not_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
