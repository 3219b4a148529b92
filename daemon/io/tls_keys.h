/*
 * TLS keys: what BoringSSL has agreed upon, in the words of the kernel.
 *
 * Threads: the loop.
 */
#ifndef DAEMON_IO_TLS_KEYS_H
#define DAEMON_IO_TLS_KEYS_H

#include "daemon/io/ktls.h"
#include "daemon/io/tls_channel.h"

/* The keys that the next record of this direction has, and its number. Once the handshake is complete; the caller
 * wipes them (tls_keys_wipe). `updates`: how often keys have changed that BoringSSL has not heard of, the last time
 * just now. -ENOTSUP: a cipher that no kernel has. -EPROTO. */
[[nodiscard]] int tls_keys_of(const struct tls_channel *channel, enum ktls_direction direction, uint32_t updates,
                              struct ktls_keys *ret_keys);
void tls_keys_wipe(struct ktls_keys *keys);

#endif
