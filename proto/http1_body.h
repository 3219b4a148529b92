/*
 * HTTP/1 request body: octets of the connection in, octets of the body out (RFC 9112 6 and 7).
 *
 * Pure. Chunked data is decoded in place: the decoded octets are moved together at the front of the input, so one
 * received buffer holds at most one piece of body, however small the chunks were.
 */
#ifndef PROTO_HTTP1_BODY_H
#define PROTO_HTTP1_BODY_H

#include "proto/http_head.h"

enum http1_body_progress { HTTP1_BODY_NEED_MORE, HTTP1_BODY_END, HTTP1_BODY_REJECTED };

struct http1_body_limits {
    uint64_t body_bytes_max;       /* decoded octets; 413; 0 means no bound */
    uint32_t trailer_bytes_max;    /* 431; default 16384 */
    uint32_t trailer_count_max;    /* 431; default 50 */
    uint32_t chunk_extension_max;  /* octets of extensions in one chunk; 400; default 256 */
    uint32_t extensions_bytes_max; /* in one message; 400; default 16384 */
};

/* Longer names are all allowed, so no more than this is kept of one. */
enum { HTTP1_TRAILER_NAME_MAX = 18 };

struct http1_body {
    enum http_body_kind kind;
    uint64_t remaining; /* of the length, or of the current chunk; private */
    uint64_t received;  /* decoded octets so far */
    uint64_t overhead;  /* octets of chunk framing so far: H1-11's ratio rule; private */
    uint32_t extension_bytes;
    uint32_t extensions_total;
    uint32_t trailer_bytes;
    uint32_t trailer_count;
    uint8_t state;   /* enum state of http1_body.c; private, as are the counts around it */
    uint8_t digits;  /* of the current chunk size */
    uint16_t status; /* HTTP1_BODY_REJECTED */
    const char *reason;
    /* A trailer line may be cut anywhere; its name is checked as it passes. */
    uint8_t trailer_name[HTTP1_TRAILER_NAME_MAX];
    uint8_t trailer_name_length;
};

void http1_body_init(struct http1_body *body, enum http_body_kind kind, uint64_t content_length);

/*
 * Feeds `length` octets. *ret_consumed counts the octets taken from the input (all of them unless the body ended or
 * was rejected: then those before the octet that was refused); *ret_decoded the octets of body now standing at
 * input[*ret_data_offset]. For a body framed by length nothing is moved and the offset is 0. Bytes after the end of the
 * body are not touched. All three are set for every answer. After the end or a refusal the answer stays the same and
 * nothing is taken.
 */
[[nodiscard]] enum http1_body_progress http1_body_feed(struct http1_body *body, const struct http1_body_limits *limits,
                                                       uint8_t *input, size_t length, size_t *ret_consumed,
                                                       size_t *ret_data_offset, size_t *ret_decoded);

#endif
