/*
 * App exchange state: what the files of the app side share, and nobody else sees. From the top; nobody calls upwards:
 *
 *   app_leader.c     a thread waits: it looks at the doorbell for all, or sleeps until it is woken
 *   app_peers.c      which I/O processes there are, and what the supervisor says
 *   app_exchange.c   birth and end, what comes out of the queues, sleeping of an event loop
 *   app_requests.c   the requests, from their message to their end
 *   app_body.c       the body of a request
 *   app_response.c   blocks and what is sent in them
 *   app_post.c       what goes into the queues, now or later
 *   app_waiter.c     threads that sleep, and who wakes them
 *
 * All under the lock of app_exchange.h, but for the three atomics.
 */
#ifndef PYBRIDGE_APP_EXCHANGE_STATE_H
#define PYBRIDGE_APP_EXCHANGE_STATE_H

#include "daemon/base/spin_policy.h"
#include "daemon/exchange/block_pool.h"
#include "pybridge/app_exchange.h"
#include "pybridge/ring_memory.h"

#include <stddef.h>

struct ring_link {
    struct ring_memory *memory; /* NULL while that I/O process is away */
    uint32_t generation;
    struct spsc_reader requests;
    struct spsc_writer replies;
    int doorbell;
    int files; /* file_handover.h: responses go, the spool comes */
    bool unflushed;
    struct open_request **open; /* by slot */
};

/* Of a body: in the inbound arena, or in the spool. */
struct piece {
    uint64_t offset;
    uint32_t length;
    bool in_file;
    struct piece *next;
};

struct open_request {
    struct app_request public;
    struct ring_memory *memory;
    struct piece *first;
    struct piece *last;
    struct open_request *next; /* queue of unclaimed requests, deferred list or free list: never two at once */
    uint64_t begun_ns;
    uint32_t small_out; /* small blocks of this response that the I/O process still holds */
    uint64_t credit;    /* octets consumed, not yet told */
    uint64_t at_hand;   /* octets of the pieces */
    uint32_t reading;   /* parts that were taken and not given back: the I/O process hears of nothing behind them */
    bool claimed;
    bool orphan;   /* its I/O process is gone: nothing more is sent */
    bool wanted;   /* CONSUMED was sent at least once, or want_body was */
    bool deferred; /* in the list of requests with something unsent */
    bool done;     /* the adapter is done; only the message is missing */
};

struct block_owner {
    uint32_t slot;
    uint32_t generation;
};

struct app_exchange {
    struct control_setup setup;
    struct inbound_layout inbound_layout;
    struct outbound_layout outbound_layout;
    struct arena outbound;
    struct app_status *status;
    struct block_pool blocks;
    struct block_owner *owners;
    struct ring_link *rings;
    int control_fd;
    int log_fd; /* the caller's; a reopened file takes its place */
    int doorbell_fd;
    struct app_exchange_hooks hooks;
    uint32_t next_ring;

    struct open_request *queue_first; /* requests that came and are not claimed yet, oldest first */
    struct open_request *queue_last;
    struct open_request *deferred;
    struct open_request *free_requests;
    struct piece *free_pieces;
    uint32_t open_count;

    struct message held; /* the last END message, kept back for one moment so that DONE can ride on it */
    uint32_t held_ring;
    bool has_held;

    bool draining;
    bool stopping;
    bool is_let_go;

    /* Waiting threads. The three atomics are what the standby looks at without the lock. */
    struct app_waiter *waiters;
    struct app_waiter *standby;
    struct spin_policy spin; /* the leader's */
    _Atomic uint32_t leader_present;
    _Atomic uint32_t standby_ticking;
    _Atomic uint64_t epoch;
    uint64_t application_ns; /* moving average of what one request takes */
};

static inline struct open_request *open_request_of(const struct app_request *request)
{
    static_assert(offsetof(struct open_request, public) == 0, "one is the other's head");
    return (struct open_request *)(uintptr_t)request;
}

