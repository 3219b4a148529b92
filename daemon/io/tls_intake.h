/*
 * TLS intake: a connection from its first octet of TLS to the end of the handshake.
 *
 * It is a protocol of connections, the first of those that come in on a TLS address (after the PROXY header, where
 * there is one). When the handshake is complete it says so, and whoever it says it to gives the connection a protocol
 * that sees plaintext.
 *
 *   WAITING --> HELLO --> SHAKING <--> SIGNING --> (handed over)
 *                 |          |            |
 *                 +----------+------------+------> (closed)   with an alert where TLS has one for the reason
 *
 *   WAITING   TLS_UNFINISHED_MAX others are in the middle: nothing is read, and no more are accepted
 *   HELLO     until the ClientHello is whole and has had its turn: TLS_HELLOS_PER_TURN, so that the loop serves those
 *             who are through
 *   SIGNING   an RSA signature is being made
 *
 * Owns:    what is told of a handshake under way.
 * Threads: the loop.
 * Life:    one object per I/O process; an arrival as long as its handshake.
 */
#ifndef DAEMON_IO_TLS_INTAKE_H
#define DAEMON_IO_TLS_INTAKE_H

#include "daemon/io/connection.h"
#include "daemon/io/tls_store.h"

enum {
    TLS_HANDSHAKE_MS = 5'000, /* TLS-10: from accept to Finished ... */
    TLS_HELLO_MS = 2'000,     /* ... and to the whole ClientHello */
    TLS_UNFINISHED_MAX = 256, /* TLS-09 */
    TLS_HELLOS_PER_TURN = 4,  /* about 0.2 ms each */
};

enum tls_arrival_state { TLS_ARRIVAL_WAITING, TLS_ARRIVAL_HELLO, TLS_ARRIVAL_SHAKING, TLS_ARRIVAL_SIGNING };

/* A connection's session while its handshake lasts. */
struct tls_arrival {
    struct connection *connection;
    struct tls_arrival *next; /* of those that wait to be admitted, or for their turn */
    uint64_t since_ms;
    uint8_t state; /* enum tls_arrival_state */
    bool queued;   /* for its turn */
};

struct tls_arrivals {
    struct tls_arrival *first, *last;
};

struct tls_intake_hooks {
    /* The handshake is complete, and plaintext goes to the connection's protocol, which is to be set now. */
    void (*on_ready)(struct connection *connection, bool is_h2, void *context);
    /* It spoke HTTP in clear; its TLS is gone. It gets an answer that says so. */
    void (*on_plain_http)(struct connection *connection, void *context);
    /* Whether more connections may come. */
    void (*on_crowded)(bool is_crowded, void *context);
    void *context;
};

struct tls_intake {
    struct connections *connections;
    const struct tls_store *store;
    struct tls_intake_hooks hooks;
    struct connection_protocol protocol; /* what connections call; its context is this */
    struct slab slab;
    struct tls_arrivals admissions; /* WAITING */
    struct tls_arrivals turns;
    uint32_t unfinished;
    uint32_t hellos; /* in this turn */
    bool crowded;
    uint64_t complained_ms;
};

void tls_intake_init(struct tls_intake *intake, struct connections *connections, const struct tls_store *store,
                     const struct tls_intake_hooks *hooks);
void tls_intake_deinit(struct tls_intake *intake);

/* A connection of an address that speaks TLS: its next octet is TLS. */
void tls_intake_accepted(struct tls_intake *intake, struct connection *connection);

/* The signature that `owner` (a connection's token) waits for has been made. */
void tls_intake_on_signed(struct tls_intake *intake, uint64_t owner);

/* Once a turn: ClientHellos that had to wait. Returns whether more could be done at once. */
bool tls_intake_turn(struct tls_intake *intake);

#endif
