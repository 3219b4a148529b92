/*
 * HTTP/1 uploads: request bodies, from received segments to pieces that dispatch takes along.
 *
 * Owns nothing beyond http1_state.h. Threads: the loop.
 */
#ifndef DAEMON_IO_HTTP1_UPLOADS_H
#define DAEMON_IO_HTTP1_UPLOADS_H

#include "daemon/io/http1_segments.h"

/* The head of `exchange` is the last one that was parsed: its body comes now, if it has one. */
void http1_uploads_open(struct http1_session *session, struct http_exchange *exchange);

/* As much of the body as the first segment has. */
enum http1_step http1_uploads_step(struct http1_session *session);

/* The rest of the body that is being received will not come, or not be read. Whoever waits for it hears so; the client
 * is told `status` if nothing was said to it yet. */
void http1_uploads_end(struct http1_session *session, uint16_t status, enum close_reason close);

#endif
