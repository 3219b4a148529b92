#include "daemon/io/own_addresses.h"

#include <netinet/in.h>
#include <sys/socket.h>

bool own_addresses_is_wildcard(const char *text)
{
    return strcmp(text, "0.0.0.0") == 0 || strcmp(text, "::") == 0;
}

static bool own_address_of(int fd, struct own_address *ret_address)
{
    union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
    } own;
    struct own_address address = {};
    socklen_t length = sizeof own;
    if (getsockname(fd, &own.any, &length) < 0)
        return false;
    address.is_ipv6 = own.any.sa_family == AF_INET6;
    if (address.is_ipv6)
        memcpy(address.octets, &own.ipv6.sin6_addr, IP6_BYTES);
    else if (own.any.sa_family == AF_INET)
        memcpy(address.octets, &own.ipv4.sin_addr, IP4_BYTES);
    else
        return false;
    *ret_address = address;
    return true;
}

static const char *add(struct own_addresses *table, const struct own_address *address)
{
    struct own_address *added = &table->items[table->count++];
    *added = *address;
    if (added->is_ipv6)
        ip_text_format6(added->octets, added->text);
    else
        ip_text_format4(added->octets, added->text);
    return added->text;
}

const char *own_addresses_find(struct own_addresses *table, int fd, const char *otherwise)
{
    struct own_address address;
    if (!own_address_of(fd, &address))
        return otherwise;
    for (uint32_t i = 0; i < table->count; i++) {
        const struct own_address *known = &table->items[i];
        if (known->is_ipv6 == address.is_ipv6 && memcmp(known->octets, address.octets, IP6_BYTES) == 0)
            return known->text;
    }
    return table->count < OWN_ADDRESSES_MAX ? add(table, &address) : otherwise;
}
