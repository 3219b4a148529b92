/*
 * HTTP/2 block: a field block over HEADERS and CONTINUATION (RFC 9113 4.3, 6.2, 6.10), decoded as it arrives. Private
 * to the engine.
 *
 * Every block is decoded, also that of a stream which is refused: the dynamic table is the connection's.
 */
#ifndef PROTO_HTTP2_BLOCK_H
#define PROTO_HTTP2_BLOCK_H

#include "proto/http2_receiver.h"

/* A HEADERS frame on a stream that stands as told; `depends_on`: of its priority, 0: none was said. */
void http2_block_begin(struct http2_receiver *receiver, uint32_t depends_on);

/* So many octets of the block are coming, in HEADERS or CONTINUATION. */
void http2_block_announce(struct http2_receiver *receiver, uint32_t octets);

void http2_block_take(struct http2_receiver *receiver, struct bytes piece);

/* END_HEADERS. */
void http2_block_end(struct http2_receiver *receiver);

#endif
