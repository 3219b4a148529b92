/*
 * HTTP/2 receive: what one feed works with, and the outcomes that its parts share. Private to the engine.
 *
 * http2_receive.c knows what each frame means, http2_block.c what a field block does.
 */
#ifndef PROTO_HTTP2_RECEIVE_H
#define PROTO_HTTP2_RECEIVE_H

#include "proto/http2_connection.h"

enum { HTTP2_PING_BYTES = 8 };

extern const char http2_preface[HTTP2_PREFACE_BYTES + 1];
extern const char http2_ping[HTTP2_PING_BYTES + 1];

struct http2_receiver {
    struct http2_connection *connection;
    struct http2_reader *reader;
    struct http2_block *block;
    struct bytes input; /* not yet consumed */
    uint64_t now_ms;
    struct http2_event event; /* NEED_MORE: none so far */
};

/* The connection ends. */
void http2_receive_fail(struct http2_receiver *receiver, enum http2_error error, const char *text);

/* Glitches; false: that was too much. */
bool http2_receive_glitch(struct http2_receiver *receiver, uint32_t weight);

/* The peer broke a rule of the stream: it is reset, at the peer's cost. Where there is a `stream`, an event tells. */
void http2_receive_stream_error(struct http2_receiver *receiver, uint32_t id, struct http2_stream *stream,
                                enum http2_error error);

/* The peer has ended its side. */
void http2_receive_end_stream(struct http2_stream *stream);

/* Whether the peer may still send on a stream; the stream where it is open or ended, else NULL. */
enum http2_standing http2_receive_standing(const struct http2_connection *connection, uint32_t id,
                                           struct http2_stream **ret_stream);

#endif
