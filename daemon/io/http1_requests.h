/*
 * HTTP/1 requests: from a head that is complete to an exchange that an application works on, or to its refusal.
 *
 * Owns nothing beyond http1_state.h. Threads: the loop.
 */
#ifndef DAEMON_IO_HTTP1_REQUESTS_H
#define DAEMON_IO_HTTP1_REQUESTS_H

#include "daemon/io/http1_state.h"

/* Nothing is parsed any more; this answer comes behind the exchanges that are there, then the connection ends. */
void http1_requests_fault(struct http1_session *session, uint16_t status, const char *reason, enum close_reason close);

/* The parser has a head, or a part of one, that is not served. Its octets are still there. */
void http1_requests_refuse(struct http1_session *session, uint16_t status, const char *reason);

/* The parser is done with a head at `from`, which stands at `at` in the arena, in `loan`'s buffer. */
void http1_requests_on_head(struct http1_session *session, struct loan loan, const uint8_t *from, const uint8_t *at);

/* Sends the exchange to an application if its time has come. */
void http1_requests_submit(struct http1_session *session, struct http_exchange *exchange);

/* RFC 9110 10.1.1: the client may wait for a word before it sends its body. An application says it by reading; where we
 * read for it we say it ourselves. */
void http1_requests_continue(struct http1_session *session, struct http_exchange *exchange);

#endif
