/*
 * HTTP/2 windows: how far a client may send ahead of the application.
 *
 * A window doubles whenever half of it was taken, by the application or by what holds bodies back, within
 * HTTP2_WINDOW_GROW_MS: so it stays below about a second's worth of what is really taken, and an application that reads
 * slowly, or not at all, never lets more in than http2_initial_window_size. Distance and speed of the client do not
 * matter: one that is kept waiting by a round trip is a fast one whose window is too small.
 *
 * Bounds: http2_window_max for a stream and for a connection; for what all connections have beyond the usual, a quarter
 * of the memory that bodies lie in, of which one step takes at most a quarter of what is left. A connection without
 * streams has the usual window again.
 *
 * Owns:    the count of what connections were given beyond the usual.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_HTTP2_WINDOW_H
#define DAEMON_IO_HTTP2_WINDOW_H

#include <stdint.h>

enum { HTTP2_WINDOW_GROW_MS = 500 };

struct io_core;
struct http2_member;
struct http2_session;

/* Of all sessions of an I/O process. */
struct http2_window_budget {
    uint64_t given;
    uint64_t most;
};

/* Of a stream, or of a connection. Zeroed: nothing was taken yet. */
struct http2_window_pace {
    uint64_t since_ms; /* when counting began */
    uint32_t taken;
};

void http2_window_init(struct http2_window_budget *budget, const struct io_core *core);

/* Octets of the member's body were taken (NULL: of a stream that is gone): windows open again, and may grow. */
void http2_window_taken(struct http2_session *session, struct http2_member *member, uint32_t octets);

/* No stream is open, or the session ends: the connection's window is the usual one again. */
void http2_window_rest(struct http2_session *session);

#endif
