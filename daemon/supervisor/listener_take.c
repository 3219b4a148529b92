#include "daemon/supervisor/listener_take.h"

#include "daemon/supervisor/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

/* Inherited -------------------------------------------------------------------------------------------------- */

/* A listening stream socket of a family that we know, or the reason why not. */
const char *listener_take_refusal(int fd, struct listener_address *ret_address)
{
    int type = 0, listening = 0;
    socklen_t length = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
        return errno == EBADF ? "the descriptor is not open" : "the descriptor is no socket";
    if (type != SOCK_STREAM || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0 || listening == 0)
        return "the socket is not listening";
    if (listener_opening_read_address(fd, ret_address) < 0)
        return "the socket has no address";
    int family = ret_address->any.sa_family;
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX ? NULL : "the socket is of an unknown family";
}

/* Which of the sockets of socket activation it is, or -1. */
int listener_take_index(const struct listeners_request *request, const struct bind_address *address)
{
    bool by_number = address->kind == BIND_ADDRESS_FD || address->kind == BIND_ADDRESS_NAMED;
    int index = by_number ? address->fd - request->inherited_first : -1;
    return index < request->inherited_count ? index : -1;
}

int listener_take_inherited(const struct listener_opening *opening, struct listener *listener)
{
    struct listener_address address = {};
    bool is_activated = listener_take_index(opening->request, opening->address) >= 0;

    if (is_activated && opening->request->is_trial)
        return 0;
    const char *refusal = listener_take_refusal(opening->address->fd, &address);
    if (refusal != NULL)
        return listener_opening_complain(opening, -EBADF, "%s", refusal);
    /* Our own copy: the number itself may be one that a child of ours is born with. */
    int fd = fcntl(opening->address->fd, F_DUPFD_CLOEXEC, CONTROL_FD + 1);
    if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return listener_opening_complain(opening, -errno, "%s", strerror(errno));
    if (!is_activated)
        close(opening->address->fd);
    listener_opening_share(listener, fd, 0);
    if (address.any.sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    listener_opening_describe(listener, &address);
    return 0;
}

/* Of a program before this one ------------------------------------------------------------------------------- */

static bool copy_sockets(const struct handover_listener *handed, struct listener *listener)
{
    while (listener->fd_count < handed->fd_count) {
        int fd = fcntl(handed->fds[listener->fd_count], F_DUPFD_CLOEXEC, CONTROL_FD + 1);
        if (fd < 0)
            break;
        listener->fds[listener->fd_count++] = fd;
    }
    if (listener->fd_count == handed->fd_count)
        return true;
    while (listener->fd_count > 0)
        close(listener->fds[--listener->fd_count]);
    return false;
}

/* They are the very same sockets, so nothing is bound and no connection that waits in one is lost. */
bool listener_take_handed(const struct listener_opening *opening, struct listener *listener)
{
    struct handover_listener *handed = handover_find_listener(opening->request->handed, opening->text);
    struct listener_address address = {};

    if (handed != NULL && opening->request->is_trial) {
        handed->fd_count = 0;
        return true;
    }
    if (handed == NULL || listener_take_refusal(handed->fds[0], &address) != NULL || !copy_sockets(handed, listener))
        return false;
    handed->fd_count = 0;
    listener->hello.flags = handed->flags;
    listener_opening_describe(listener, &address);
    return true;
}