/* ---- app_exchange.c, for the others ---- */

/* As app_exchange_arm(); a thread that waits for a body or for room does not care that requests wait. */
bool app_exchange_arm_for(struct app_exchange *exchange, bool wants_requests);

/* ---- app_post.c, for the others ---- */

struct message app_exchange_message(const struct open_request *request, enum message_kind kind);

/* false: the queue is full. */
[[nodiscard]] bool app_exchange_push(struct app_exchange *exchange, uint32_t ring, const struct message *message);

/* Whether a push would succeed now. */
[[nodiscard]] bool app_exchange_has_room(struct app_exchange *exchange, uint32_t ring);

/* As push, but a message with END waits for the DONE that nearly always follows at once. */
[[nodiscard]] bool app_exchange_push_or_hold(struct app_exchange *exchange, uint32_t ring,
                                             const struct message *message);

/* DONE, if END of this request is still waiting for it: both go as one. false: it is not. */
[[nodiscard]] bool app_post_done_with_end(struct app_exchange *exchange, const struct open_request *request);

/* Nobody is there any more for what waits. */
void app_post_ring_gone(struct app_exchange *exchange, uint32_t ring);

/* Tells the octets of request->credit; 0 of them ask for body. false: there is no room. */
[[nodiscard]] bool app_post_credit(struct app_exchange *exchange, struct open_request *request);

/* The same, and where there is no room it is tried again with the deferred ones. */
bool app_exchange_credit(struct app_exchange *exchange, struct open_request *request);

/* Something of the request is left to say: app_requests_retry() says it. */
void app_post_defer(struct app_exchange *exchange, struct open_request *request);

/* ---- app_requests.c, for the others ---- */

/* A REQUEST came, for a slot that there is; or another message of one that came before. */
void app_requests_open(struct app_exchange *exchange, uint32_t ring, const struct message *message);
void app_requests_hear(struct app_exchange *exchange, struct ring_link *link, const struct message *message);

/* The I/O process of this link is gone: its requests are cancelled, and nobody hears of them. */
void app_requests_orphan(struct app_exchange *exchange, const struct ring_link *link);

/* Says what is left to say, as far as there is room now. */
void app_requests_retry(struct app_exchange *exchange);

/* The end: those that nobody claimed, and the memory of all that are done. */
void app_requests_clear(struct app_exchange *exchange);

/* ---- app_body.c, for the others ---- */

/* A REQUEST or BODY came. */
void app_body_arrived(struct app_exchange *exchange, struct open_request *request, const struct message *message);

/* Takes the spool from the channel if it is there and was not taken. 0: it is known; -EMFILE: no descriptor is free. */
[[nodiscard]] int app_body_find_spool(struct app_exchange *exchange, struct open_request *request);

/* Nobody reads the pieces any more. */
void app_body_clear(struct app_exchange *exchange, struct open_request *request);

/* ---- app_waiter.c, for the others ---- */

/* The list of those that wait. */
void app_waiter_link(struct app_exchange *exchange, struct app_waiter *waiter);
void app_waiter_unlink(struct app_exchange *exchange, struct app_waiter *waiter);

/* WITHOUT the lock: sleeps until somebody wakes it, or it has to lead. */
void app_waiter_follow(struct app_exchange *exchange, struct app_waiter *waiter, int timeout_ms);

void app_waiter_wake_for_request(struct app_exchange *exchange, const struct app_request *request);
void app_waiter_wake_for_room(struct app_exchange *exchange);
void app_waiter_wake_all(struct app_exchange *exchange);

/* Requests came to a thread that waited for something else: one that waits for requests takes them. */
void app_waiter_hand_on(struct app_exchange *exchange);

/* A thread is about to run application code: somebody should look at the doorbell meanwhile. */
void app_waiter_lead_on(struct app_exchange *exchange);

#endif
