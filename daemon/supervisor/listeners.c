#include "daemon/supervisor/listeners.h"

#include "daemon/base/owned.h"
#include "daemon/supervisor/handover.h"
#include "daemon/supervisor/socket_names.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { KEEPALIVE_IDLE_S = 60, KEEPALIVE_INTERVAL_S = 15, KEEPALIVE_PROBES = 4 };

struct socket_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
    socklen_t length;
};

/* Everything that one address needs while it is opened. */
struct opening {
    const struct listeners_request *request;
    const struct bind_address *address;
    char text[BIND_ADDRESS_TEXT_BYTES]; /* of the address, for complaints */
    char *why;
};

__attribute__((format(printf, 3, 4))) static int complain(const struct opening *opening, int error, const char *format,
                                                          ...)
{
    char detail[LISTENERS_WHY_BYTES / 2];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    snprintf(opening->why, LISTENERS_WHY_BYTES, "cannot listen at %.200s: %s", opening->text, detail);
    return error;
}

static int complain_of_bind(const struct opening *opening, int error)
{
    if (error == -EADDRINUSE)
        return complain(opening, error, "the address is in use by another process");
    if (error == -EACCES)
        return complain(opening, error, "permission denied (a port below 1024 needs root or CAP_NET_BIND_SERVICE)");
    if (error == -EADDRNOTAVAIL)
        return complain(opening, error, "no interface of this machine has that address");
    return complain(opening, error, "%s", strerror(-error));
}

/* TCP -------------------------------------------------------------------------------------------------------- */

static int look_up(const struct opening *opening, int family, struct socket_address *ret_address)
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
static int resolve(const struct opening *opening, struct socket_address *ret_address)
{
    if (look_up(opening, AF_INET, ret_address) == 0)
        return 0;
    int r = look_up(opening, AF_INET6, ret_address);
    return r == 0 ? 0 : complain(opening, -EADDRNOTAVAIL, "%s", gai_strerror(r));
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

static int bind_tcp(const struct socket_address *address, bool reuse_port, int *ret_fd)
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

static int port_of(int fd, struct socket_address *ret_address)
{
    struct socket_address address = {.length = sizeof address.storage};
    if (getsockname(fd, &address.any, &address.length) < 0)
        return -errno;
    *ret_address = address;
    return 0;
}

static uint16_t port_number(const struct socket_address *address)
{
    return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

/* Among SO_REUSEPORT sockets of one user the kernel sees no conflict, so a second daemon would silently take a share
 * of the connections. A socket without the option is refused by any other, and is gone before ours come. */
static int probe(const struct socket_address *address)
{
    int fd;
    int r = bind_tcp(address, false, &fd);
    if (r == 0)
        close(fd);
    return r;
}

static void describe_tcp(struct listener *listener, const struct socket_address *address)
{
    struct control_listener *hello = &listener->hello;
    bool v6 = address->any.sa_family == AF_INET6;
    const void *octets = v6 ? (const void *)&address->v6.sin6_addr : (const void *)&address->v4.sin_addr;

    inet_ntop(address->any.sa_family, octets, hello->server, sizeof hello->server);
    hello->server_port = port_number(address);
    snprintf(listener->text, sizeof listener->text, v6 ? "%s://[%s]:%u" : "%s://%s:%u",
             hello->tls_context < 0 ? "http" : "https", hello->server, hello->server_port);
}

/* One socket for each ring. The first one settles the port when the kernel was to choose it. */
static int open_ring_sockets(const struct opening *opening, struct socket_address *address, struct listener *listener)
{
    const struct listeners_request *request = opening->request;
    bool reuse_port = request->reuse_port || request->rings > 1;

    for (uint32_t ring = 0; ring < request->rings; ring++) {
        int r = bind_tcp(address, reuse_port, &listener->fds[ring]);
        if (r < 0)
            return complain_of_bind(opening, r);
        listener->fd_count++;
        r = port_of(listener->fds[ring], address);
        if (r == 0 && listen(listener->fds[ring], request->backlog) < 0)
            r = -errno;
        if (r < 0)
            return complain_of_bind(opening, r);
    }
    return 0;
}

static int open_tcp(const struct opening *opening, struct listener *listener)
{
    struct socket_address address;
    int r = resolve(opening, &address);
    if (r < 0)
        return r;
    bool alone = !opening->request->reuse_port && opening->request->rings > 1 && port_number(&address) != 0;
    r = alone ? probe(&address) : 0;
    if (r < 0)
        return complain_of_bind(opening, r);
    r = open_ring_sockets(opening, &address, listener);
    if (r == 0)
        describe_tcp(listener, &address);
    return r;
}

/* Unix sockets ----------------------------------------------------------------------------------------------- */

static void name_unix(const struct bind_address *address, struct socket_address *ret_address)
{
    bool abstract = address->kind == BIND_ADDRESS_ABSTRACT;
    size_t length = strlen(address->path);

    *ret_address = (struct socket_address){.un.sun_family = AF_UNIX};
    assert(length + 1 <= sizeof ret_address->un.sun_path);
    memcpy(ret_address->un.sun_path + (abstract ? 1 : 0), address->path, length);
    /* An abstract name ends with its length, a path with its NUL: both are one octet longer than the text. */
    ret_address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
}

/* Only a socket that nobody answers on any more is removed: another server's must stay, and so must a file. */
static int remove_stale(const struct opening *opening, const struct socket_address *address)
{
    const char *path = opening->address->path;
    struct stat status;

    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : complain(opening, -errno, "%s", strerror(errno));
    if (!S_ISSOCK(status.st_mode))
        return complain(opening, -EEXIST, "the path exists and is no socket");
    OWNED_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return complain(opening, -errno, "%s", strerror(errno));
    if (connect(fd, &address->any, address->length) == 0 || errno != ECONNREFUSED)
        return complain(opening, -EADDRINUSE, "another process answers on that socket");
    return unlink(path) < 0 ? complain(opening, -errno, "cannot remove the old socket: %s", strerror(errno)) : 0;
}

static int bind_unix(const struct socket_address *address, int backlog, int *ret_fd)
{
    OWNED_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, &address->any, address->length) < 0 || listen(fd, backlog) < 0)
        return -errno;
    *ret_fd = fd_take(&fd);
    return 0;
}

