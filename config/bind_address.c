#include "config/bind_address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { DEFAULT_PORT = 8000, PORT_MAX = 65'535, FD_MAX = 1'048'576 };

static const char any_address[] =
    "an address: HOST, HOST:PORT, :PORT, PORT, [IPV6]:PORT, unix:PATH, fd://N or fd://NAME";
static const char bad_port[] = "a port from 0 to 65535";
static const char bad_host[] = "a host name or address; IPv6 stands in brackets, as in [::1]:8000";
static const char bad_path[] = "a path of 1 to 107 bytes after unix:";
static const char bad_fd[] = "the number or the name of an inherited socket after fd://";

static bool begins(const char *text, const char *prefix, const char **ret_rest)
{
    size_t length = strlen(prefix);

    if (strncasecmp(text, prefix, length) != 0)
        return false;
    *ret_rest = text + length;
    return true;
}

static bool whole_number(const char *text, long max, long *ret_number)
{
    long number = 0;
    const char *at = text;

    for (; isdigit((unsigned char)*at) && number <= max; at++)
        number = 10 * number + (*at - '0');
    if (at == text || *at != '\0' || number > max)
        return false;
    *ret_number = number;
    return true;
}

static const char *parse_path(const char *text, struct bind_address *address)
{
    address->kind = *text == '@' ? BIND_ADDRESS_ABSTRACT : BIND_ADDRESS_UNIX;
    if (address->kind == BIND_ADDRESS_ABSTRACT)
        text++;
    /* sun_path holds the path and one octet more, the NUL behind it or the one before an abstract name. */
    if (*text == '\0' || strlen(text) >= BIND_ADDRESS_PATH_BYTES)
        return bad_path;
    memcpy(address->path, text, strlen(text) + 1);
    return NULL;
}

static bool only_digits(const char *text)
{
    return *text != '\0' && strspn(text, "0123456789") == strlen(text);
}

/* What FileDescriptorName= may be (systemd.socket(5)). */
static const char *parse_name(const char *text, struct bind_address *address)
{
    if (*text == '\0' || strlen(text) >= sizeof(address->host))
        return bad_fd;
    for (const char *at = text; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~' || *at == ':')
            return bad_fd;
    address->kind = BIND_ADDRESS_NAMED;
    memcpy(address->host, text, strlen(text) + 1);
    return NULL;
}

static const char *parse_fd(const char *text, struct bind_address *address)
{
    long fd;

    if (!only_digits(text))
        return parse_name(text, address);
    if (!whole_number(text, FD_MAX, &fd))
        return bad_fd;
    address->kind = BIND_ADDRESS_FD;
    address->fd = (int)fd;
    return NULL;
}

static const char *set_port(const char *text, struct bind_address *address)
{
    long port;

    if (!whole_number(text, PORT_MAX, &port))
        return bad_port;
    address->port = (uint16_t)port;
    return NULL;
}

static const char *set_host(const char *host, size_t length, struct bind_address *address)
{
    if (length >= sizeof(address->host))
        return bad_host;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)host[i]) && strchr(".-_", host[i]) == NULL)
            return bad_host;
    memcpy(address->host, host, length);
    address->host[length] = '\0';
    return NULL;
}

/* With a scope, as in fe80::1%eth0: the scope is left to the resolver, the address is checked here. */
static bool is_ipv6(const char *host)
{
    char plain[BIND_ADDRESS_HOST_BYTES];
    struct in6_addr ignored;

    snprintf(plain, sizeof(plain), "%.*s", (int)strcspn(host, "%"), host);
    return inet_pton(AF_INET6, plain, &ignored) == 1;
}

static const char *parse_bracketed(const char *text, struct bind_address *address)
{
    const char *end = strchr(text, ']');
    size_t length = end == NULL ? 0 : (size_t)(end - text - 1);

    if (end == NULL || length >= sizeof(address->host))
        return bad_host;
    memcpy(address->host, text + 1, length);
    address->host[length] = '\0';
    if (!is_ipv6(address->host))
        return bad_host;
    if (end[1] == '\0')
        return NULL;
    return end[1] == ':' ? set_port(end + 2, address) : bad_port;
}

static const char *parse_tcp(const char *text, struct bind_address *address)
{
    const char *colon = strchr(text, ':');

    address->kind = BIND_ADDRESS_TCP;
    address->port = DEFAULT_PORT;
    if (*text == '[')
        return parse_bracketed(text, address);
    if (*text == '\0')
        return any_address;
    if (colon != NULL && strchr(colon + 1, ':') != NULL)
        return bad_host;
    size_t length = colon == NULL ? strlen(text) : (size_t)(colon - text);
    const char *wrong = length == 0 ? set_host("0.0.0.0", strlen("0.0.0.0"), address) : set_host(text, length, address);
    if (wrong == NULL && colon != NULL)
        wrong = set_port(colon + 1, address);
    return wrong;
}

static const char *parse_any(const char *text, struct bind_address *address)
{
    const char *rest;

    if (begins(text, "unix://", &rest) || begins(text, "unix:", &rest))
        return parse_path(rest, address);
    if (begins(text, "fd://", &rest))
        return parse_fd(rest, address);
    if (begins(text, "tcp://", &rest))
        return parse_tcp(rest, address);
    if (strstr(text, "://") != NULL)
        return any_address;
    if (only_digits(text)) {
        const char *wrong = parse_tcp("0.0.0.0", address);
        return wrong != NULL ? wrong : set_port(text, address);
    }
    return parse_tcp(text, address);
}

const char *bind_address_parse(const char *text, struct bind_address *ret_address)
{
    struct bind_address address = {.fd = -1};
    const char *wrong = parse_any(text, &address);

    if (wrong == NULL)
        *ret_address = address;
    return wrong;
}

void bind_address_format(const struct bind_address *address, char text[BIND_ADDRESS_TEXT_BYTES])
{
    bool bracketed = strchr(address->host, ':') != NULL;

    switch (address->kind) {
    case BIND_ADDRESS_TCP:
        snprintf(text, BIND_ADDRESS_TEXT_BYTES, bracketed ? "[%s]:%u" : "%s:%u", address->host, address->port);
        break;
    case BIND_ADDRESS_UNIX:
        snprintf(text, BIND_ADDRESS_TEXT_BYTES, "unix:%s", address->path);
        break;
    case BIND_ADDRESS_ABSTRACT:
        snprintf(text, BIND_ADDRESS_TEXT_BYTES, "unix:@%s", address->path);
        break;
    case BIND_ADDRESS_FD:
        snprintf(text, BIND_ADDRESS_TEXT_BYTES, "fd://%d", address->fd);
        break;
    case BIND_ADDRESS_NAMED:
        snprintf(text, BIND_ADDRESS_TEXT_BYTES, "fd://%s", address->host);
        break;
    }
}
