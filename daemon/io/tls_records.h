/*
 * TLS records: ciphertext that came, handed on in whole records.
 *
 *   offer ... (pending | take, read)* ... settle        a receive
 *
 * What is offered stays the caller's until it is settled, which keeps what has not been read. A record that came in
 * several pieces is put together in what is kept, and nothing behind it is copied. BoringSSL is never given a part of a
 * record: it has nothing half-received inside, so what the client sent is either here or decrypted.
 *
 * Owns:    what it keeps; zeroed it keeps nothing, and nobody counts it.
 * Threads: the loop.
 * Life:    inside a channel.
 */
#ifndef DAEMON_IO_TLS_RECORDS_H
#define DAEMON_IO_TLS_RECORDS_H

#include "daemon/io/tls_octets.h"

struct tls_records {
    struct bytes offered; /* the caller's */
    struct bytes taken;   /* what of it has not been read: in `offered` or in `kept` */
    struct tls_octets kept;
};

void tls_records_deinit(struct tls_records *records);

void tls_records_offer(struct tls_records *records, struct bytes ciphertext);
[[nodiscard]] int tls_records_settle(struct tls_records *records);

/* 1: the next record, without taking it; 0: none is whole. -ENOMEM. */
[[nodiscard]] int tls_records_peek(struct tls_records *records, struct bytes *ret_record);
/* The next record, if one is whole, is what is read from now on. As tls_records_peek(). */
[[nodiscard]] int tls_records_take(struct tls_records *records, struct bytes *ret_record);
/* Of the record taken; returns how many octets. */
size_t tls_records_read(struct tls_records *records, void *memory, size_t capacity);

/* Octets that the record is short of that has begun; 0: it is whole, or none has. Once settled. */
uint32_t tls_records_missing(const struct tls_records *records);

#endif
