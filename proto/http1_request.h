/*
 * HTTP/1 request head: request line and fields, RFC 9112, strict (security.md rows H1-01 to H1-39).
 *
 * Pure: bytes in, spans of the same bytes out. Each line is parsed in place once it is complete; a call only looks at
 * the octets that are new, so a client that sends one octet at a time costs one look per octet.
 * Field names are put in lower case in the input itself, which is why the input is writable.
 */
#ifndef PROTO_HTTP1_REQUEST_H
#define PROTO_HTTP1_REQUEST_H

#include "proto/http_head.h"

enum http1_progress { HTTP1_NEED_MORE, HTTP1_HEAD_READY, HTTP1_REJECTED };

enum http1_target_form { HTTP1_TARGET_ORIGIN, HTTP1_TARGET_ABSOLUTE, HTTP1_TARGET_ASTERISK };

/* Bounds of one head; all in octets but field_count_max. Gunicorn's meaning of each; 0 is never "unlimited" here. */
struct http1_limits {
    uint32_t request_line_max;    /* 414; default 8190, the line without its CRLF */
    uint32_t field_size_max;      /* 431; default 8190, one field line without its CRLF */
    uint32_t field_count_max;     /* 431; default 100; bounded by the capacity of `fields` */
    uint32_t head_bytes_max;      /* 431; default 65536: request line, fields and all line ends */
    uint32_t method_bytes_max;    /* 501; default 32 */
    uint64_t body_bytes_max;      /* 413 for a larger Content-Length; 0 means no bound */
    bool refuse_underscore_names; /* header_map = refuse: 400 for a name with an underscore. Else they are kept and
                                     flagged, the caller drops them */
};

struct http1_request {
    /* Filled in when the head is ready. All spans point into the input. A body of unknown length is chunked. */
    struct http_head head;
    struct bytes authority; /* absolute-form only, else empty */
    enum http1_target_form target_form;
    bool keep_alive;        /* RFC 9112 9.3 */
    bool upgrade_websocket; /* Connection: upgrade, Upgrade: websocket; method, key, version are checked elsewhere */
    uint32_t fields_capacity;

    /* HTTP1_REJECTED: the status to answer (always followed by a close) and a short reason for the log. */
    uint16_t status;
    const char *reason;

    /* Where a partial head stands; private. */
    uint8_t phase;       /* enum phase of http1_request.c */
    uint8_t blank_lines; /* empty lines before the request line */
    uint16_t seen;       /* what the fields so far have said, flags of http1_request.c */
    size_t scanned;      /* octets known to hold no line end */
    size_t line_start;
    const uint8_t *input; /* of the last call: spans are moved along when the octets have moved */
};

/* `fields` stays the caller's and must outlive the request. Call again to reuse the object for the next head. */
void http1_request_init(struct http1_request *request, struct http_field *fields, uint32_t fields_capacity);

/*
 * Parses the head that begins at input.data[0] of `length` octets. Call again with the same octets and more after
 * them (they may have moved, or be a copy made before an earlier call) until the answer is not HTTP1_NEED_MORE.
 * *ret_consumed is the length of the head with its final empty line, and of up to eight empty lines before it (RFC
 * 9112 2.2); untouched unless HTTP1_HEAD_READY. A limit is answered as soon as it is passed, not at the end of the
 * head.
 */
[[nodiscard]] enum http1_progress http1_request_feed(struct http1_request *request, const struct http1_limits *limits,
                                                     uint8_t *input, size_t length, size_t *ret_consumed);

#endif
