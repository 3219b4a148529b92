/*
 * HTTP head: a request as every version of HTTP has it, after its own parser is done. What the I/O process, and through
 * the slot record an application, learns of a request is in here, so that the versions do not differ to them.
 *
 * Owns:    nothing. Spans point into the octets that the parser was given (HTTP/1) or that it wrote (HTTP/2).
 */
#ifndef PROTO_HTTP_HEAD_H
#define PROTO_HTTP_HEAD_H

#include "proto/http_fields.h"

enum http_version { HTTP_VERSION_1_0 = 10, HTTP_VERSION_1_1 = 11, HTTP_VERSION_2 = 20 };

/* RFC 9112 6.3. UNKNOWN: a body of a length that is only known at its end (chunked; HTTP/2 without content-length). */
enum http_body_kind { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_UNKNOWN };

struct http_head {
    struct bytes method;
    struct bytes target;       /* as sent; of HTTP/2 :path */
    struct bytes path;         /* of the target, without query; "*" in asterisk-form */
    struct bytes query;        /* without '?'; empty when absent */
    struct bytes host;         /* Host or :authority; empty: HTTP/1.0 without one */
    struct bytes protocol;     /* :protocol of an extended CONNECT (RFC 8441), else empty */
    struct http_field *fields; /* the caller's array. An HTTP/2 request has `host` among them, and one `cookie` */
    uint32_t field_count;
    uint8_t version; /* enum http_version */
    enum http_body_kind body_kind;
    uint64_t content_length; /* HTTP_BODY_LENGTH */
    bool target_is_https;    /* absolute-form with the https scheme; :scheme https */
    bool expect_continue;    /* 100-continue, of a version that has it */
    bool te_trailers;
};

#endif
