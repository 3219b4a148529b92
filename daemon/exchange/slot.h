/*
 * Slot: the record of one request, in the inbound arena of its I/O process, and the claim word that decides who has it.
 *
 * Owns:    nothing; an I/O process owns its slots and their life, an app process borrows one at a time.
 * Threads: the record is written by the I/O process before the slot is published and never while it is QUEUED or
 *          BEGUN. The claim word is changed by compare-and-swap from both sides.
 *
 *            publish            begin (app)              DONE
 *   FREE ------------> QUEUED ------------> BEGUN ------------> FREE     (generation + 1 at each publish)
 *                        |
 *                        +---- recall (I/O) ----> RECALLED -----> FREE, then published again, perhaps elsewhere
 *
 * The generation in the word keeps a stale queue entry, or a late writer, out of the slot's next life.
 */
#ifndef DAEMON_EXCHANGE_SLOT_H
#define DAEMON_EXCHANGE_SLOT_H

#include "daemon/exchange/arena.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum slot_claim { SLOT_FREE, SLOT_QUEUED, SLOT_BEGUN, SLOT_RECALLED };

enum { SLOT_GENERATION_MASK = 0x3fffffff };

static inline uint32_t slot_claim_word(uint32_t generation, enum slot_claim claim)
{
    return (generation & SLOT_GENERATION_MASK) << 2 | (uint32_t)claim;
}

static inline enum slot_claim slot_claim_of(uint32_t word)
{
    return (enum slot_claim)(word & 3);
}

/* QUEUED to `claim` of exactly this generation. false: the other side was first, or the slot lives on as another. */
static inline bool slot_claim_take(_Atomic uint32_t *word, uint32_t generation, enum slot_claim claim)
{
    uint32_t expected = slot_claim_word(generation, SLOT_QUEUED);
    /* Acquire on success pairs with the release of the publisher: the record is complete. */
    return atomic_compare_exchange_strong_explicit(word, &expected, slot_claim_word(generation, claim),
                                                   memory_order_acq_rel, memory_order_relaxed);
}

static inline void slot_claim_set(_Atomic uint32_t *word, uint32_t generation, enum slot_claim claim)
{
    /* Release: publishes the record to slot_claim_take(). */
    atomic_store_explicit(word, slot_claim_word(generation, claim), memory_order_release);
}

enum slot_version { SLOT_HTTP_1_0 = 10, SLOT_HTTP_1_1 = 11, SLOT_HTTP_2 = 20 };

enum slot_flag {
    SLOT_HTTPS = 1,         /* the scheme that the application is told */
    SLOT_CHUNKED = 2,       /* a body of unknown length follows: no CONTENT_LENGTH */
    SLOT_BODY = 4,          /* there is a body (content_length may be 0 without it) */
    SLOT_TRUSTED = 8,       /* the peer is in forwarded_allow_ips: forwarder_headers may be believed */
    SLOT_UNIX = 16,         /* the listener is a unix socket: `server` is its path, the ports are 0 */
    SLOT_PROXIED = 32,      /* a PROXY header named the client: proxy_* is filled in */
    SLOT_TE_TRAILERS = 64,  /* the client takes trailers (of HTTP/2 all do) */
    SLOT_INCREMENTAL = 128, /* RFC 9218: the response is of use in parts */
};

/* One request field; the name is in lower case, `id` is an enum http_field_id. */
struct slot_field {
    uint32_t name_offset;
    uint32_t value_offset;
    uint32_t value_length;
    uint16_t name_length;
    uint16_t id;
};
static_assert(sizeof(struct slot_field) == 16, "pinned: it crosses between processes");

enum { SLOT_ADDRESS_BYTES = 112, SLOT_URGENCY_DEFAULT = 3 };

struct slot_record {
    uint32_t generation;
    uint16_t field_count;
    uint8_t version;        /* enum slot_version */
    uint8_t flags;          /* enum slot_flag */
    int64_t content_length; /* -1: unknown (SLOT_CHUNKED) */
    struct arena_span method;
    struct arena_span target; /* as sent */
    struct arena_span path;   /* of the target, still percent-encoded, without query */
    struct arena_span query;  /* without '?' */
    uint16_t client_port;
    uint16_t server_port;
    uint16_t proxy_client_port;
    uint16_t reserved;
    uint64_t request_id;             /* of this I/O process's life, for the log */
    char client[SLOT_ADDRESS_BYTES]; /* text, NUL-terminated; "" when unknown (unix sockets) */
    char server[SLOT_ADDRESS_BYTES]; /* text, NUL-terminated; the path of a unix socket */
    char proxy_client[48];           /* SLOT_PROXIED */
    struct arena_span tls;           /* what tls_record.h has to say of the connection; of length 0: it has no TLS */
    uint32_t stream_id;              /* SLOT_HTTP_2; 0 else */
    uint8_t urgency;                 /* RFC 9218: 0 to 7, SLOT_URGENCY_DEFAULT where nothing was said */
    uint8_t padding[3];
    struct slot_field fields[];
};
static_assert(sizeof(struct slot_record) == 352, "pinned: it crosses between processes");
static_assert(offsetof(struct slot_record, tls) == 336, "pinned: it crosses between processes");
static_assert(offsetof(struct slot_record, stream_id) == 344, "pinned: it crosses between processes");
static_assert(offsetof(struct slot_record, fields) % 16 == 0, "fields stay aligned");

/* The two words by which each side of a pair says that it sleeps, and the claim words of the I/O process's slots.
 * The only memory that both processes of a pair may write; it holds no offset, no length, no index. */
struct pair_page {
    _Alignas(64) _Atomic uint32_t app_sleeping;
    _Alignas(64) _Atomic uint32_t io_sleeping;
    _Alignas(64) _Atomic uint32_t claims[];
};

#endif
