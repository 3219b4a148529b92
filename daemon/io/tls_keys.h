/*
 * TLS keys: what BoringSSL has agreed upon, in the words of the kernel.
 *
 * Threads: the loop.
 */
#ifndef DAEMON_IO_TLS_KEYS_H
#define DAEMON_IO_TLS_KEYS_H

#include "daemon/io/ktls.h"
#include "daemon/io/tls_channel.h"

enum { TLS_SECRET_BYTES_MAX = 48 };

/* What keys of TLS 1.3 are made of, as long as BoringSSL is not there to remember them. To be wiped. */
struct tls_secrets {
    uint8_t sending[TLS_SECRET_BYTES_MAX];
    uint8_t receiving[TLS_SECRET_BYTES_MAX];
};

/* The keys that the next record of this direction has, and its number. Once the handshake is complete; the caller
 * wipes them (tls_keys_wipe). -ENOTSUP: a cipher that no kernel has. -EPROTO. */
[[nodiscard]] int tls_keys_of(const struct tls_channel *channel, enum ktls_direction direction,
                              struct ktls_keys *ret_keys);
void tls_keys_wipe(struct ktls_keys *keys);

/* -ENOTSUP: this version of TLS changes no keys. -EPROTO. */
[[nodiscard]] int tls_secrets_of(const struct tls_channel *channel, struct tls_secrets *ret_secrets);
/* What comes after a KeyUpdate, for a cipher by TLS's number. -EPROTO. */
[[nodiscard]] int tls_secrets_advance(struct tls_secrets *secrets, uint16_t cipher, enum ktls_direction direction);
/* The keys of its next record, which is the first. */
[[nodiscard]] int tls_secrets_keys(const struct tls_secrets *secrets, uint16_t cipher, enum ktls_direction direction,
                                   struct ktls_keys *ret_keys);
void tls_secrets_wipe(struct tls_secrets *secrets);

#endif
