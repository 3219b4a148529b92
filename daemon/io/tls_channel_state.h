/*
 * TLS channel state: what the files of a channel share and nobody else may see.
 *
 *   tls_channel         birth, what BoringSSL reads and writes through, the handshake, reading
 *   tls_channel_send    plaintext becomes records, and these wait to be sent
 *   tls_channel_ktls    the kernel seals, and BoringSSL is muted
 *   tls_channel_facts   what was agreed upon
 *
 * Owns:    nothing; see tls_channel.h.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_TLS_CHANNEL_STATE_H
#define DAEMON_IO_TLS_CHANNEL_STATE_H

#include "daemon/io/tls_channel.h"
#include "daemon/io/tls_context.h"
#include "daemon/io/tls_library.h"
#include "daemon/io/tls_records.h"
#include "daemon/io/tls_tiny_records.h"

struct tls_channel {
    SSL *ssl;
    struct tls_hello hello;
    struct tls_records records;
    struct tls_tiny_records tiny;
    struct tls_octets output;  /* grows with what BoringSSL says */
    struct tls_octets sending; /* stays as it is */
    uint64_t hello_bytes;
    uint64_t read_bytes;
    uint32_t records_sent;     /* by the kernel */
    uint64_t sealed_ms;        /* when last */
    uint32_t key_updates_seen; /* of hello.key_updates, told to the caller */
    uint32_t output_plain;     /* octets of plaintext sealed in `output` ... */
    uint32_t sending_plain;    /* ... and in `sending`, less those told */
    uint32_t fresh_bytes;      /* sealed since it was idle */
    enum tls_failure failure;
    bool open; /* the handshake is complete, or far enough for early data */
    bool proved;
    bool said_close;
    bool muted;
    bool has_digest;
    bool client_closed; /* found behind octets; told by the next read */
    char reason[64];
    uint8_t digest[TLS_CHANNEL_DIGEST_BYTES];
};

static inline bool tls_channel_is_failed(const struct tls_channel *channel)
{
    return channel->failure != TLS_FAILURE_NONE;
}

/* Fails with the last of BoringSSL's errors, which the operation ended with. */
enum tls_progress tls_channel_fail_as_told(struct tls_channel *channel);

#endif
