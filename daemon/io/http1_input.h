/*
 * HTTP/1 input: from received segments to exchanges that applications work on.
 *
 *   segments -> head -> exchange -> body pieces -> dispatch
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

/* Sends the exchange to an application if its time has come. */
void http1_input_submit(struct http1_session *session, struct http_exchange *exchange);

/* RFC 9110 10.1.1: the client may wait for a word before it sends its body. An application says it by reading; where we
 * read for it we say it ourselves. */
void http1_input_continue(struct http1_session *session, struct http_exchange *exchange);

/* Nothing is parsed any more; this answer comes behind the exchanges that are there, then the connection ends. */
void http1_input_fault(struct http1_session *session, uint16_t status, const char *reason, enum close_reason close);

/* The rest of the body that is being received will not come, or not be read. Whoever waits for it hears so; the client
 * is told `status` if nothing was said to it yet. */
void http1_input_end_body(struct http1_session *session, uint16_t status, enum close_reason close);

/* What was received and not parsed goes back. */
void http1_input_clear(struct http1_session *session);

/* The session is about to be freed. */
void http1_input_unstarve(struct http1_session *session);

#endif
