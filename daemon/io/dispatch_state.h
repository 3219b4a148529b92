/*
 * Dispatch state: what the files of the dispatcher need of each other. For dispatch*.c only. From the top; nobody calls
 * upwards:
 *
 *   dispatch_links.c     apps come, drain and go
 *   dispatch.c           the queue; taking back what another app could begin at once
 *   dispatch_clock.c     timeouts, and apps that make no progress
 *   dispatch_replies.c   messages from an app
 *   dispatch_send.c      messages to an app
 *   dispatch_slots.c     slots, and how an exchange ends
 *   dispatch_queue.c     whose turn it is among those that wait
 *   dispatch_apps.c      the load of each app, and which of them gets a request
 */
#ifndef DAEMON_IO_DISPATCH_STATE_H
#define DAEMON_IO_DISPATCH_STATE_H

#include "daemon/io/dispatch.h"

/* ---- dispatch.c ---- */

/* An exchange that its app has not begun waits again, before all others. */
void dispatch_requeue(struct dispatch *dispatch, struct http_exchange *exchange);

/* All unbegun requests of this app wait again. */
void dispatch_recall_all(struct dispatch *dispatch, uint32_t app);

/* ---- dispatch_apps.c ---- */

struct app_choice {
    uint32_t app;
    bool found;
    bool has_place; /* it can begin at once */
};

/* Where the oldest request of the lane may go now. */
struct app_choice dispatch_apps_choose(struct dispatch *dispatch, const struct dispatch_lane *lane);

/*
 * Requests whose responses go out in order (RFC 9112 9.3.2) go to one app, which begins them in that order. Were they
 * spread, responses to the later ones could hold the threads of every app while the first waits for a thread.
 */
bool dispatch_apps_is_bound(const struct dispatch *dispatch, const struct dispatch_lane *lane);

/* Requests at this app from all I/O processes. */
uint32_t dispatch_apps_load(const struct dispatch *dispatch, uint32_t app);

/* Free places at apps other than `but`. */
uint32_t dispatch_apps_free_places(const struct dispatch *dispatch, uint32_t but);

/* More or fewer requests of ours at this app, where the other I/O processes see it. */
void dispatch_apps_count(struct dispatch *dispatch, uint32_t app, int change);

/* The app gets nothing new, and the supervisor is asked to replace its process. */
void dispatch_apps_give_up(struct dispatch *dispatch, uint32_t app);

void dispatch_apps_close(struct app_link *link);

/* ---- dispatch_slots.c ---- */

/* No app process holds the exchange any more: freed, or as soon as its session lets go. */
void dispatch_slots_release(struct dispatch *dispatch, struct http_exchange *exchange);

/* No response will come; the session is told, if there is one. It may let go of the exchange in the call. */
void dispatch_slots_fail(struct http_exchange *exchange, uint16_t status, enum close_reason reason);

/* No app holds the exchange any more, and none answers what it has not answered by now. */
void dispatch_slots_end(struct dispatch *dispatch, struct http_exchange *exchange, uint16_t status,
                        enum close_reason reason);

/* ---- dispatch_send.c ---- */

/* The app may read the file of bodies from now on. false: it has no descriptor of it, perhaps for now. */
bool dispatch_send_spool(struct dispatch *dispatch, struct app_link *link);

/* Hands the slot to the app. false: its queue is full, or it cannot read a part of the body. */
bool dispatch_send_request(struct dispatch *dispatch, struct http_exchange *exchange, uint32_t app);

/* Nobody waits for the response, or reads the request, any more. */
void dispatch_send_cancel(struct dispatch *dispatch, struct http_exchange *exchange);

/* Takes an exchange back that its app has not begun. */
bool dispatch_send_recall(struct dispatch *dispatch, struct http_exchange *exchange);

/* The session lets go, and may end before the app is done. */
void dispatch_send_orphan(struct dispatch *dispatch, struct http_exchange *exchange);

/* The app is done with the exchange. */
void dispatch_send_leave(struct dispatch *dispatch, struct http_exchange *exchange);

/* Once a turn: what found the queue full, blocks that go back, the doorbell. */
void dispatch_send_flush(struct dispatch *dispatch, struct app_link *link);

/* ---- dispatch_replies.c ---- */

/* Takes up to DISPATCH_REPLIES_MAX replies of one app. Returns how many there were. */
uint32_t dispatch_replies_take(struct dispatch *dispatch, uint32_t app);

/* ---- dispatch_clock.c ---- */

/* Looks at the exchange again in a while. */
void dispatch_clock_watch(struct dispatch *dispatch, struct http_exchange *exchange);

#endif
