/*
 * HTTP/2 stream: one request and its response inside a connection (RFC 9113 5.1), as far as the protocol goes.
 *
 * Only streams that clients open exist here, and only from the moment their field section is whole:
 *
 *                +--> HALF_CLOSED_REMOTE --+   the peer has ended its side: nothing but WINDOW_UPDATE, RST_STREAM and
 *   (idle) --> OPEN                        +--> CLOSED         PRIORITY may come
 *                +--> HALF_CLOSED_LOCAL ---+   we have ended ours
 *
 * Owns:    nothing. Embedded in the session's stream.
 */
#ifndef PROTO_HTTP2_STREAM_H
#define PROTO_HTTP2_STREAM_H

#include <stdbool.h>
#include <stdint.h>

enum http2_stream_state {
    HTTP2_STREAM_OPEN,
    HTTP2_STREAM_HALF_CLOSED_REMOTE,
    HTTP2_STREAM_HALF_CLOSED_LOCAL,
    HTTP2_STREAM_CLOSED,
};

struct http2_stream {
    struct http2_stream *next; /* in a bucket of the table */
    uint32_t id;
    uint8_t state;        /* enum http2_stream_state */
    uint8_t empty_frames; /* H2-09 */
    bool trailers_seen;
    int64_t send_offset;    /* added to the peer's initial window it is the send window: so a change of that setting
                               costs one word, not a walk over all streams (H2-14) */
    int64_t receive_window; /* what the peer may still send */
    uint32_t window;        /* what it may send when nothing is held */
    uint32_t unannounced;   /* consumed, not yet said by WINDOW_UPDATE */
    int64_t content_left;   /* of a stated content-length; -1: none was stated */
};

#endif
