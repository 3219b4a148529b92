/*
 * Dispatch: an exchange finds an app process, is answered, recalled, timed out or orphaned.
 *
 * The least loaded app with a free place gets the request. Each app may hold a few more that it has not begun
 * (DISPATCH_AHEAD_MAX), so that a busy system needs no wake-ups; as soon as another app has a free place those are
 * recalled and sent there. What no app can hold waits here (dispatch_queue.h), within queue_size and queue_timeout.
 *
 * Owns:    the slots, the links to app processes, the queue of waiting exchanges.
 * Threads: the loop.
 * Life:    as the I/O process. An app process may die at any time: that is an ordinary event (dispatch_app_gone).
 */
#ifndef DAEMON_IO_DISPATCH_H
#define DAEMON_IO_DISPATCH_H

#include "daemon/base/log.h"
#include "daemon/io/dispatch_queue.h"
#include "daemon/io/metrics_page.h"

enum {
    DISPATCH_AHEAD_MAX = 64,    /* unbegun requests at an app beyond its places */
    DISPATCH_REPLIES_MAX = 256, /* replies taken from one app in one turn of the loop */
};

struct app_link {
    bool up;
    bool draining;  /* takes nothing new */
    bool broken;    /* its queue makes no sense */
    bool unflushed; /* something was pushed: ring at the end of the turn */
    bool retry;     /* an exchange has something that found the queue full */
    uint32_t generation;
    uint32_t places;
    uint32_t flags; /* enum control_ready_flag */
    uint32_t outstanding;
    int32_t pid;
    struct app_memory *memory;
    struct arena pair_memory;
    struct pair_page *pair;
    struct spsc_writer requests;
    struct spsc_reader replies;
    int app_doorbell;
    int own_doorbell;
    int files;                 /* what it hands over (file_handover.h), and the spool to it */
    bool has_spool;            /* its descriptor went there */
    struct exchange_list held; /* at this app */
};

struct dispatch {
    struct io_core *core;
    struct app_link *apps;
    uint32_t *up; /* indices of the links that are up */
    uint32_t up_count;
    uint32_t next_up; /* where the search for the least loaded begins */
    uint32_t *slot_generations;
    uint32_t *free_slots;
    uint32_t free_slot_count;
    struct http_exchange **by_slot;
    struct dispatch_queue queue;
    struct exchange_list ours; /* EXCHANGE_OURS */
    struct metrics_page metrics_page;
    struct dispatch_lane common_lane; /* of exchanges whose session names none */
    _Atomic uint32_t *load_board;     /* [rings][LAYOUT_APPS_MAX]; this process writes its own row only */
    struct arena board_memory;
    struct log_limit protocol_log;
};

[[nodiscard]] int dispatch_init(struct dispatch *dispatch, struct io_core *core, int load_board_fd);
void dispatch_deinit(struct dispatch *dispatch);

/* ---- for sessions ---- */

/* A fresh exchange with a slot; NULL when none is free: stop reading, dispatch_slot_free() says when to go on. The
 * session gives it the lane of its client. */
struct http_exchange *dispatch_exchange(struct dispatch *dispatch);

static inline bool dispatch_slot_free(const struct dispatch *dispatch)
{
    return dispatch->free_slot_count > 0;
}

/* Whether any application process could take a request now or soon. */
bool dispatch_serving(const struct dispatch *dispatch);

/* Requests that all application processes together take at once. */
uint32_t dispatch_places(const struct dispatch *dispatch);

/* Whether one of them would begin a request now that is submitted now. */
bool dispatch_has_place(const struct dispatch *dispatch);

/* The record is complete. Publishes or queues it; false when the queue is full (answer 503). */
[[nodiscard]] bool dispatch_submit(struct dispatch *dispatch, struct http_exchange *exchange);

/* Body was appended, or it ended or failed. */
void dispatch_body(struct dispatch *dispatch, struct http_exchange *exchange);

/* The client has closed its sending half; the exchange is otherwise as it was. */
void dispatch_client_ended(struct dispatch *dispatch, struct http_exchange *exchange);

/* The session lets go, because the response is complete on its side or because nobody wants it any more. The owner is
 * never called again; the exchange is freed now or when its app is done with it. */
void dispatch_let_go(struct dispatch *dispatch, struct http_exchange *exchange, bool cancelled);

/* ---- for the loop ---- */

/* Takes replies of all apps. Returns how many. */
uint32_t dispatch_pump(struct dispatch *dispatch);

/* Queue, recall, retries, returned blocks: once a turn, after the pump and the handlers. Then rings the doorbells. */
void dispatch_turn(struct dispatch *dispatch);

/* Whether any app holds a request of ours. */
bool dispatch_outstanding(const struct dispatch *dispatch);
/* Whether an app process has said something that was not looked at. */
bool dispatch_pending(struct dispatch *dispatch);

/* "We sleep" to every app, then one more look: false when a reply is there and we do not sleep. */
bool dispatch_arm(struct dispatch *dispatch);
void dispatch_disarm(struct dispatch *dispatch);

void dispatch_on_doorbell(struct dispatch *dispatch, const struct ring_event *event);
void dispatch_on_timer(struct dispatch *dispatch, struct http_exchange *exchange);

/* Takes the message's descriptors on success. */
[[nodiscard]] int dispatch_app_up(struct dispatch *dispatch, const struct control_peer *peer,
                                  struct control_message *message);
void dispatch_app_drain(struct dispatch *dispatch, uint32_t index, uint32_t generation);
void dispatch_app_gone(struct dispatch *dispatch, uint32_t index, uint32_t generation, uint16_t status);

#endif
