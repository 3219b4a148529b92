/*
 * HTTP/2 connection: the server's end of one (RFC 9113), without I/O. Frames in, events out.
 *
 * The caller feeds octets as they come, cut anywhere, and handles one event at a time. What the protocol itself has to
 * say (SETTINGS and its acknowledgement, PING, WINDOW_UPDATE, RST_STREAM, GOAWAY) is appended to `output`, which the
 * caller drains after every call; responses are the caller's (http2_response.h), and so is who is sent next.
 *
 * The table of frame rules is in http2_frame.c. Beyond the RFC stands what attacks have taught (security.md H2-01 to
 * H2-28): a bucket of glitches, counts of what costs us and not the peer (http2_flood.h), bounds on field blocks. A
 * peer that empties the bucket is told ENHANCE_YOUR_CALM; one that has used three quarters of it is asked to go, as at
 * a stop, and so is one that used up its requests or ids: the state becomes DRAINING without the caller's doing.
 *
 *   PREFACE --> SETTINGS --> OPEN --> DRAINING (we said GOAWAY, streams finish)
 *      +-----------+----------+----------+--> FAILED   (connection error: GOAWAY is in `output`, nothing is read)
 *
 * Owns:    nothing. Streams, the memory of HPACK tables and of the field block in progress are the caller's.
 * Life:    of a stream: opened by http2_connection_open() in answer to HTTP2_HEAD, in the table of streams until
 *          http2_connection_forget().
 */
#ifndef PROTO_HTTP2_CONNECTION_H
#define PROTO_HTTP2_CONNECTION_H

#include "proto/hpack.h"
#include "proto/http2_flood.h"
#include "proto/http2_frame.h"
#include "proto/http2_stream.h"

enum http2_connection_state {
    HTTP2_PREFACE,
    HTTP2_SETTINGS, /* the preface is here, the peer's first SETTINGS is not */
    HTTP2_OPEN,
    HTTP2_DRAINING,
    HTTP2_FAILED_STATE,
};

enum {
    HTTP2_PREFACE_BYTES = 24,
    HTTP2_OUTPUT_BYTES = 512,      /* of one drained output */
    HTTP2_OUTPUT_ROOM = 128,       /* so much is free after every event, for the calls that answer it */
    HTTP2_DEBUG_BYTES = 64,        /* of a GOAWAY */
    HTTP2_BUCKETS = 32,            /* of the table of streams */
    HTTP2_CLOSED_KEPT = 100,       /* ids of streams that we reset lately: the peer may not know yet (H2-17) */
    HTTP2_BLOCK_BYTES = 65'536,    /* encoded field block, H2-03 */
    HTTP2_FIELDS_SEEN_MAX = 1'000, /* of a section, H2-05 */
    HTTP2_LAST_ID = 0x40000000,    /* H2-18: no new streams from this id on */
};

/* From settings; constant for the life of a connection but for what a reload gives to new ones. */
struct http2_limits {
    uint32_t max_concurrent_streams;
    uint32_t initial_window_size;
    uint32_t connection_window_size; /* at least the above */
    uint32_t max_frame_size;
    uint32_t max_header_list_size;
    uint32_t continuation_frames_max;     /* 8 */
    uint32_t max_requests_per_connection; /* 0: no bound but ids; then GOAWAY as at a stop */
    bool enable_connect_protocol;
};

enum http2_event_kind {
    HTTP2_NEED_MORE, /* all input is consumed */
    HTTP2_DRAIN,     /* `output` is to be drained before anything else is read; input may be left */
    HTTP2_HEAD,      /* a field section is whole, in `section`: of a new request (`stream` is NULL) or trailers.
                        A request is answered by http2_connection_open() or http2_connection_refuse() */
    HTTP2_DATA,      /* `data` for `stream`, inside the input; perhaps a part of its frame. May be empty with the end */
    HTTP2_RESET,    /* `stream` is over, by the peer's RST_STREAM or (`by_us`) because the peer broke a rule; RST_STREAM
                       is in `output` then */
    HTTP2_WRITABLE, /* the peer opened a window: of `stream`, or of all (NULL) */
    HTTP2_PRIORITY, /* PRIORITY_UPDATE (RFC 9218 7.1) in `data` for `stream_id`; `stream` is NULL when it is not open */
    HTTP2_GOAWAY_RECEIVED, /* the peer goes; streams finish */
    HTTP2_FAILED,          /* connection error: drain `output`, close */
};

