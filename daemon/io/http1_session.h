/*
 * HTTP/1 session: the connection's side of HTTP/1, and what an I/O process does with all sessions.
 *
 * Whatever happens to a session, http1_session_settle() then brings everything to rest: it parses, answers, starts or
 * stops reading, sets the deadline, and ends the session when nothing of it is left.
 *
 * Owns:    the sessions (http1_state.h).
 * Threads: the loop.
 */
#ifndef DAEMON_IO_HTTP1_SESSION_H
#define DAEMON_IO_HTTP1_SESSION_H

#include "daemon/io/http1_state.h"

void http1_sessions_init(struct http1_sessions *sessions, struct io_core *core, struct connections *connections,
                         struct dispatch *dispatch);

/* Once a turn: sessions that waited for a slot or a block try again. */
void http1_sessions_turn(struct http1_sessions *sessions);

/* A connection was accepted: nothing is armed yet. */
void http1_session_accepted(struct http1_sessions *sessions, struct connection *connection);

/* A connection without a session gets this answer and is closed, whatever it sends. */
void http1_session_refuse(struct http1_sessions *sessions, struct connection *connection, uint16_t status,
                          const char *reason, enum close_reason close);

/* The server is stopping: idle connections go now, others after their responses. */
void http1_sessions_drain(struct http1_sessions *sessions);

#endif
