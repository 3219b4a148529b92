/*
 * Response head: an application's answer, as every version of HTTP has it before it is encoded.
 *
 * Owns:    nothing; the copy and the fields live in the scratch of io_core until the next head is read.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_RESPONSE_HEAD_H
#define DAEMON_IO_RESPONSE_HEAD_H

#include "daemon/io/http_exchange.h"
#include "proto/http_head.h"

struct response_head {
    const struct http_field *fields; /* names may be of any case; into `copy` */
    uint32_t field_count;
    struct bytes reason; /* empty: the standard phrase. Only HTTP/1 has a place for it */
    struct bytes copy;
    bool closes; /* Connection: close is among the fields: the application wants the connection to end with it */
};

/* How much body follows, whatever the version: HTTP_BODY_UNKNOWN ends when the application says so. */
struct response_framing {
    enum http_body_kind body;
    bool states_length; /* the length belongs into the head: also where none may follow, as for HEAD and 304 */
    uint64_t content_length;
};

/* Copies the field block out of the application's reach, then cuts it into fields. -EMSGSIZE, -EBADMSG. */
[[nodiscard]] int response_head_read(struct io_core *core, struct bytes block, struct response_head *ret_head);

/* By the length that the application states, or by the one that we know because all of the body is here. */
struct response_framing response_head_framing(const struct reply *reply, bool is_head);

#endif
