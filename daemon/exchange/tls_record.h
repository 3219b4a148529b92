/*
 * TLS record: what an application may learn of the TLS under a request, as a block in the inbound arena.
 *
 *   header: numbers, and for each text an offset within the block and a length; then the texts
 *
 * The I/O process writes it, once for a connection or for many that agree in all of it, and names it in the record of
 * each request (slot_record.tls). An app process checks it when it reads it: all spans are inside the block.
 *
 * Owns:    nothing. Pure; any thread.
 * Life:    the texts of a tls_record that was read point into the block.
 */
#ifndef DAEMON_EXCHANGE_TLS_RECORD_H
#define DAEMON_EXCHANGE_TLS_RECORD_H

#include "proto/bytes.h"

/* Empty where there is nothing to say: without a client certificate all CLIENT_* are. */
enum tls_record_text {
    TLS_RECORD_CIPHER_NAME,        /* TLS_AES_128_GCM_SHA256 */
    TLS_RECORD_SERVER_NAME,        /* SNI, as the client named us */
    TLS_RECORD_SERVER_CERTIFICATE, /* PEM, ours, without its chain */
    TLS_RECORD_CLIENT_CHAIN,       /* PEM, the client's own certificate first */
    TLS_RECORD_CLIENT_SUBJECT,     /* RFC 4514 */
    TLS_RECORD_CLIENT_COMMON_NAME, /* the subject's CN alone */
    TLS_RECORD_CLIENT_ISSUER,      /* RFC 4514 */
    TLS_RECORD_CLIENT_SERIAL,      /* upper-case hexadecimal digits */
    TLS_RECORD_CLIENT_NOT_BEFORE,  /* Nov 22 21:00:00 2026 GMT */
    TLS_RECORD_CLIENT_NOT_AFTER,
    TLS_RECORD_CLIENT_ERROR, /* why it was not verified */
    TLS_RECORD_TEXTS
};

enum tls_record_client {
    TLS_RECORD_CLIENT_NONE,     /* showed no certificate */
    TLS_RECORD_CLIENT_VERIFIED, /* by ca_certs */
    TLS_RECORD_CLIENT_FAILED,   /* CLIENT_ERROR says why, and it was let in all the same */
    TLS_RECORD_CLIENTS
};

struct tls_record {
    uint16_t protocol; /* TLS's number: 0x0303, 0x0304 */
    uint16_t cipher;   /* IANA's number */
    uint16_t cipher_bits;
    uint8_t client; /* enum tls_record_client */
    bool is_resumed;
    struct bytes texts[TLS_RECORD_TEXTS];
};

enum { TLS_RECORD_BLOCK_BYTES_MAX = 65'536 };

/* How large the block is. */
size_t tls_record_bytes(const struct tls_record *record);

/* Writes exactly tls_record_bytes(). -EMSGSIZE: that is more than `capacity` or TLS_RECORD_BLOCK_BYTES_MAX. */
[[nodiscard]] int tls_record_write(const struct tls_record *record, uint8_t *memory, size_t capacity);

/* -EBADMSG for what is no such block. */
[[nodiscard]] int tls_record_read(struct bytes block, struct tls_record *ret_record);

#endif
