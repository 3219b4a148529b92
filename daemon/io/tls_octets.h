/*
 * TLS octets: ciphertext on its way, in memory of its own while there is any, which is charged to an account.
 *
 * Owns:    the memory; zeroed it has none. The account is another's, and outlives it.
 * Threads: the loop.
 * Life:    inside a channel, which is the only one to use it.
 */
#ifndef DAEMON_IO_TLS_OCTETS_H
#define DAEMON_IO_TLS_OCTETS_H

#include "daemon/io/memory_account.h"
#include "proto/bytes.h"

struct tls_octets {
    struct memory_account *account; /* NULL: nobody counts */
    uint8_t *data;
    uint32_t at;
    uint32_t used;
    uint32_t capacity;
};

/* Empty afterwards; of an empty one harmless. */
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
