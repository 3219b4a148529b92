/*
 * HTTP/1 response head and chunk framing, RFC 9112 4 and 7.
 *
 * Pure: writes into the caller's memory and never past it. What an application gave is checked here again, because
 * this is the last place before the wire: a name that is no token, or a value with CR, LF or NUL, is refused.
 */
#ifndef PROTO_HTTP1_RESPONSE_H
#define PROTO_HTTP1_RESPONSE_H

#include "proto/http_fields.h"

enum http1_response_body {
    HTTP1_RESPONSE_NO_BODY,
    HTTP1_RESPONSE_LENGTH,
    HTTP1_RESPONSE_CHUNKED,
    HTTP1_RESPONSE_UNTIL_CLOSE
};

struct http1_response {
    uint16_t status;                 /* 100 to 999 */
    struct bytes reason;             /* empty: the standard phrase */
    const struct http_field *fields; /* names may be of any case; id is ignored */
    uint32_t field_count;
    struct bytes date;     /* IMF-fixdate for Date, used when the fields have none; empty: none is added */
    struct bytes server;   /* likewise for Server */
    uint8_t version_minor; /* of the request: an HTTP/1.0 client gets no chunked coding */
    bool keep_alive;
    enum http1_response_body body;
    uint64_t content_length; /* HTTP1_RESPONSE_LENGTH */
    bool add_content_length; /* write the Content-Length above; false for HEAD without a known length and so on */
};

/*
 * Writes the head. Connection, Keep-Alive, Proxy-Connection, Transfer-Encoding and Content-Length of `fields` are
 * skipped: framing belongs to the server (the caller has read the length that it wants to state). `Upgrade` is kept
 * for status 101. Returns the octets written, -ENOSPC when `capacity` is too small, -EBADMSG for a bad name or value
 * (*ret_bad_field then is its index, or UINT32_MAX when status or reason is the bad one). A body whose end only the end
 * of the connection tells (UNTIL_CLOSE, or CHUNKED towards HTTP/1.0) is announced with Connection: close.
 */
[[nodiscard]] int http1_response_encode(const struct http1_response *response, uint8_t *output, size_t capacity,
                                        uint32_t *ret_bad_field);

/* "SIZE CRLF" of one chunk, at most HTTP1_CHUNK_HEAD_MAX octets; the chunk ends with CRLF, the body with 0 CRLF CRLF.
 */
enum { HTTP1_CHUNK_HEAD_MAX = 18 };
size_t http1_chunk_head(uint64_t chunk_bytes, uint8_t output[HTTP1_CHUNK_HEAD_MAX]);

/* The end of a chunked body with trailers (RFC 9112 7.1.2): 0 CRLF, the fields, CRLF. What a head would not send is not
 * sent here either; returns as http1_response_encode() does. Which fields may be trailers is the caller's to know. */
[[nodiscard]] int http1_response_trailers(const struct http_field *fields, uint32_t field_count, uint8_t *output,
                                          size_t capacity, uint32_t *ret_bad_field);

/* The standard phrase of a status, or "Unknown". */
const char *http1_reason(uint16_t status);

/* A whole small answer of the server's own (head and a text/plain body of one line), always Connection: close unless
 * `keep_alive`. Returns octets written or -ENOSPC. `extra` is one more field, or NULL. */
[[nodiscard]] int http1_response_plain(uint16_t status, const char *text, const struct http_field *extra,
                                       bool keep_alive, bool head_only, struct bytes date, uint8_t *output,
                                       size_t capacity);

#endif
