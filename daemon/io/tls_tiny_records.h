/*
 * TLS tiny records: how many come that hold next to nothing, each of which costs what a full one does.
 *
 * Owns:    nothing.
 * Threads: the loop.
 * Life:    inside a channel, from the end of its handshake on.
 */
#ifndef DAEMON_IO_TLS_TINY_RECORDS_H
#define DAEMON_IO_TLS_TINY_RECORDS_H

#include "proto/bytes.h"

enum {
    TLS_TINY_RECORD_BYTES = 9,    /* TLS-13: less than a frame of HTTP/2. 64, as there, ends clients that ask fast */
    TLS_TINY_RECORDS_MAX = 1'000, /* in ... */
    TLS_TINY_WINDOW_MS = 10'000,
    TLS_TINY_RECORDS_BEYOND = 1'000, /* so many more end the connection */
};

struct tls_tiny_records {
    uint64_t since_ms;
    uint32_t below; /* octets of a record with what it has beside its data */
    uint32_t count; /* since then */
    uint32_t seen, told;
    bool after_long; /* the record before was a long one */
};

/* Records have so many octets beside their data. */
void tls_tiny_records_begin(struct tls_tiny_records *tiny, uint64_t now_ms, uint32_t overhead_bytes);
/* One has come: whole, as it is on the wire. */
void tls_tiny_records_note(struct tls_tiny_records *tiny, struct bytes record);
bool tls_tiny_records_are_too_many(struct tls_tiny_records *tiny, uint64_t now_ms);
/* How many, since the last call. */
uint32_t tls_tiny_records_take(struct tls_tiny_records *tiny);

#endif
