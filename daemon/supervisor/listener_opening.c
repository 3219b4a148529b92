#include "daemon/supervisor/listener_opening.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int listener_opening_complain(const struct listener_opening *opening, int error, const char *format, ...)
{
    char detail[LISTENERS_WHY_BYTES / 2];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    snprintf(opening->why, LISTENERS_WHY_BYTES, "cannot listen at %.200s: %s", opening->text, detail);
    return error;
}

int listener_opening_complain_of_bind(const struct listener_opening *opening, int error)
{
    if (error == -EADDRINUSE)
        return listener_opening_complain(opening, error, "the address is in use by another process");
    if (error == -EACCES)
        return listener_opening_complain(opening, error,
                                         "permission denied (a port below 1024 needs root or CAP_NET_BIND_SERVICE)");
    if (error == -EADDRNOTAVAIL)
        return listener_opening_complain(opening, error, "no interface of this machine has that address");
    return listener_opening_complain(opening, error, "%s", strerror(-error));
}

int listener_opening_read_address(int fd, struct listener_address *ret_address)
{
    struct listener_address address = {.length = sizeof address.storage};
    if (getsockname(fd, &address.any, &address.length) < 0)
        return -errno;
    *ret_address = address;
    return 0;
}

uint16_t listener_opening_port(const struct listener_address *address)
{
    return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

void listener_opening_share(struct listener *listener, int fd, uint32_t flags)
{
    listener->fds[0] = fd;
    listener->fd_count = 1;
    listener->hello.flags = CONTROL_LISTENER_SHARED | flags;
}

static void describe_tcp(struct listener *listener, const struct listener_address *address)
{
    struct control_listener *hello = &listener->hello;
    bool v6 = address->any.sa_family == AF_INET6;
    const void *octets = v6 ? (const void *)&address->v6.sin6_addr : (const void *)&address->v4.sin_addr;

    inet_ntop(address->any.sa_family, octets, hello->server, sizeof hello->server);
    hello->server_port = listener_opening_port(address);
    snprintf(listener->text, sizeof listener->text, v6 ? "%s://[%s]:%u" : "%s://%s:%u",
             hello->tls_context < 0 ? "http" : "https", hello->server, hello->server_port);
}

static void describe_unix(struct listener *listener, const struct listener_address *address)
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

void listener_opening_describe(struct listener *listener, const struct listener_address *address)
{
    if (address->any.sa_family == AF_UNIX)
        describe_unix(listener, address);
    else
        describe_tcp(listener, address);
}