static void share(struct listener *listener, int fd, uint32_t flags)
{
    listener->fds[0] = fd;
    listener->fd_count = 1;
    listener->hello.flags = CONTROL_LISTENER_SHARED | flags;
}

static int open_abstract(const struct opening *opening, struct listener *listener)
{
    struct socket_address address;
    int fd;

    name_unix(opening->address, &address);
    int r = bind_unix(&address, opening->request->backlog, &fd);
    if (r < 0)
        return complain_of_bind(opening, r);
    share(listener, fd, CONTROL_LISTENER_UNIX);
    snprintf(listener->hello.server, sizeof listener->hello.server, "@%s", opening->address->path);
    snprintf(listener->text, sizeof listener->text, "unix:@%s", opening->address->path);
    return 0;
}

/* Remembers which file is ours: at the end another server's may stand in its place. */
static int claim_file(const struct opening *opening, struct listener *listener)
{
    const struct sandbox_ids *ids = opening->request->ids;
    const char *path = opening->address->path;
    struct stat status;

    if (ids != NULL && ids->changes && lchown(path, ids->uid, ids->gid) < 0)
        return complain(opening, -errno, "cannot give the socket to its user: %s", strerror(errno));
    if (lstat(path, &status) < 0)
        return complain(opening, -errno, "%s", strerror(errno));
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
    snprintf(listener->path, sizeof listener->path, "%s", path);
    return 0;
}

static int open_unix(const struct opening *opening, struct listener *listener)
{
    struct socket_address address;
    int fd;

    name_unix(opening->address, &address);
    int r = remove_stale(opening, &address);
    if (r < 0)
        return r;
    r = bind_unix(&address, opening->request->backlog, &fd);
    if (r < 0)
        return complain_of_bind(opening, r);
    share(listener, fd, CONTROL_LISTENER_UNIX);
    snprintf(listener->hello.server, sizeof listener->hello.server, "%s", opening->address->path);
    snprintf(listener->text, sizeof listener->text, "unix:%s", opening->address->path);
    return claim_file(opening, listener);
}

