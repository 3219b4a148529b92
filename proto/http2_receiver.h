/*
 * HTTP/2 receiver: what one feed works with, and the outcomes that its parts share. Private to the engine.
 *
 *   http2_receive     the machine: from frame to frame, and what those mean that are read whole
 *   http2_data        DATA
 *   http2_block       field blocks, in HEADERS and CONTINUATION
 *   http2_receiver    this: what may become of a frame, a stream, the connection
 */
#ifndef PROTO_HTTP2_RECEIVER_H
#define PROTO_HTTP2_RECEIVER_H

#include "proto/http2_connection.h"

struct http2_receiver {
    struct http2_connection *connection;
    struct http2_reader *reader;
    struct http2_block *block;
    struct bytes input; /* not yet consumed */
    uint64_t now_ms;
    struct http2_event event; /* NEED_MORE: none so far */
};

/* The connection ends. */
void http2_receiver_fail(struct http2_receiver *receiver, enum http2_error error, const char *text);

/* Glitches; false: that was too much. */
bool http2_receiver_glitch(struct http2_receiver *receiver, uint32_t weight);

/* One more of a kind of which some are free; false: that was too much. */
bool http2_receiver_flood(struct http2_receiver *receiver, enum http2_flood flood);

/* The peer broke a rule of the stream: it is reset, at the peer's cost. Where there is a `stream`, an event tells. */
void http2_receiver_stream_error(struct http2_receiver *receiver, uint32_t id, struct http2_stream *stream,
                                 enum http2_error error);

/* The peer has ended its side. */
void http2_receiver_end_stream(struct http2_stream *stream);

/* Whether the peer may still send on a stream; the stream where it is open or ended, else NULL. */
enum http2_standing http2_receiver_standing(const struct http2_connection *connection, uint32_t id,
                                            struct http2_stream **ret_stream);

/* What becomes of the frame on its stream, but for HEADERS: the stream when it is to be taken, else NULL. */
struct http2_stream *http2_receiver_judge(struct http2_receiver *receiver);

#endif
