/*
 * Exchange log: the access line of an exchange that is over, and of a request that never became one.
 *
 * Owns:    nothing. Without an access log all of it does nothing.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_EXCHANGE_LOG_H
#define DAEMON_IO_EXCHANGE_LOG_H

#include "daemon/io/connection.h"
#include "daemon/io/response_head.h"

/* With status, octets and application that the exchange has by now. */
void exchange_log_append(struct io_core *core, const struct http_exchange *exchange);

/* `head`: as much of the request as was understood; NULL: nothing was. `since_ms`: when it began; 0: not known. */
void exchange_log_refused(struct io_core *core, const struct connection *connection, const struct http_head *head,
                          uint64_t since_ms, uint16_t status);

/* For a log format that asks for response fields: a copy that outlives the scratch. */
void exchange_log_keep_fields(const struct io_core *core, struct http_exchange *exchange,
                              const struct response_head *head);

#endif
