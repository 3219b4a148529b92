/*
 * PROXY protocol, versions 1 and 2: who the client was before a load balancer took the connection.
 *
 * Pure. The header must come first on a listener that asks for it (security.md section 2, last paragraph).
 */
#ifndef PROTO_PROXY_HEADER_H
#define PROTO_PROXY_HEADER_H

#include "proto/bytes.h"

enum proxy_progress { PROXY_NEED_MORE, PROXY_READY, PROXY_REJECTED };
enum proxy_version { PROXY_V1 = 1, PROXY_V2 = 2, PROXY_AUTO = 3 };
enum proxy_family { PROXY_UNKNOWN, PROXY_IPV4, PROXY_IPV6, PROXY_UNIX };

struct proxy_header {
    enum proxy_version version;
    enum proxy_family family; /* PROXY_UNKNOWN: LOCAL, UNKNOWN or UNSPEC; keep the socket's own addresses */
    char source[48];          /* text form, NUL-terminated; "" for PROXY_UNKNOWN and PROXY_UNIX */
    char destination[48];
    uint16_t source_port;
    uint16_t destination_port;
    const char *reason; /* PROXY_REJECTED */
};

enum { PROXY_V1_BYTES_MAX = 107, PROXY_V2_BYTES_MAX = 16 + 65535 };

/* `accept` says which versions are allowed. *ret_consumed is the header's whole length, TLVs included. */
[[nodiscard]] enum proxy_progress proxy_header_feed(struct proxy_header *header, enum proxy_version accept,
                                                    struct bytes input, size_t *ret_consumed);

#endif
