/*
 * TLS remnant: what is left of a connection's TLS when the kernel does both directions.
 *
 * Few octets, for every idle connection has one: 32, and where the kernel takes new keys 128, with what those are made
 * of. What connections have in common stands in the agreed.
 *
 * Owns:    a reference to the agreed; secrets, which it wipes.
 * Threads: the loop.
 * Life:    from the switch, when it takes the place of the channel, to the end of the connection.
 */
#ifndef DAEMON_IO_TLS_REMNANT_H
#define DAEMON_IO_TLS_REMNANT_H

#include "daemon/io/tls_agreed.h"
#include "daemon/io/tls_keys.h"

struct tls_remnant {
    struct tls_agreed *agreed;
    uint64_t received;     /* octets of data, those before the switch too */
    uint32_t records_sent; /* about, under one key */
    uint16_t key_updates;  /* received; no more than it holds are counted */
    uint8_t warnings;      /* alerts in a row that mean nothing */
    bool said_close : 1;   /* close_notify, or an alert in its place */
    bool keys_asked : 1;   /* the client wants new ones of ours */
    bool keys_ahead : 1;   /* `secrets` are those after a KeyUpdate that has not been sent */
    bool has_secrets : 1;
    bool is_hollow : 1;      /* at the last look it had sent far more than its data are */
    uint8_t secret_memory[]; /* struct tls_secrets */
};
static_assert(sizeof(struct tls_remnant) <= 24, "an idle connection costs this, and the allocator's 8");
static_assert(sizeof(struct tls_remnant) + sizeof(struct tls_secrets) <= 120, "and with secrets this");

/* Of a channel that another seals for, and that has nothing left to be read. `rekeys`: the kernel takes new keys.
 * -ENOMEM, -EPROTO. */
[[nodiscard]] int tls_remnant_create(struct tls_agreements *agreements, struct tls_channel *channel, bool rekeys,
                                     struct tls_remnant **ret_remnant);
/* NULL is harmless. */
void tls_remnant_destroy(struct tls_remnant *remnant);

/* Makes the keys that follow in this direction the current ones. -ENOTSUP: there are none to follow. -EPROTO. */
[[nodiscard]] int tls_remnant_advance(struct tls_remnant *remnant, enum ktls_direction direction);
/* The current ones; the caller wipes them. -ENOTSUP, -EPROTO. */
[[nodiscard]] int tls_remnant_keys(const struct tls_remnant *remnant, enum ktls_direction direction,
                                   struct ktls_keys *ret_keys);

#endif
