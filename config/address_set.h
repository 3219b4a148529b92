/*
 * Address set: which peers are trusted, from lists like forwarded_allow_ips.
 *
 * Owns:    its table of networks.
 * Threads: built once, then read by anyone.
 * Meaning: items are addresses, networks (ADDRESS/BITS) or `*`. IPv4 and IPv4-mapped IPv6 are one and the same. A peer
 *          on a unix socket is always a member: the file system decided already.
 */
#ifndef CONFIG_ADDRESS_SET_H
#define CONFIG_ADDRESS_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "config/schema.h"

/* As IPv6; an IPv4 network is under ::ffff:0:0/96. */
struct address_network {
    uint8_t octets[16];
    uint8_t bits;
};

struct address_set {
    bool everyone;
    size_t count;
    struct address_network *networks;
};

/* 0; -ENOMEM; or -EINVAL with the index of the item that is neither address, network nor `*`. */
[[nodiscard]] int address_set_init(struct address_set *set, const struct string_list *items, size_t *ret_bad_index);
void address_set_deinit(struct address_set *set);

bool address_set_contains(const struct address_set *set, const struct sockaddr *peer);

/* One item, for checks at load. False: not an address, network or `*`. */
bool address_network_parse(const char *text, struct address_network *ret_network, bool *ret_everyone);

#endif
