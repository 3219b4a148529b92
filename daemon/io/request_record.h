/*
 * Request record: from a parsed head, of whatever version of HTTP, to the slot record that an application reads.
 *
 * Offsets into the inbound arena, not copies. Fields that no application may see are left out here: `Proxy` (httpoxy),
 * names with an underscore unless a trusted peer may send that one (header_map, forwarder_headers).
 *
 * Owns nothing. Threads: the loop.
 */
#ifndef DAEMON_IO_REQUEST_RECORD_H
#define DAEMON_IO_REQUEST_RECORD_H

#include "daemon/io/connection.h"
#include "proto/http_head.h"

/* The head was parsed at `from`, all of its spans, and stands at `at` in the inbound arena. It has at most as many
 * fields as the exchange's shape allows. NULL, or why the request is refused with 400. */
[[nodiscard]] const char *request_record_fill(const struct io_core *core, const struct connection *connection,
                                              const struct http_head *head, const uint8_t *from, const uint8_t *at,
                                              struct slot_record *record);

#endif
