/*
 * TLS octets: ciphertext on its way, in memory of its own while there is any.
 *
 * Owns:    the memory; zeroed it has none.
 * Threads: the loop.
 * Life:    inside a channel, which is the only one to use it.
 */
#ifndef DAEMON_IO_TLS_OCTETS_H
#define DAEMON_IO_TLS_OCTETS_H

#include "proto/bytes.h"

struct tls_octets {
    uint8_t *data;
    uint32_t at;
    uint32_t used;
    uint32_t capacity;
};

/* Zeroed afterwards; of a zeroed one harmless. */
void tls_octets_free(struct tls_octets *octets);

/* Makes room for so many more; moves what is there. */
[[nodiscard]] bool tls_octets_reserve(struct tls_octets *octets, uint32_t more);
[[nodiscard]] bool tls_octets_append(struct tls_octets *octets, struct bytes data);

static inline uint32_t tls_octets_left(const struct tls_octets *octets)
{
    return octets->used - octets->at;
}

/* Valid until the next call that changes them. */
static inline struct bytes tls_octets_bytes(const struct tls_octets *octets)
{
    return bytes_of(octets->data + octets->at, tls_octets_left(octets));
}

#endif
