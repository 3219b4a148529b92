/*
 * HTTP/1 session: what a connection that speaks HTTP/1.x is in the middle of.
 *
 * Octets come in as segments of received buffers. The head is parsed where it lies; only one that is cut across
 * buffers is put together in a staging block. Requests become exchanges, in order; several safe ones may be with
 * applications at once (pipelining), but answers leave in the order of requests.
 *
 * Owns:    unparsed segments, the list of exchanges, the output queue.
 * Threads: the loop.
 * Life:    created when an idle connection receives its first octets, freed when nothing of it is left: an idle
 *          connection has no session.
 *
 *   input (http1_input.c)    segments -> head -> exchange -> body pieces -> dispatch
 *   output (http1_output.c)  replies of the first exchange -> head, framing, body -> output queue
 */
#ifndef DAEMON_IO_HTTP1_SESSION_H
#define DAEMON_IO_HTTP1_SESSION_H

#include "daemon/io/connection.h"
#include "daemon/io/dispatch.h"
#include "proto/http1_response.h"

enum {
    HTTP1_READ_AHEAD_BYTES = 65'536, /* of body, streamed, not yet taken by the application; of pipelined requests */
    HTTP1_READ_AHEAD_BUFFERS = 16,   /* that hold them, for a segment may be a single octet */
    HTTP1_BODY_PIECES_MAX = 1'024,   /* of body, streamed, not yet taken */
    HTTP1_UPLOAD_BYTES = 16'384,     /* a longer body is received in upload buffers */
    HTTP1_DISCARD_BYTES = 1 << 20,   /* of a body nobody wants, for the sake of the connection */
    HTTP1_DISCARD_MS = 5'000,
    HTTP1_SCRATCH_BYTES = 65'536,
};

/* All sessions of an I/O process. */
struct http1_sessions {
    struct io_core *core;
    struct connections *connections;
    struct dispatch *dispatch;
    struct connection_protocol protocol; /* what connections call; its context is this */
    struct http_field *fields;           /* scratch of the parser: a head is parsed and recorded in one go */
    struct http_field *log_fields;
    struct http_field *response_fields;
    uint8_t *head_copy;                                 /* scratch: a response head, copied before it is looked at */
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
    bool settling;     /* http1_session_settle() is under way */
    bool client_ended; /* EOF: what is here is answered, nothing else comes */
    bool starved;
    struct http1_session *starved_next;

    /* Exchanges, in order of requests; the first is the one being answered. */
    struct http_exchange *first, *last;
    uint32_t count;
    uint32_t unsafe_count;
    struct http1_fault fault; /* status 0: none. Comes after the exchanges; nothing is parsed behind it */
    bool last_request;        /* nothing is parsed behind the last exchange: it closes */

    /* Time, in ms; 0: not running. */
    uint64_t head_since;
    uint64_t body_since;
    uint64_t body_progress;
    uint64_t body_mark_bytes;
    uint64_t write_progress;
    uint64_t write_acked;
    bool writing;
};

[[nodiscard]] int http1_sessions_init(struct http1_sessions *sessions, struct io_core *core,
                                      struct connections *connections, struct dispatch *dispatch);
void http1_sessions_deinit(struct http1_sessions *sessions);

/* Once a turn: sessions that waited for a slot or a block try again. */
void http1_sessions_turn(struct http1_sessions *sessions);

/* A connection was accepted: nothing is armed yet. */
void http1_session_accepted(struct http1_sessions *sessions, struct connection *connection);

/* A connection without a session gets this answer and is closed, whatever it sends. */
void http1_session_refuse(struct http1_sessions *sessions, struct connection *connection, uint16_t status,
                          const char *reason, enum close_reason close);

/* The server is stopping: idle connections go now, others after their responses. */
void http1_sessions_drain(struct http1_sessions *sessions);

/* ---- between the files of the session ---- */

/* Parses and receives as far as octets, places and backpressure allow. */
void http1_input_advance(struct http1_session *session);
void http1_input_append(struct http1_session *session, struct loan loan, uint8_t *data, uint32_t length);
void http1_input_clear(struct http1_session *session);
/* Sends the exchange to an application if its time has come. */
void http1_input_submit(struct http1_session *session, struct http_exchange *exchange);

extern const struct http_exchange_owner http1_exchange_owner;

/* A client that does not take what it is sent at once keeps no block of an application: what waits for it is copied,
 * within response_buffer_max. A client that does costs no copy. */
void http1_output_detach_if_slow(struct http1_session *session);

/* Answers that are due: replies of the first exchange, faults; then ends exchanges that are complete. */
void http1_output_advance(struct http1_session *session);

/* Whatever changed: parse, answer, start or stop reading, set the deadline, end the session when nothing is left.
 * The session may be gone afterwards. */
void http1_session_settle(struct http1_session *session);

/* The access line of a request that never became an exchange, with as much of it as was `understood`: only while the
 * parser's input is still there. */
void http1_output_log_refused(const struct http1_session *session, uint16_t status, bool understood);

void http1_session_fault(struct http1_session *session, uint16_t status, const char *reason, enum close_reason close);

/* The first exchange is answered: takes it off, wherever its application is. */
void http1_session_finish_first(struct http1_session *session);

/* No response will go out any more: applications hear that nobody waits for those that are left. */
void http1_session_drop_all(struct http1_session *session);

#endif
