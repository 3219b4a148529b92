/*
 * HTTP/1 deadline: how long a client may take for a head, for a body, and to accept its response.
 *
 * Owns nothing beyond http1_state.h. Threads: the loop.
 */
#ifndef DAEMON_IO_HTTP1_DEADLINE_H
#define DAEMON_IO_HTTP1_DEADLINE_H

#include "daemon/io/http1_state.h"

/* When to look next; 0: not at all. */
uint64_t http1_deadline_next(const struct http1_session *session);

/* The same once nothing but what is queued goes out. */
uint64_t http1_deadline_of_write(const struct http1_session *session);

/* Looks. A client that was too slow gets its answer, or loses its connection. */
void http1_deadline_check(struct http1_session *session);

#endif
