/*
 * HTTP/1 state: what a connection that speaks HTTP/1.x is in the middle of. Data only; the files of the session, each
 * of which knows those to its left, work on it:
 *
 *   http1_state <-- http1_segments, http1_starved, http1_requests <-- http1_uploads
 *               <-- http1_input, http1_output, http1_deadline <-- http1_session
 *
 * Octets come in as segments of received buffers. The head is parsed where it lies; only one that is cut across
 * buffers is put together aside. Requests become exchanges, in order; several safe ones may be with applications at
 * once (pipelining), but answers leave in the order of requests.
 *
 * Owns:    unparsed segments, the list of exchanges, the output queue.
 * Threads: the loop.
 * Life:    created when an idle connection receives its first octets, freed when nothing of it is left: an idle
 *          connection has no session.
 */
#ifndef DAEMON_IO_HTTP1_STATE_H
#define DAEMON_IO_HTTP1_STATE_H

#include "daemon/io/connection.h"
#include "daemon/io/dispatch.h"
#include "daemon/io/write_watch.h"
#include "proto/http1_body.h"
#include "proto/http1_request.h"

enum {
    HTTP1_READ_AHEAD_BYTES = 65'536, /* of body, streamed, not yet taken by the application; of pipelined requests */
    HTTP1_READ_AHEAD_BUFFERS = 16,   /* that hold them, for a segment may be a single octet */
    HTTP1_BODY_PIECES_MAX = 1'024,   /* of body, streamed, not yet taken */
    HTTP1_UPLOAD_BYTES = 16'384,     /* a longer body is received in upload buffers */
    HTTP1_DISCARD_BYTES = 1 << 20,   /* of a body nobody wants, for the sake of the connection */
    HTTP1_DISCARD_MS = 5'000,
};

struct http1_session;

/* All sessions of an I/O process. */
struct http1_sessions {
    struct io_core *core;
    struct connections *connections;
    struct dispatch *dispatch;
    struct connection_protocol protocol;                /* what connections call; its context is this */
    struct http_exchange_owner owner;                   /* what the dispatcher calls */
    struct http1_session *starved_first, *starved_last; /* wait for a slot or a staging block */
    bool block_wanted;                                  /* one of them for a staging block */
};

/* An answer that we give ourselves. */
struct http1_fault {
    uint16_t status;
    const char *reason;
    enum close_reason close_reason;
};

struct http1_session {
    struct connection_output out; /* first: connection->out points here */
    struct http1_sessions *all;
    struct connection *connection;

    /* Input. */
    struct body_piece *input_first, *input_last;
    uint32_t input_bytes, input_segments;
    uint8_t *partial; /* a head that is cut across buffers is put together here; NULL: there is none */
    struct http_field *partial_fields;
    uint32_t partial_bytes, partial_capacity;
    struct http1_request parser;
    struct http1_body body;
    bool body_open;                      /* a request body is being received ... */
    bool body_held;                      /* ... but not read for now: nobody takes it */
    struct http_exchange *body_exchange; /* ... for this one; NULL: nobody wants it any more */
    uint32_t discarded;
    bool discards_all; /* however long it is: its client was found to be fast */
    bool settling;     /* http1_session_settle() is under way */
    bool client_ended; /* EOF: what is here is answered, nothing else comes */
    bool starved;
    struct http1_session *starved_next;

    /* Exchanges, in order of requests; the first is the one being answered. */
    struct http_exchange *first, *last;
    struct dispatch_lane lane; /* where they wait for an application */
    uint32_t count;
    uint32_t unsafe_count;
    struct http1_fault fault; /* status 0: none. Comes after the exchanges; nothing is parsed behind it */
    bool last_request;        /* nothing is parsed behind the last exchange: it closes */

    /* Time, in ms; 0: not running. */
    uint64_t head_since;
    uint64_t body_since;
    uint64_t body_progress;
    uint64_t body_mark_bytes;
    struct write_watch write;
};

#endif
