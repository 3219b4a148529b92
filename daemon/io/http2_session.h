/*
 * HTTP/2 session: a connection that speaks HTTP/2, bound to the applications.
 *
 * proto/http2_connection decides what the frames mean; here a field section becomes a request for the dispatcher, DATA
 * becomes request body, replies become HEADERS and DATA. Every stream is an exchange of its own, so the streams of one
 * connection are served by all app processes at once, whatever their worker class.
 *
 * Owns:    unparsed segments, the streams, the output queue, the memory of the HPACK tables.
 * Threads: the loop.
 * Life:    as the connection, from its first octet, or from ALPN, on.
 *
 *   http2_input       segments -> frames -> events
 *   http2_uploads     DATA -> body pieces -> dispatch; trailers
 *   http2_requests    a field section -> exchange -> dispatch
 *   http2_replies     replies -> HEADERS at once; body waits in its stream for windows and its turn -> DATA
 *   http2_streams     they come and go; what the engine says leaves
 *
 * A stream that a client gives up leaves the session at once; its exchange lives until its application is done, and
 * counts against http2_max_concurrent_streams for as long (http_exchange's tally: the slot rule of security.md).
 */
#ifndef DAEMON_IO_HTTP2_SESSION_H
#define DAEMON_IO_HTTP2_SESSION_H

#include "daemon/io/connection.h"
#include "daemon/io/dispatch.h"
#include "daemon/io/http2_memory.h"
#include "daemon/io/http2_window.h"
#include "daemon/io/write_watch.h"
#include "proto/http2_connection.h"
#include "proto/http2_priority.h"
#include "proto/http2_request.h"

enum {
    HTTP2_QUEUED_MAX = 262'144,  /* octets queued for a client before nothing more is read from it */
    HTTP2_AHEAD_BYTES = 131'072, /* DATA is framed while less than this is queued: what is framed has had its turn */
    /* Of DATA that we send, whatever the peer would take: others want their turn. A frame is a record of TLS. */
    HTTP2_FRAME_BYTES = 16'384 - HTTP2_FRAME_HEAD_BYTES,
    HTTP2_FILE_READ_BYTES = 4 * HTTP2_FRAME_BYTES,
    HTTP2_MALFORMED_WEIGHT = 10, /* glitches of a request, or trailers, that RFC 9113 8 forbids */
    HTTP2_TURN_STREAMS = 16,     /* new streams of one connection in one turn of the loop */
    HTTP2_CONNECTION_WINDOW = 262'144,
};

struct http2_session;

struct http2_member {
    struct http2_stream protocol; /* first: an event's stream is its member */
    struct http2_turn turn;
    struct http2_session *session;
    struct http_exchange *exchange; /* NULL: answered by ourselves */
    struct output_queue body;       /* of the response, behind its head */
    struct http2_member *next, *previous;
    uint8_t *trailers; /* of the response: a field block, copied */
    uint32_t trailers_bytes;
    uint64_t credited_ahead; /* octets of request body that the client was given credit for before the application took
                                them: held bodies */
    uint32_t uncredited;     /* octets of it that are still to be given credit for */
    struct http2_window_pace pace;
    uint64_t body_since, body_progress, body_received, body_mark;
    uint64_t sent_bytes, sent_mark, sent_mark_ms; /* response body, to find readers that do not read */
    uint64_t small_since_ms; /* a window has held back all but a few octets of what is here; 0: it does not (H2-12) */
    uint32_t dribbles;       /* frames that were sent all the same */
    bool end_due;            /* the response ends with what is in `body` */
    bool body_ended;         /* the request body is whole */
    bool head_sent;
    bool ended; /* END_STREAM has been framed */
};
static_assert(offsetof(struct http2_member, protocol) == 0, "an event's stream is its member");

/* All sessions of an I/O process. */
struct http2_sessions {
    struct io_core *core;
    struct connections *connections;
    struct dispatch *dispatch;
    struct connection_protocol protocol; /* what connections call; its context is this */
    struct http_exchange_owner owner;    /* what the dispatcher calls */
    struct http2_limits limits;
    struct slab sessions;
    struct slab members;
    struct slab tables;       /* HPACK memory, both directions */
    struct http2_warm warm;   /* idle sessions that still have theirs */
    struct http2_block block; /* scratch: a field block is mostly decoded in one go */
    uint32_t section_fields_max;
    struct http_field *fields;
    uint32_t fields_capacity;
    struct http2_window_budget windows;
    struct http2_session *waiting_first, *waiting_last; /* for a slot, a block, or the next turn */
    bool turn_wanted;                                   /* one of them for the next turn: nobody sleeps before it */
};

/* A field block that is cut across feeds waits here. */
struct http2_kept_block {
    struct hpack_section section;
    uint32_t tail_used;
    uint32_t bytes;   /* all of it, as the account has it */
    uint8_t octets[]; /* fields, memory, tail */
};

