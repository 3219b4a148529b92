/*
 * Access JSON: an access entry as one JSON object, by the names of OpenTelemetry's semantic conventions. Pure.
 *
 * Owns:    nothing.
 * Threads: any.
 */
#ifndef DAEMON_IO_ACCESS_JSON_H
#define DAEMON_IO_ACCESS_JSON_H

#include "daemon/io/access_entry.h"
#include "daemon/io/log_text.h"

/* `second`: the entry's time without its fraction, "2026-11-22T17:00:00". Fits ACCESS_LINE_BYTES_MAX whatever
 * the entry holds. */
void access_json_put(struct log_text *line, const struct access_entry *entry, struct bytes second);

#endif
