/*
 * Request body: where received octets of a body go, by whatever version of HTTP they came.
 *
 *   held back   until the body is complete, for an application whose threads must not wait for clients
 *               (request_buffering): in memory up to request_buffer_max, the rest in the file, where
 *               the application reads it for itself (spool.h)
 *   streamed    in memory, as far as a client may read ahead of the application
 *
 * Owns:    nothing; the octets belong to the exchange.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_REQUEST_BODY_H
#define DAEMON_IO_REQUEST_BODY_H

#include "daemon/io/http_exchange.h"
#include "proto/http_head.h"

/* Whether nobody takes the octets: the body is read past. */
static inline bool request_body_unwanted(const struct http_exchange *exchange)
{
    return exchange == NULL || exchange->local_status != 0;
}

/* Whether the exchange, of which the body is not complete, is still to be held back. */
bool request_body_held(const struct io_core *core, const struct http_exchange *exchange);

/* Whether more body may be read for the exchange now; of a streamed one at most so much ahead of the application. */
bool request_body_room(const struct io_core *core, const struct http_exchange *exchange, uint64_t read_ahead_bytes,
                       uint32_t pieces_max);

/* A body of the stated length could not be held even if nobody else had one: 413. */
bool request_body_too_long(const struct io_core *core, const struct http_head *head);

/* Appends octets, which lie in `loan`'s buffer. `is_last`: no more come. On an error the body is lost. */
[[nodiscard]] int request_body_keep(struct io_core *core, struct http_exchange *exchange, struct loan loan,
                                    const uint8_t *data, uint32_t length, bool is_last);

/* What a client is told whose body could not be kept: 413 when it alone is more than the file may hold, else 503. */
uint16_t request_body_lost_status(const struct io_core *core, const struct http_exchange *exchange);

#endif