struct http2_event {
    enum http2_event_kind kind;
    uint32_t stream_id;
    struct http2_stream *stream;
    struct bytes data;
    uint32_t increment; /* WRITABLE: by how much; 0: a setting changed. Small ones are no progress (H2-13) */
    bool end_stream;
    bool by_us;
    enum http2_error error; /* RESET, GOAWAY_RECEIVED, FAILED */
};

/* A field block in progress, which may span feeds. Between feeds the caller may move its memory, or give another with
 * the same content: only lengths and offsets are kept. */
struct http2_block {
    struct hpack_section section;
    uint8_t *tail; /* a representation that is cut; at most HTTP2_BLOCK_BYTES */
    uint32_t tail_used;
    uint32_t tail_max;
};

struct http2_connection {
    const struct http2_limits *limits;
    uint8_t state; /* enum http2_connection_state */
    uint8_t output[HTTP2_OUTPUT_BYTES];
    uint32_t output_used;

    struct hpack_decoder decoder;
    struct hpack_encoder encoder;

    struct http2_stream *streams[HTTP2_BUCKETS];
    uint32_t stream_count; /* in the table */
    uint32_t held_count; /* the caller's: requests whose stream is forgotten, while an application still works on them.
                            They count against max_concurrent_streams (the slot rule) */
    uint32_t last_stream_id;
    uint32_t accepted_stream_id; /* the last that became a request */
    uint32_t goaway_stream_id;   /* what our GOAWAY said; UINT32_MAX: none */
    uint64_t used_ids;           /* bit n: last_stream_id - 2n was used, not skipped */
    uint32_t reset_ids[HTTP2_CLOSED_KEPT];
    uint32_t reset_next;

    /* What the peer said. */
    uint32_t peer_initial_window;
    uint32_t peer_max_frame;
    uint32_t peer_max_header_list;
    bool settings_acknowledged;
    bool peer_goes;

    enum http2_error failure; /* FAILED, and for the log why */
    const char *failure_text;

    int64_t send_window;
    int64_t receive_window;
    uint32_t window;      /* what the peer may send when nothing is held */
    uint32_t excess;      /* and what it was given beyond that, before the window was narrowed */
    uint32_t unannounced; /* consumed, not yet said by WINDOW_UPDATE */

    struct http2_glitches glitches;

    /* Times in ms, 0: not running; http2_connection_deadline() knows what each allows. */
    uint64_t began_ms;
    uint64_t settings_sent_ms;
    uint64_t block_since_ms;
    uint64_t ping_sent_ms;

    /* Private: where the frame in progress stands, and the counts of the attack table. */
    struct http2_reader reader;
    struct http2_counts counts;
};

/* Starts a connection and puts our SETTINGS into `output`. `decoder_memory` and `encoder_memory` as in hpack.h. */
void http2_connection_init(struct http2_connection *connection, const struct http2_limits *limits, void *decoder_memory,
                           void *encoder_memory, uint64_t now_ms);

/* Whether `input` begins as a client's preface does: a prefix of it counts when it is shorter. For prior knowledge. */
bool http2_preface_matches(struct bytes input);

/*
 * Consumes input up to the next event. `block` is where a field section is decoded; its content matters only while
 * http2_connection_in_block(), and to the caller after HTTP2_HEAD. Call again with the rest of the input until
 * HTTP2_NEED_MORE or HTTP2_FAILED.
 */
[[nodiscard]] struct http2_event http2_connection_feed(struct http2_connection *connection, struct http2_block *block,
                                                       struct bytes input, uint64_t now_ms, size_t *ret_consumed);

/* Whether `block` must be kept for the next feed. */
bool http2_connection_in_block(const struct http2_connection *connection);

