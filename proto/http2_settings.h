/*
 * HTTP/2 settings: ours said, the peer's read and obeyed (RFC 9113 6.5). Private to the engine.
 */
#ifndef PROTO_HTTP2_SETTINGS_H
#define PROTO_HTTP2_SETTINGS_H

#include "proto/http2_connection.h"

/* SETTINGS, and the WINDOW_UPDATE that makes the connection's window what the limits say. */
void http2_settings_send(struct http2_connection *connection);

/* Entries of a SETTINGS frame, in their order; NO_ERROR, or the connection error of one that must not be. `ret_grown`:
 * by how much the windows of all streams grew, 0 if they did not. */
enum http2_error http2_settings_apply(struct http2_connection *connection, struct bytes entries, uint32_t *ret_grown);

/* The peer has read our settings: what it may send is now what they say. */
void http2_settings_acknowledged(struct http2_connection *connection);

#endif
