#include "daemon/exchange/control.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

union control_buffer {
    struct cmsghdr header;
    uint8_t bytes[CMSG_SPACE(sizeof(int) * CONTROL_FDS_MAX)];
};

int control_pair(int ret_fds[2])
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0) {
        int r = -errno;
        close(fds[0]);
        close(fds[1]);
        return r;
    }
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return 0;
}

int control_send(int fd, enum control_kind kind, const void *payload, size_t bytes, const int *fds, size_t fd_count)
{
    uint32_t number = kind;
    union control_buffer control = {};
    struct iovec parts[2] = {{&number, sizeof number}, {(void *)(uintptr_t)payload, bytes}};
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = bytes > 0 ? 2 : 1};

    if (bytes > CONTROL_PAYLOAD_MAX || fd_count > CONTROL_FDS_MAX)
        return -EMSGSIZE;
    if (fd_count > 0) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(rights), fds, sizeof(int) * fd_count);
    }
    for (;;) {
        if (sendmsg(fd, &header, MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

/* Keeps what fits, closes what does not: a sender of too many descriptors must not leak them into us. */
static void take_fds(struct msghdr *header, struct control_message *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (message->fd_count < CONTROL_FDS_MAX)
                message->fds[message->fd_count++] = fd;
            else
                close(fd);
        }
    }
}

int control_receive(int fd, struct control_message *ret_message)
{
    struct control_message *message = ret_message;
    union control_buffer control;
    struct iovec parts[2] = {{&message->kind, sizeof message->kind}, {message->payload, CONTROL_PAYLOAD_MAX}};
    struct msghdr header = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof control};

    ssize_t received;
    do
        received = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return -errno;
    message->fd_count = 0;
    take_fds(&header, message);
    if (received == 0) {
        /* Also what an empty message looks like, and that one may bring descriptors. */
        control_close_fds(message);
        return 0;
    }
    message->payload_bytes = (uint32_t)((size_t)received - sizeof message->kind);
    bool cut = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    if (cut || (size_t)received < sizeof message->kind || message->kind == 0 || message->kind >= CONTROL_KINDS) {
        control_close_fds(message);
        return -EBADMSG;
    }
    return 1;
}

const void *control_payload(const struct control_message *message, size_t bytes)
{
    return message->payload_bytes == bytes ? message->payload : NULL;
}

void control_close_fds(struct control_message *message)
{
    for (uint32_t i = 0; i < message->fd_count; i++)
        close(message->fds[i]);
    message->fd_count = 0;
}
