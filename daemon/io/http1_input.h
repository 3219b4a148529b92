/*
 * HTTP/1 input: how far what was received is parsed, a head or a piece of a body at a time.
 *
 *   http1_segments -> head -> http1_requests: an exchange -> http1_uploads: its body -> dispatch
 *
 * Owns nothing beyond http1_state.h. Threads: the loop.
 */
#ifndef DAEMON_IO_HTTP1_INPUT_H
#define DAEMON_IO_HTTP1_INPUT_H

#include "daemon/io/http1_state.h"

/* Takes the loan. */
void http1_input_append(struct http1_session *session, struct loan loan, uint8_t *data, uint32_t length);

/* Parses and receives as far as octets, places and backpressure allow. */
void http1_input_advance(struct http1_session *session);

/* What was received and not parsed goes back. */
void http1_input_clear(struct http1_session *session);

#endif
