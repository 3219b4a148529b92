/*
 * Forwarded: what proxies in front say about a request, X-Forwarded-For and RFC 7239 Forwarded.
 *
 * Pure. Knows how it is written, not whom to believe: that is the caller's.
 */
#ifndef PROTO_FORWARDED_H
#define PROTO_FORWARDED_H

#include "proto/ip_text.h"

/* An address, perhaps with a port: an item of X-Forwarded-For, or the value of `for`. */
struct forwarded_node {
    bool is_ipv6;
    uint16_t port; /* 0: none was given */
    uint8_t address[IP6_BYTES];
};

/* One element of Forwarded. Spans of the input, without quotes; empty when absent. */
struct forwarded_element {
    struct bytes node; /* `for` */
    struct bytes proto;
    struct bytes host;
};

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". false for anything else: RFC 7239
 * 6.2 and 6.3 allow "unknown" and obfuscated names, but those are nobody's address. */
[[nodiscard]] bool forwarded_node_parse(struct bytes text, struct forwarded_node *ret_node);

/* 1 to 65535. */
[[nodiscard]] bool forwarded_port_parse(struct bytes text, uint16_t *ret_port);

/* Cuts the last element off a comma-separated list and trims it; false when the list is used up. */
bool forwarded_list_pop(struct bytes *list, struct bytes *ret_item);

/* RFC 7239 4. Appends the elements of one field value to `elements`, `*count` of which are in use. false: the value is
 * malformed, or has more elements than `capacity`. */
[[nodiscard]] bool forwarded_parse(struct bytes value, struct forwarded_element *elements, size_t capacity,
                                   size_t *count);

#endif
