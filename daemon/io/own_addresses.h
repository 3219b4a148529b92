/*
 * Own addresses: the texts of this machine's addresses that clients have come to, each kept once.
 *
 * A listener on all addresses learns from each accepted socket which one it was; a connection then points to the text
 * instead of carrying it.
 *
 * Owns:    the texts; they stay where they are as long as the table.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_OWN_ADDRESSES_H
#define DAEMON_IO_OWN_ADDRESSES_H

#include "proto/ip_text.h"

enum { OWN_ADDRESSES_MAX = 256 };

struct own_address {
    uint8_t octets[IP6_BYTES]; /* of IPv4 the first four */
    bool is_ipv6;
    char text[IP_TEXT_MAX];
};

/* A zeroed table is an empty one. */
struct own_addresses {
    struct own_address items[OWN_ADDRESSES_MAX];
    uint32_t count;
};

/* "0.0.0.0", "::" */
bool own_addresses_is_wildcard(const char *text);

/* The text of the socket's own address; `otherwise` when it has none, or when the table is full of others. */
const char *own_addresses_find(struct own_addresses *table, int fd, const char *otherwise);

#endif
