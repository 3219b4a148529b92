/*
 * HTTP/2 memory: what a session needs while it is at work, and an idle one does not: the tables of HPACK in their full
 * size, and the buffer that its output is gathered in; 10 KiB.
 *
 *   AT_WORK <--> WARM --> PACKED     the last HTTP2_WARM_SESSIONS that became idle keep all of it: a client that asks
 *      ^                    |        again in a moment costs nothing. Of older ones the tables are packed into what
 *      +--------------------+        they really hold, and come back with the client's next octet
 *
 * Owns:    the order in which sessions became idle.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_HTTP2_MEMORY_H
#define DAEMON_IO_HTTP2_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP2_WARM_SESSIONS = 256 };

enum http2_memory_state { HTTP2_AT_WORK, HTTP2_WARM, HTTP2_PACKED };

struct http2_session;

/* Of a session. */
struct http2_rest {
    enum http2_memory_state state;
    void *tables;                          /* of the slab, or packed */
    size_t packed_bytes;                   /* of the latter */
    struct http2_session *next, *previous; /* WARM */
};

/* Of all sessions. */
struct http2_warm {
    struct http2_session *first, *last;
    uint32_t count, most;
};

/* The session has no stream and nothing to read. */
void http2_memory_rest(struct http2_session *session);

/* Its client said something; false: no memory. */
[[nodiscard]] bool http2_memory_wake(struct http2_session *session);

/* The session ends. */
void http2_memory_release(struct http2_session *session);

#endif
