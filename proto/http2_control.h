/*
 * HTTP/2 control: the frames by which the protocol itself speaks, appended to a connection's `output`. Private to the
 * engine.
 */
#ifndef PROTO_HTTP2_CONTROL_H
#define PROTO_HTTP2_CONTROL_H

#include "proto/http2_connection.h"

/* Octets that reading one more piece of input may add to the output: a WINDOW_UPDATE of stream and connection,
 * a RST_STREAM, a GOAWAY with its text. */
enum { HTTP2_STEP_BYTES = 3 * (HTTP2_FRAME_HEAD_BYTES + 4) + HTTP2_FRAME_HEAD_BYTES + 8 + HTTP2_DEBUG_BYTES };

enum { HTTP2_PING_BYTES = 8 };

/* What a client says first; no HTTP/1 server takes it for a request (RFC 9113 3.4). */
extern const char http2_preface[HTTP2_PREFACE_BYTES + 1];
/* What our PING carries. */
extern const char http2_ping[HTTP2_PING_BYTES + 1];

static inline uint32_t http2_control_room(const struct http2_connection *connection)
{
    return HTTP2_OUTPUT_BYTES - connection->output_used;
}

/* A frame's head; the payload is to be written where the return value points. There must be room. */
uint8_t *http2_control_frame(struct http2_connection *connection, enum http2_frame_type type, uint8_t flags,
                             uint32_t stream_id, uint32_t length);

void http2_control_window_update(struct http2_connection *connection, uint32_t stream_id, uint32_t increment);

/* RST_STREAM; the id is remembered as one that we have reset. */
void http2_control_reset(struct http2_connection *connection, uint32_t stream_id, enum http2_error error);

void http2_control_goaway(struct http2_connection *connection, uint32_t last_id, enum http2_error error,
                          struct bytes text);

#endif
