/*
 * HTTP/1 output: from the replies of the first exchange to octets that are due.
 *
 *   replies -> head, framing, body -> output queue
 *
 * Owns nothing beyond http1_state.h. Threads: the loop.
 */
#ifndef DAEMON_IO_HTTP1_OUTPUT_H
#define DAEMON_IO_HTTP1_OUTPUT_H

#include "daemon/io/http1_state.h"

/* Takes the reply's blocks. It goes out when it is its exchange's turn. */
void http1_output_reply(struct http1_session *session, struct http_exchange *exchange, struct reply *reply);

/* No response will come. `status` is what the client is told if it was told nothing yet; else it must see that the
 * response is not whole. */
void http1_output_fail(struct http_exchange *exchange, uint16_t status, enum close_reason reason);

/* Answers that are due: replies of the first exchange, faults; then ends exchanges that are complete. */
void http1_output_advance(struct http1_session *session);

/* A client that does not take what it is sent at once keeps no block of an application: what waits for it is copied,
 * within response_buffer_max. A client that does costs no copy. */
void http1_output_detach_if_slow(struct http1_session *session);

/* A part of what is queued was sent. */
void http1_output_go_on(struct http1_session *session);

/* Octets of the response that wait for the client; UINT64_MAX: it is not its turn. */
uint64_t http1_output_queued(const struct http_exchange *exchange);
bool http1_output_sends_files(const struct http_exchange *exchange);

/* No response will go out any more: applications hear that nobody waits for those that are left. */
void http1_output_drop_all(struct http1_session *session);

#endif
