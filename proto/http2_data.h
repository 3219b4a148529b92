/*
 * HTTP/2 data: DATA frames (RFC 9113 6.1) against the windows, the length that was stated, and what is bearable.
 * Private to the engine.
 */
#ifndef PROTO_HTTP2_DATA_H
#define PROTO_HTTP2_DATA_H

#include "proto/http2_receiver.h"

/* A frame of which `padding` octets, of those that the frame's length counts, are not payload. */
void http2_data_begin(struct http2_receiver *receiver, uint32_t padding);

/* The next octets of its payload, not empty. */
void http2_data_take(struct http2_receiver *receiver, struct bytes piece);

#endif
