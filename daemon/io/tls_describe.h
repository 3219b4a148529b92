/*
 * TLS description: what applications may learn of a connection's TLS, as blocks of the inbound arena.
 *
 * Connections that agree in all of it (version, cipher, name, certificates) share a block: it is written once and each
 * request holds it. Blocks of late are kept; a block whose place another takes lives until its last request is done.
 *
 * Owns:    one hold on each block that it keeps.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_TLS_DESCRIBE_H
#define DAEMON_IO_TLS_DESCRIBE_H

#include "daemon/exchange/arena.h"
#include "daemon/io/buffer_pool.h"
#include "daemon/io/tls_agreed.h"

enum { TLS_DESCRIPTIONS_KEPT = 128 };

struct tls_description {
    uint8_t digest[TLS_CHANNEL_DIGEST_BYTES]; /* of what it says */
    struct loan loan;                         /* of kind LOAN_NONE: the place is empty */
    struct arena_span span;                   /* of the tls_record */
    uint32_t early_data_offset;               /* "early-data" and "1" stand behind it, one after the other */
};

struct tls_descriptions {
    struct buffer_pool *buffers;
    struct tls_description kept[TLS_DESCRIPTIONS_KEPT];
};

void tls_descriptions_init(struct tls_descriptions *descriptions, struct buffer_pool *buffers);
void tls_descriptions_deinit(struct tls_descriptions *descriptions);

/* The description of this connection; valid until the next call. Whoever uses it longer holds its loan. -ENOBUFS: there
 * is no block for it; -ENOMEM. */
[[nodiscard]] int tls_descriptions_find(struct tls_descriptions *descriptions, struct tls_channel *channel,
                                        const struct tls_description **ret_description);
/* The same, where BoringSSL is gone. */
[[nodiscard]] int tls_descriptions_find_agreed(struct tls_descriptions *descriptions, const struct tls_agreed *agreed,
                                               const struct tls_description **ret_description);

#endif
