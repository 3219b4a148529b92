/*
 * HTTP/1 starved: sessions that wait for a slot or a staging block, in the order in which they found none.
 *
 * Owns:    the list, in struct http1_sessions. Whoever has something to give looks there (http1_session.c).
 * Threads: the loop.
 */
#ifndef DAEMON_IO_HTTP1_STARVED_H
#define DAEMON_IO_HTTP1_STARVED_H

#include "daemon/io/http1_state.h"

void http1_starved_wait(struct http1_session *session);
void http1_starved_wait_for_block(struct http1_session *session);

/* The session is about to be freed. */
void http1_starved_leave(struct http1_session *session);

#endif