/* Inherited sockets ------------------------------------------------------------------------------------------ */

static void describe_inherited_unix(struct listener *listener, const struct socket_address *address)
{
    size_t length = address->length - offsetof(struct sockaddr_un, sun_path);
    bool abstract = length > 0 && address->un.sun_path[0] == '\0';

    listener->hello.flags |= CONTROL_LISTENER_UNIX;
    if (abstract)
        snprintf(listener->hello.server, sizeof listener->hello.server, "@%.*s", (int)length - 1,
                 address->un.sun_path + 1);
    else
        snprintf(listener->hello.server, sizeof listener->hello.server, "%.*s", (int)length, address->un.sun_path);
    snprintf(listener->text, sizeof listener->text, "unix:%s", listener->hello.server);
}

/* A listening stream socket of a family that we know, or the reason why not. */
static const char *refuse_inherited(int fd, struct socket_address *ret_address)
{
    int type = 0, listening = 0;
    socklen_t length = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
        return errno == EBADF ? "the descriptor is not open" : "the descriptor is no socket";
    if (type != SOCK_STREAM || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0 || listening == 0)
        return "the socket is not listening";
    if (port_of(fd, ret_address) < 0)
        return "the socket has no address";
    int family = ret_address->any.sa_family;
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX ? NULL : "the socket is of an unknown family";
}

/* Which of the sockets of socket activation it is, or -1. */
static int index_of_inherited(const struct listeners_request *request, const struct bind_address *address)
{
    bool by_number = address->kind == BIND_ADDRESS_FD || address->kind == BIND_ADDRESS_NAMED;
    int index = by_number ? address->fd - request->inherited_first : -1;
    return index < request->inherited_count ? index : -1;
}

