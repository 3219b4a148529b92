/*
 * HTTP/2 response: the field block of a response head, of an interim response, or of trailers.
 *
 * Pure: writes into the caller's memory and never past it. The last place before the wire, so what an application gave
 * is checked here again, by the same rules as HTTP/1 (http1_response.h).
 */
#ifndef PROTO_HTTP2_RESPONSE_H
#define PROTO_HTTP2_RESPONSE_H

#include "proto/hpack.h"

struct http2_response {
    uint16_t status;                 /* 100 to 999 but 101; 0: trailers */
    const struct http_field *fields; /* names may be of any case; id is ignored and found */
    uint32_t field_count;
    struct bytes date;       /* IMF-fixdate, of a final response whose fields have none; empty: none is added */
    struct bytes server;     /* likewise */
    bool add_content_length; /* has no effect on 1xx, 204 and trailers */
    uint64_t content_length;
};

/* Octets that http2_response_encode() may need; it takes no less, though it mostly writes less. */
size_t http2_response_max(const struct http2_response *response);

/*
 * Writes the field block. Names are put in lower case, blanks around values are left out; connection-specific fields
 * (RFC 9113 8.2.2) and content-length are skipped. Returns the octets written, -ENOSPC, or -EBADMSG for a bad name or
 * value (*ret_bad_field is its index, or UINT32_MAX when the status is bad); after an error the encoder's table is as
 * it was before.
 */
[[nodiscard]] int http2_response_encode(const struct http2_response *response, struct hpack_encoder *encoder,
                                        uint8_t *output, size_t capacity, uint32_t *ret_bad_field);

#endif
