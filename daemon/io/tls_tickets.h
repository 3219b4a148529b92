/*
 * TLS tickets: the keys that session tickets are sealed and opened with, and which tickets early data came with.
 *
 * Keys come from the supervisor, which gives all I/O processes the same and rotates them; one of 80 octets is name
 * (16), HMAC key (32), AES key (32), as in nginx. Until some came tickets are sealed with a key that nobody else has.
 *
 * Early data can be replayed by whoever saw it, so a ticket is good for it once. That holds for the whole machine and
 * across restarts, because only the process life that sealed a ticket (its IV says which) takes early data with it:
 * with N I/O processes about one early request in N is taken early, and the others are served after the handshake.
 *
 * Owns:    copies of the keys, wiped; the memory of used tickets.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_TLS_TICKETS_H
#define DAEMON_IO_TLS_TICKETS_H

#include "daemon/exchange/control.h"

enum {
    TLS_TICKET_IV_BYTES = 16,
    TLS_TICKET_LIFETIME_S = 43'200, /* a key opens tickets for at least so long after it sealed its last one */
    TLS_TICKETS_USED_MAX = 8'192,   /* in ... */
    TLS_TICKETS_USED_MS = 130'000,  /* BoringSSL takes early data at most 60 s before and after its time */
};

struct tls_ticket_key {
    uint8_t name[16];
    uint8_t hmac[32];
    uint8_t aes[32];
};
static_assert(sizeof(struct tls_ticket_key) == CONTROL_TLS_TICKET_KEY_BYTES, "a key is copied as it came");

struct tls_tickets {
    uint32_t count;
    struct tls_ticket_key keys[CONTROL_TLS_TICKET_KEYS]; /* the first seals */
    uint8_t life[4];                                     /* of this process: begins the IVs of its tickets */
    uint64_t *used;      /* two tables of TLS_TICKETS_USED_MAX * 2 places; NULL until early data is wanted */
    uint32_t used_count; /* in the younger one */
    uint32_t younger;
    uint64_t younger_since_ms;
};

[[nodiscard]] int tls_tickets_init(struct tls_tickets *tickets);
void tls_tickets_deinit(struct tls_tickets *tickets);

/* The supervisor's keys; none are ignored. */
void tls_tickets_set(struct tls_tickets *tickets, const struct control_tls_tickets *keys);

/* A fresh IV for a ticket; false when there is no randomness. */
bool tls_tickets_make_iv(const struct tls_tickets *tickets, uint8_t iv[TLS_TICKET_IV_BYTES]);

/* The key of that name; `*ret_current` says whether it is the one that seals. NULL: it is gone. */
const struct tls_ticket_key *tls_tickets_find(const struct tls_tickets *tickets, const uint8_t name[16],
                                              bool *ret_current);

/* Whether early data may come with the ticket of this IV: true at most once. */
bool tls_tickets_use_once(struct tls_tickets *tickets, const uint8_t iv[TLS_TICKET_IV_BYTES], uint64_t now_ms);

#endif