static int open_inherited(const struct opening *opening, struct listener *listener)
{
    struct socket_address address = {};
    bool is_activated = index_of_inherited(opening->request, opening->address) >= 0;

    if (is_activated && opening->request->is_trial)
        return 0;
    const char *refusal = refuse_inherited(opening->address->fd, &address);
    if (refusal != NULL)
        return complain(opening, -EBADF, "%s", refusal);
    /* Our own copy: the number itself may be one that a child of ours is born with. */
    int fd = fcntl(opening->address->fd, F_DUPFD_CLOEXEC, CONTROL_FD + 1);
    if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return complain(opening, -errno, "%s", strerror(errno));
    if (!is_activated)
        close(opening->address->fd);
    share(listener, fd, 0);
    if (address.any.sa_family == AF_UNIX) {
        describe_inherited_unix(listener, &address);
        return 0;
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    describe_tcp(listener, &address);
    return 0;
}

void listeners_describe_socket(int fd, char text[LISTENER_TEXT_BYTES])
{
    struct listener listener = {.hello.tls_context = -1};
    struct socket_address address = {};
    const char *refusal = refuse_inherited(fd, &address);

    if (refusal != NULL)
        snprintf(text, LISTENER_TEXT_BYTES, "%d (%s)", fd, refusal);
    else if (address.any.sa_family == AF_UNIX) {
        describe_inherited_unix(&listener, &address);
        memcpy(text, listener.text, sizeof listener.text);
    } else {
        describe_tcp(&listener, &address);
        snprintf(text, LISTENER_TEXT_BYTES, "%.*s", LISTENER_TEXT_BYTES - 1, listener.text + strlen("http://"));
    }
}

/* Sockets of a program before this one ----------------------------------------------------------------------- */

static void describe_handed(struct listener *listener, const struct socket_address *address)
{
    if (address->any.sa_family == AF_UNIX)
        describe_inherited_unix(listener, address);
    else
        describe_tcp(listener, address);
}

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
static bool take_handed(const struct opening *opening, struct listener *listener)
{
    struct handover_listener *handed = handover_find_listener(opening->request->handed, opening->text);
    struct socket_address address = {};

    if (handed != NULL && opening->request->is_trial) {
        handed->fd_count = 0;
        return true;
    }
    if (handed == NULL || refuse_inherited(handed->fds[0], &address) != NULL || !copy_sockets(handed, listener))
        return false;
    handed->fd_count = 0;
    listener->hello.flags = handed->flags;
    describe_handed(listener, &address);
    return true;
}

static void remove_file(const struct listener *listener)
{
    struct stat status;
    if (listener->path[0] == '\0' || lstat(listener->path, &status) < 0)
        return;
    if (status.st_dev == listener->device && status.st_ino == listener->inode)
        unlink(listener->path);
}

static void close_listener(const struct listener *listener)
{
    remove_file(listener);
    for (uint32_t ring = 0; ring < listener->fd_count; ring++)
        close(listener->fds[ring]);
}

static struct listener *find(struct listeners *listeners, const char *key)
{
    for (size_t i = 0; i < listeners->count; i++)
        if (strcmp(listeners->items[i].key, key) == 0)
            return &listeners->items[i];
    return NULL;
}

/* The file of an address that the settings name no longer goes with it. */
static void own_file(struct listener *listener, const struct handover_listener *handed)
{
    struct listener nobody = {};
    struct listener *owner = listener != NULL ? listener : &nobody;
    owner->device = (dev_t)handed->device;
    owner->inode = (ino_t)handed->inode;
    snprintf(owner->path, sizeof owner->path, "%s", handed->path);
    if (owner == &nobody)
        remove_file(owner);
}

void listeners_own_handed(struct listeners *listeners, struct handover *handed)
{
    for (uint32_t i = 0; i < handed->listener_count; i++) {
        const struct handover_listener *one = &handed->listeners[i];
        own_file(find(listeners, one->key), one);
        for (uint32_t ring = 0; ring < one->fd_count; ring++)
            close(one->fds[ring]);
    }
    handed->listener_count = 0;
}

/* All of them ------------------------------------------------------------------------------------------------ */

/* Behind the address: what a client may speak, where that is more than HTTP/1.1. */
static void add_protocols(const struct listeners_request *request, struct listener *listener)
{
    size_t used = strlen(listener->text), left = sizeof listener->text - used;
    bool is_unix = (listener->hello.flags & CONTROL_LISTENER_UNIX) != 0;

    if (listener->hello.tls_context >= 0)
        snprintf(listener->text + used, left, " (%s%s)", is_unix ? "tls, " : "",
                 request->protocols[listener->hello.tls_context]);
    else if (request->http2_cleartext)
        snprintf(listener->text + used, left, " (h2c, http/1.1)");
}

/* Two listeners on one socket would take each other's connections, whatever each of them speaks. */
static bool claim_inherited(struct listeners *listeners, const struct opening *opening)
{
    int index = index_of_inherited(opening->request, opening->address);
    uint64_t bit = index >= 0 ? UINT64_C(1) << index : 0;
    bool is_free = (listeners->inherited_used & bit) == 0;
    listeners->inherited_used |= bit;
    return is_free;
}

static int open_one(struct listeners *listeners, const struct listeners_request *request,
                    const struct bind_address *address, int32_t tls_context, char *why)
{
    static int (*const open_kind[])(const struct opening *, struct listener *) = {
        [BIND_ADDRESS_TCP] = open_tcp,           [BIND_ADDRESS_UNIX] = open_unix,
        [BIND_ADDRESS_ABSTRACT] = open_abstract, [BIND_ADDRESS_FD] = open_inherited,
        [BIND_ADDRESS_NAMED] = open_inherited,
    };
    struct opening opening = {.request = request, .address = address, .why = why};

    bind_address_format(address, opening.text);
    if (listeners->count == LISTENERS_MAX)
        return complain(&opening, -E2BIG, "more than %d addresses", LISTENERS_MAX);
    if (!claim_inherited(listeners, &opening))
        return complain(&opening, -EADDRINUSE, "another address of the settings is that socket already");
    /* Counted first: what a failed attempt has opened is closed with the rest. */
    struct listener *listener = &listeners->items[listeners->count++];
    listener->hello.tls_context = tls_context;
    memcpy(listener->key, opening.text, sizeof listener->key);
    int r = take_handed(&opening, listener) ? 0 : open_kind[address->kind](&opening, listener);
    if (r == 0)
        add_protocols(request, listener);
    return r;
}

static int complain_of_name(const struct listeners_request *request, const char text[BIND_ADDRESS_TEXT_BYTES],
                            char *why)
{
    struct opening opening = {.why = why};
    char names[LISTENERS_WHY_BYTES / 4];

    memcpy(opening.text, text, sizeof opening.text);
    socket_names_describe(request->inherited_names, request->inherited_count, names, sizeof names);
    if (names[0] != '\0')
        return complain(&opening, -ENOENT, "no inherited socket has that name; there are: %s", names);
    return complain(&opening, -ENOENT,
                    "no inherited socket has a name; FileDescriptorName= of a systemd socket unit gives one");
}

/* All sockets of that name. */
static int open_named(struct listeners *listeners, const struct listeners_request *request,
                      const struct bind_address *address, int32_t tls_context, char *why)
{
    struct bind_address named = *address;
    char text[BIND_ADDRESS_TEXT_BYTES];
    size_t before = listeners->count;
    int r = 0, index = -1;

    bind_address_format(address, text);
    while (r == 0 && (index = socket_names_find(request->inherited_names, request->inherited_count, address->host,
                                                index + 1)) >= 0) {
        named.fd = request->inherited_first + index;
        r = open_one(listeners, request, &named, tls_context, why);
    }
    return r == 0 && listeners->count == before ? complain_of_name(request, text, why) : r;
}

static int open_item(struct listeners *listeners, const struct listeners_request *request, size_t index, char *why)
{
    int32_t tls_context = request->tls_contexts == NULL ? -1 : request->tls_contexts[index];
    size_t before = listeners->count;
    struct bind_address address;
    const char *expected = bind_address_parse(request->bind->items[index], &address);

    if (expected != NULL) {
        snprintf(why, LISTENERS_WHY_BYTES, "cannot listen at %.200s: expected %s", request->bind->items[index],
                 expected);
        return -EINVAL;
    }
    int r = address.kind == BIND_ADDRESS_NAMED ? open_named(listeners, request, &address, tls_context, why)
                                               : open_one(listeners, request, &address, tls_context, why);
    for (size_t i = before; r == 0 && request->proxies != NULL && i < listeners->count; i++)
        listeners->items[i].hello.proxy_protocol = request->proxies[index];
    return r;
}

static int open_bind_items(struct listeners *listeners, const struct listeners_request *request, char *why)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < request->bind->count; i++)
        r = open_item(listeners, request, i, why);
    return r;
}