struct http2_session {
    struct connection_output out; /* first: connection->out points here */
    struct http2_sessions *all;
    struct connection *connection;
    struct http2_connection protocol;
    struct http2_limits limits; /* as they were when it began */
    struct http2_schedule schedule;
    struct exchange_tally *tally;
    struct dispatch_lane lane; /* where its exchanges wait for an application */
    struct http2_kept_block *kept;
    struct http2_rest rest;

    struct body_piece *input_first, *input_last;
    uint32_t input_bytes, input_segments;
    uint32_t turn_streams; /* new in the turn of ... */
    uint64_t turn_us;

    struct http2_member *first, *last;
    uint32_t open_exchanges; /* of members */
    uint64_t upload_until_ms;
    struct http2_session *waiting_next;
    struct http2_window_pace pace;
    uint32_t widened;       /* of the connection's window, beyond the usual */
    uint64_t idle_since_ms; /* no stream is open; 0: there is one */
    uint64_t ping_due_ms;
    uint64_t check_due_ms;   /* when readers and bodies are looked at; 0: no stream is open */
    uint64_t dribble_due_ms; /* when windows that stayed small are taken for what they are; 0: there is none */
    uint64_t drain_final_ms; /* when the last id is said; 0: not stopping, or said */
    struct write_watch write;
    bool waiting;
    bool settling;
    bool client_ended;
    bool failed; /* a connection error: what is queued goes out, then the connection ends */
};

[[nodiscard]] int http2_sessions_init(struct http2_sessions *sessions, struct io_core *core,
                                      struct connections *connections, struct dispatch *dispatch);
void http2_sessions_deinit(struct http2_sessions *sessions);

/* After a reload: what new connections are told. */
void http2_sessions_apply_settings(struct http2_sessions *sessions);

/* Once a turn: sessions that waited for a slot, a block or their turn go on. Returns whether one waits for the
 * next turn: then the loop must not sleep before it. */
bool http2_sessions_turn(struct http2_sessions *sessions);

/* A connection speaks HTTP/2 from its next octet on (ALPN, or a preface that was recognised). */
void http2_session_accepted(struct http2_sessions *sessions, struct connection *connection);

/* ---- between the files of the session: http2_session calls the others, and all of them http2_streams ---- */

void http2_input_append(struct http2_session *session, struct loan loan, uint8_t *data, uint32_t length);
void http2_input_advance(struct http2_session *session);
void http2_input_clear(struct http2_session *session);
/* The field block that is cut, if one is, is done with. */
void http2_input_drop_kept(struct http2_session *session);

/* A whole field section is in the scratch: a request, or what is to be refused. */
void http2_requests_begin(struct http2_session *session, const struct http2_event *event);
/* Sends the exchange to an application if it is ready to go. */
void http2_requests_submit(struct http2_session *session, struct http2_member *member);

/* DATA of a request, which lies in the first segment. The member may be gone afterwards. */
void http2_uploads_take(struct http2_session *session, const struct http2_event *event);
/* Its end by trailers, which are in the scratch. The member may be gone afterwards. */
void http2_uploads_end(struct http2_session *session, const struct http2_event *event);

/* What the dispatcher says of an exchange, as http_exchange_owner has it. The member may be gone afterwards. */
void http2_replies_take(struct http_exchange *exchange, struct reply *reply);
void http2_replies_credit(struct http_exchange *exchange, uint32_t octets);
void http2_replies_fail(struct http_exchange *exchange, uint16_t status, enum close_reason reason);
uint64_t http2_replies_queued(const struct http_exchange *exchange);

/* DATA of whoever's turn it is, as far as windows and the queue allow; then streams that are complete end. */
void http2_replies_advance(struct http2_session *session);
/* An answer of our own: the whole of it. The member may be gone afterwards. */
void http2_replies_answer(struct http2_session *session, struct http2_member *member, uint16_t status, const char *text,
                          bool head_only);
/* The stream may send again (a window opened). */
void http2_replies_schedule(struct http2_member *member);
/* Time has passed: streams whose window has stayed small send what it lets them. */
void http2_replies_on_time(struct http2_session *session);

struct http2_member *http2_streams_join(struct http2_session *session, uint32_t id, bool end_stream,
                                        int64_t content_length);
/* The stream leaves the session. What an application still has of it is called off when `cancelled`. */
void http2_streams_part(struct http2_session *session, struct http2_member *member, bool cancelled);
/* All of them. */
void http2_streams_drop(struct http2_session *session);
/* The stream is ended with RST_STREAM and leaves. */
void http2_streams_reset(struct http2_session *session, struct http2_member *member, enum http2_error error);
/* Tells the engine of requests that nobody waits for any more, but an application still works on. */
void http2_streams_count_held(struct http2_session *session);
/* What the engine has to say moves into the output queue. */
void http2_streams_say(struct http2_session *session);

#endif
