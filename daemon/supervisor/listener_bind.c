#include "daemon/supervisor/listener_bind.h"

#include "daemon/base/owned.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEEPALIVE_IDLE_S = 60, KEEPALIVE_INTERVAL_S = 15, KEEPALIVE_PROBES = 4 };

/* TCP -------------------------------------------------------------------------------------------------------- */

static int look_up(const struct listener_opening *opening, int family, struct listener_address *ret_address)
{
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found;
    char port[8];

    snprintf(port, sizeof port, "%u", opening->address->port);
    int r = getaddrinfo(opening->address->host, port, &hints, &found);
    if (r != 0)
        return r;
    memcpy(&ret_address->storage, found->ai_addr, found->ai_addrlen);
    ret_address->length = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

/* A name with both kinds of address means IPv4, as it does to Gunicorn. */
static int resolve(const struct listener_opening *opening, struct listener_address *ret_address)
{
    if (look_up(opening, AF_INET, ret_address) == 0)
        return 0;
    int r = look_up(opening, AF_INET6, ret_address);
    return r == 0 ? 0 : listener_opening_complain(opening, -EADDRNOTAVAIL, "%s", gai_strerror(r));
}

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

/* Accepted sockets inherit these, which saves the I/O process the calls. */
static int set_tcp_options(int fd, int family)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_REUSEADDR, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
        {IPPROTO_TCP, TCP_NODELAY, 1},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        int r = set_option(fd, options[i].level, options[i].name, options[i].value);
        if (r < 0)
            return r;
    }
    return family == AF_INET6 ? set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) : 0;
}

static int bind_tcp(const struct listener_address *address, bool reuse_port, int *ret_fd)
{
    OWNED_FD fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int r = set_tcp_options(fd, address->any.sa_family);
    if (r == 0 && reuse_port)
        r = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (r < 0)
        return r;
    if (bind(fd, &address->any, address->length) < 0)
        return -errno;
    *ret_fd = fd_take(&fd);
    return 0;
}

/* Among SO_REUSEPORT sockets of one user the kernel sees no conflict, so a second daemon would silently take a share
 * of the connections. A socket without the option is refused by any other, and is gone before ours come. */
static int probe(const struct listener_address *address)
{
    int fd;
    int r = bind_tcp(address, false, &fd);
    if (r == 0)
        close(fd);
    return r;
}

/* One socket for each ring. The first one settles the port when the kernel was to choose it. */
static int open_ring_sockets(const struct listener_opening *opening, struct listener_address *address,
                             struct listener *listener)
{
    const struct listeners_request *request = opening->request;
    bool reuse_port = request->reuse_port || request->rings > 1;

    for (uint32_t ring = 0; ring < request->rings; ring++) {
        int r = bind_tcp(address, reuse_port, &listener->fds[ring]);
        if (r < 0)
            return listener_opening_complain_of_bind(opening, r);
        listener->fd_count++;
        r = listener_opening_read_address(listener->fds[ring], address);
        if (r == 0 && listen(listener->fds[ring], request->backlog) < 0)
            r = -errno;
        if (r < 0)
            return listener_opening_complain_of_bind(opening, r);
    }
    return 0;
}

int listener_bind_tcp(const struct listener_opening *opening, struct listener *listener)
{
    struct listener_address address;
    int r = resolve(opening, &address);
    if (r < 0)
        return r;
    bool alone = !opening->request->reuse_port && opening->request->rings > 1 && listener_opening_port(&address) != 0;
    r = alone ? probe(&address) : 0;
    if (r < 0)
        return listener_opening_complain_of_bind(opening, r);
    r = open_ring_sockets(opening, &address, listener);
    if (r == 0)
        listener_opening_describe(listener, &address);
    return r;
}

/* Unix sockets ----------------------------------------------------------------------------------------------- */

static void name_unix(const struct bind_address *address, struct listener_address *ret_address)
{
    bool abstract = address->kind == BIND_ADDRESS_ABSTRACT;
    size_t length = strlen(address->path);

    *ret_address = (struct listener_address){.un.sun_family = AF_UNIX};
    assert(length + 1 <= sizeof ret_address->un.sun_path);
    memcpy(ret_address->un.sun_path + (abstract ? 1 : 0), address->path, length);
    /* An abstract name ends with its length, a path with its NUL: both are one octet longer than the text. */
    ret_address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
}

/* Only a socket that nobody answers on any more is removed: another server's must stay, and so must a file. */
static int remove_stale(const struct listener_opening *opening, const struct listener_address *address)
{
    const char *path = opening->address->path;
    struct stat status;

    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : listener_opening_complain(opening, -errno, "%s", strerror(errno));
    if (!S_ISSOCK(status.st_mode))
        return listener_opening_complain(opening, -EEXIST, "the path exists and is no socket");
    OWNED_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return listener_opening_complain(opening, -errno, "%s", strerror(errno));
    if (connect(fd, &address->any, address->length) == 0 || errno != ECONNREFUSED)
        return listener_opening_complain(opening, -EADDRINUSE, "another process answers on that socket");
    return unlink(path) < 0
               ? listener_opening_complain(opening, -errno, "cannot remove the old socket: %s", strerror(errno))
               : 0;
}

static int bind_unix(const struct listener_address *address, int backlog, int *ret_fd)
{
    OWNED_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, &address->any, address->length) < 0 || listen(fd, backlog) < 0)
        return -errno;
    *ret_fd = fd_take(&fd);
    return 0;
}

int listener_bind_abstract(const struct listener_opening *opening, struct listener *listener)
{
    struct listener_address address;
    int fd;

    name_unix(opening->address, &address);
    int r = bind_unix(&address, opening->request->backlog, &fd);
    if (r < 0)
        return listener_opening_complain_of_bind(opening, r);
    listener_opening_share(listener, fd, CONTROL_LISTENER_UNIX);
    snprintf(listener->hello.server, sizeof listener->hello.server, "@%s", opening->address->path);
    snprintf(listener->text, sizeof listener->text, "unix:@%s", opening->address->path);
    return 0;
}

/* Remembers which file is ours: at the end another server's may stand in its place. */
static int claim_file(const struct listener_opening *opening, struct listener *listener)
{
    const struct sandbox_ids *ids = opening->request->ids;
    const char *path = opening->address->path;
    struct stat status;

    if (ids != NULL && ids->changes && lchown(path, ids->uid, ids->gid) < 0)
        return listener_opening_complain(opening, -errno, "cannot give the socket to its user: %s", strerror(errno));
    if (lstat(path, &status) < 0)
        return listener_opening_complain(opening, -errno, "%s", strerror(errno));
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
    snprintf(listener->path, sizeof listener->path, "%s", path);
    return 0;
}

int listener_bind_unix(const struct listener_opening *opening, struct listener *listener)
{
    struct listener_address address;
    int fd;

    name_unix(opening->address, &address);
    int r = remove_stale(opening, &address);
    if (r < 0)
        return r;
    r = bind_unix(&address, opening->request->backlog, &fd);
    if (r < 0)
        return listener_opening_complain_of_bind(opening, r);
    listener_opening_share(listener, fd, CONTROL_LISTENER_UNIX);
    snprintf(listener->hello.server, sizeof listener->hello.server, "%s", opening->address->path);
    snprintf(listener->text, sizeof listener->text, "unix:%s", opening->address->path);
    return claim_file(opening, listener);
}
