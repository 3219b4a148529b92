#include "daemon/exchange/file_handover.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union handover_control {
    struct cmsghdr header;
    uint8_t bytes[CMSG_SPACE(sizeof(int))];
};

int file_handover_pair(int ret_fds[2])
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return -errno;
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return 0;
}

int file_handover_send(int channel, const struct file_handover *handover, int fd)
{
    union handover_control control = {};
    struct iovec part = {(void *)(uintptr_t)handover, sizeof *handover};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    ssize_t sent;
    do
        sent = sendmsg(channel, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

static int descriptor_of(struct msghdr *header)
{
    int fd = -1;
    const struct cmsghdr *rights = CMSG_FIRSTHDR(header);
    if (rights != NULL && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS &&
        rights->cmsg_len >= CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    return fd;
}

int file_handover_receive(int channel, struct file_handover *ret_handover, int *ret_fd)
{
    union handover_control control = {};
    struct file_handover handover;
    struct iovec part = {&handover, sizeof handover};
    /* With the padding of CMSG_SPACE there would be room for two descriptors. */
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_LEN(sizeof(int))};
    ssize_t received;
    do
        received = recvmsg(channel, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return -errno;
    int fd = descriptor_of(&header);
    if (received != sizeof handover || (header.msg_flags & MSG_TRUNC) != 0) {
        if (fd >= 0)
            close(fd);
        return -EBADMSG;
    }
    /* What the kernel cuts is a second descriptor, or the only one where this process may have no more. */
    if (fd < 0)
        return (header.msg_flags & MSG_CTRUNC) != 0 ? -EMFILE : -EBADMSG;
    *ret_handover = handover;
    *ret_fd = fd;
    return 0;
}