/* After HTTP2_HEAD of a request: `stream`, zeroed by the caller, joins the table. `end_stream` as the event said.
 * content_length: -1 when not stated; DATA is held against it (H2-21). */
void http2_connection_open(struct http2_connection *connection, struct http2_stream *stream, uint32_t id,
                           bool end_stream, int64_t content_length);
/* Or it is refused; `weight` glitches. Frames that follow on it are read past. */
void http2_connection_refuse(struct http2_connection *connection, uint32_t id, enum http2_error error, uint32_t weight,
                             uint64_t now_ms);

/* Our side ends the stream by RST_STREAM; the caller forgets it then. Nothing is said when it is closed already. */
void http2_connection_reset(struct http2_connection *connection, struct http2_stream *stream, enum http2_error error);

/* We have sent END_STREAM, or read past what comes: the stream leaves the table. A stream that the peer has not ended
 * is reset with NO_ERROR (RFC 9113 8.1: a complete response before the request was), one that we have not ended with
 * CANCEL. Not needed when the connection itself goes. */
void http2_connection_forget(struct http2_connection *connection, struct http2_stream *stream);

/* The application, or we, took `octets` of received body: windows open again, in steps of half a window. `stream` NULL:
 * of a stream that is gone. Padding, and DATA that no event told of, has been seen to. */
void http2_connection_consumed(struct http2_connection *connection, struct http2_stream *stream, uint32_t octets);

/* The window of `stream`, or of the connection (NULL), is larger by `octets` from now on, and the peer is told. */
void http2_connection_widen(struct http2_connection *connection, struct http2_stream *stream, uint32_t octets);
/* The connection's is smaller. What a peer was given cannot be taken back: it is when the peer has used it that it does
 * not get it again. */
void http2_connection_narrow(struct http2_connection *connection, uint32_t octets);

/* ---- sending ---- */

/* Octets of DATA that both windows allow now. */
uint32_t http2_connection_sendable(const struct http2_connection *connection, const struct http2_stream *stream);

/* Writes the head of a DATA frame and accounts for it. `length` within sendable and peer_max_frame. */
void http2_connection_data(struct http2_connection *connection, struct http2_stream *stream, uint32_t length,
                           bool end_stream, uint8_t out[HTTP2_FRAME_HEAD_BYTES]);

/* `block_bytes` of field block stand at out + HTTP2_FRAME_HEAD_BYTES: puts frame heads before and between (RFC 9113
 * 6.10), moving what has to make room; `out` has room for http2_connection_head_max(block_bytes). Returns all octets.
 */
size_t http2_connection_head_max(const struct http2_connection *connection, size_t block_bytes);
size_t http2_connection_head(struct http2_connection *connection, struct http2_stream *stream, size_t block_bytes,
                             bool end_stream, uint8_t *out);

/* ---- the connection as a whole ---- */

/* The server stops: GOAWAY with 2^31-1, so that what is on its way is still served; then, a round trip later, with the
 * last id that was accepted. */
void http2_connection_drain(struct http2_connection *connection);
void http2_connection_drain_finally(struct http2_connection *connection);

/* Ends the connection now: GOAWAY with `error` and at most 64 octets of debug text. */
void http2_connection_fail(struct http2_connection *connection, enum http2_error error, const char *text);

/* Something odd that the caller saw, weighed; false when that was too much (the connection has failed, and the next
 * feed says so). */
[[nodiscard]] bool http2_connection_glitch(struct http2_connection *connection, uint32_t weight, uint64_t now_ms);

void http2_connection_ping(struct http2_connection *connection, uint64_t now_ms);

/* The next time at which something is due to have happened: preface and SETTINGS 5 s, acknowledgement 10 s, field block
 * 10 s, answer to our PING 10 s; 0: none. http2_connection_on_time() fails the connection when it has passed. */
uint64_t http2_connection_deadline(const struct http2_connection *connection);
void http2_connection_on_time(struct http2_connection *connection, uint64_t now_ms);

struct http2_stream *http2_connection_find(const struct http2_connection *connection, uint32_t id);

#endif
