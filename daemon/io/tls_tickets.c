#include "daemon/io/tls_tickets.h"

#include "daemon/io/tls_library.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES = 2 * TLS_TICKETS_USED_MAX };
static_assert((PLACES & (PLACES - 1)) == 0, "places are masked, not divided");

int tls_tickets_init(struct tls_tickets *tickets)
{
    *tickets = (struct tls_tickets){.count = 1};
    bool random = RAND_bytes((uint8_t *)&tickets->keys[0], sizeof tickets->keys[0]) &&
                  RAND_bytes(tickets->life, sizeof tickets->life);
    return random ? 0 : -EIO;
}

void tls_tickets_deinit(struct tls_tickets *tickets)
{
    free(tickets->used);
    OPENSSL_cleanse(tickets, sizeof *tickets);
}

void tls_tickets_set(struct tls_tickets *tickets, const struct control_tls_tickets *keys)
{
    if (keys->count == 0 || keys->count > CONTROL_TLS_TICKET_KEYS)
        return;
    tickets->count = keys->count;
    memcpy(tickets->keys, keys->keys, sizeof tickets->keys);
}

bool tls_tickets_make_iv(const struct tls_tickets *tickets, uint8_t iv[TLS_TICKET_IV_BYTES])
{
    memcpy(iv, tickets->life, sizeof tickets->life);
    return RAND_bytes(iv + sizeof tickets->life, TLS_TICKET_IV_BYTES - sizeof tickets->life);
}

const struct tls_ticket_key *tls_tickets_find(const struct tls_tickets *tickets, const uint8_t name[16],
                                              bool *ret_current)
{
    for (uint32_t i = 0; i < tickets->count; i++) {
        if (memcmp(tickets->keys[i].name, name, sizeof tickets->keys[i].name) != 0)
            continue;
        *ret_current = i == 0;
        return &tickets->keys[i];
    }
    return NULL;
}

/* ---- used tickets ----------------------------------------------------------------------------------------------- */

static uint64_t *table(const struct tls_tickets *tickets, uint32_t which)
{
    return tickets->used + (size_t)which * PLACES;
}

/* Where `tag` stands, or the empty place where it would. Half of the places stay empty, so there is one. */
static uint64_t *place_of(uint64_t *places, uint64_t tag)
{
    uint32_t at = (uint32_t)tag & (PLACES - 1);
    while (places[at] != 0 && places[at] != tag)
        at = (at + 1) & (PLACES - 1);
    return &places[at];
}

/* Tickets used longer ago than a replay can be are forgotten, a table at a time. */
static void forget_old(struct tls_tickets *tickets, uint64_t now_ms)
{
    if (now_ms - tickets->younger_since_ms < TLS_TICKETS_USED_MS)
        return;
    tickets->younger ^= 1;
    memset(table(tickets, tickets->younger), 0, PLACES * sizeof *tickets->used);
    if (now_ms - tickets->younger_since_ms >= 2 * TLS_TICKETS_USED_MS)
        memset(table(tickets, tickets->younger ^ 1), 0, PLACES * sizeof *tickets->used);
    tickets->used_count = 0;
    tickets->younger_since_ms = now_ms;
}

bool tls_tickets_use_once(struct tls_tickets *tickets, const uint8_t iv[TLS_TICKET_IV_BYTES], uint64_t now_ms)
{
    uint64_t tag;
    if (memcmp(iv, tickets->life, sizeof tickets->life) != 0)
        return false;
    if (tickets->used == NULL)
        tickets->used = calloc(2 * (size_t)PLACES, sizeof *tickets->used);
    if (tickets->used == NULL)
        return false;
    forget_old(tickets, now_ms);
    memcpy(&tag, iv + TLS_TICKET_IV_BYTES - sizeof tag, sizeof tag);
    tag |= tag == 0;
    uint64_t *place = place_of(table(tickets, tickets->younger), tag);
    if (*place != 0 || *place_of(table(tickets, tickets->younger ^ 1), tag) != 0 ||
        tickets->used_count == TLS_TICKETS_USED_MAX)
        return false;
    *place = tag;
    tickets->used_count++;
    return true;
}