static int open_activated(struct listeners *listeners, const struct listeners_request *request, char *why)
{
    int r = 0;
    for (int i = 0; r == 0 && i < request->inherited_count; i++) {
        const struct bind_address address = {.kind = BIND_ADDRESS_FD, .fd = request->inherited_first + i};
        r = open_one(listeners, request, &address,
                     request->tls_contexts == NULL ? -1 : request->tls_context_of_inherited, why);
    }
    return r;
}

static bool names_inherited(const struct string_list *bind)
{
    for (size_t i = 0; i < bind->count; i++) {
        struct bind_address address;
        if (bind_address_parse(bind->items[i], &address) == NULL &&
            (address.kind == BIND_ADDRESS_FD || address.kind == BIND_ADDRESS_NAMED))
            return true;
    }
    return false;
}

int listeners_open(struct listeners *ret_listeners, const struct listeners_request *request,
                   char why[LISTENERS_WHY_BYTES])
{
    assert(request->inherited_count <= LISTENERS_INHERITED_MAX);
    ret_listeners->count = 0;
    ret_listeners->inherited_used = 0;
    memset(ret_listeners->items, 0, sizeof ret_listeners->items);
    bool activated = request->inherited_count > 0 && !names_inherited(request->bind);
    int r = activated ? open_activated(ret_listeners, request, why) : open_bind_items(ret_listeners, request, why);
    if (r < 0)
        listeners_deinit(ret_listeners);
    return r;
}

void listeners_deinit(struct listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++)
        close_listener(&listeners->items[i]);
    listeners->count = 0;
}

void listeners_describe(const struct listeners *listeners, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < listeners->count && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i == 0 ? "" : ", ", listeners->items[i].text);
}
