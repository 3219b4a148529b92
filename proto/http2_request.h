/*
 * HTTP/2 request: from a decoded field section to a head, by the rules of RFC 9113 8 (security.md, "HTTP/2 to
 * WSGI/ASGI": rejected, never repaired).
 *
 * Pure. What a head needs beside the decoded octets (a `host` field made of :authority, the crumbs of a cookie joined)
 * is written behind them in the section's memory. Twice the field section's list size is room for all of that; where it
 * ends earlier the request is refused with 431.
 *
 * Of several faults the first in the order of the fields decides, then those of the head as a whole. What HTTP/2 itself
 * forbids is malformed; what this server does not serve, in any version, is refused with a status.
 */
#ifndef PROTO_HTTP2_REQUEST_H
#define PROTO_HTTP2_REQUEST_H

#include "proto/hpack.h"
#include "proto/http_head.h"

/* What is to be done with a field section. */
enum http2_request_verdict {
    HTTP2_REQUEST_GOOD,
    HTTP2_REQUEST_MALFORMED, /* RST_STREAM with PROTOCOL_ERROR, RFC 9113 8.1.1 */
    HTTP2_REQUEST_REFUSED,   /* well-formed, answered with `status`: 400, 405, 413, 414, 417, 431, 501 */
};

struct http2_request_limits {
    uint32_t request_line_max; /* 414: of method, target and 10 more, as in HTTP/1 */
    uint32_t field_size_max;   /* 431: of name, value and 2 */
    uint32_t field_count_max;  /* 431: without pseudo fields, each crumb of a cookie counts */
    uint32_t method_bytes_max; /* 501 */
    uint64_t body_bytes_max;   /* 413; 0: no bound */
    bool connect_protocol;     /* SETTINGS_ENABLE_CONNECT_PROTOCOL was sent */
    bool refuse_underscore_names;
    bool is_secure;      /* the transport; :scheme must agree ... */
    bool scheme_trusted; /* ... unless a trusted proxy may say otherwise */
};

struct http2_request {
    struct http_head head; /* GOOD. Otherwise what was understood, unchecked, for the log */
    uint16_t status;       /* REFUSED */
    const char *reason;    /* MALFORMED, REFUSED: for the log and the answer */
    uint8_t urgency;       /* RFC 9218, of the `priority` field; defaults 3 and false */
    bool incremental;
};

/* `fields` (of `fields_capacity`, at least field_count_max + 1) receives the head's fields. `end_stream`: no body
 * follows. A section that overflowed is REFUSED with 431. Spans point into section->memory. */
[[nodiscard]] enum http2_request_verdict http2_request_read(struct http2_request *request,
                                                            const struct http2_request_limits *limits,
                                                            struct hpack_section *section, bool end_stream,
                                                            struct http_field *fields, uint32_t fields_capacity);

/* Trailers of a request: no pseudo field (MALFORMED), at most 50 and 16 KiB as RFC 9113 6.5.2 counts (REFUSED: 431),
 * never content-length and its like (those are dropped). Fields that may be passed on are written to `fields`. */
[[nodiscard]] enum http2_request_verdict http2_request_trailers(const struct hpack_section *section,
                                                                struct http_field *fields, uint32_t fields_capacity,
                                                                uint32_t *ret_count);

#endif
