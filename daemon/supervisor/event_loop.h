/*
 * Event loop: the supervisor waits here, for descriptors and for moments.
 *
 * Owns:    the epoll descriptor. Watches and alarms are members of whoever waits for them.
 * Threads: the supervisor's only one.
 * Life:    a watch or an alarm may be removed at any time, in any handler, its own too: each turn takes a single event
 *          from the kernel, so no event of something that is gone is ever held in hand. A supervisor sees few events
 *          and many deaths.
 */
#ifndef DAEMON_SUPERVISOR_EVENT_LOOP_H
#define DAEMON_SUPERVISOR_EVENT_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct event_watch;
struct event_alarm;
typedef void event_watch_handler(struct event_watch *watch);
typedef void event_alarm_handler(struct event_alarm *alarm);

/* Wants to read `fd`, or to hear of its end. */
struct event_watch {
    int fd; /* the owner closes it, after event_loop_unwatch() */
    bool watched;
    event_watch_handler *on_event;
    void *owner;
};

struct event_alarm {
    struct event_alarm *next;
    uint64_t at_ms;
    bool armed;
    event_alarm_handler *on_alarm;
    void *owner;
};

struct event_loop {
    int epoll;
    struct event_alarm *alarms; /* soonest first */
};

[[nodiscard]] int event_loop_init(struct event_loop *ret_loop);
void event_loop_deinit(struct event_loop *loop);

[[nodiscard]] int event_loop_watch(struct event_loop *loop, struct event_watch *watch);
void event_loop_unwatch(struct event_loop *loop, struct event_watch *watch);

/* An alarm that was armed already moves. */
void event_loop_arm(struct event_loop *loop, struct event_alarm *alarm, uint64_t at_ms);
void event_loop_disarm(struct event_loop *loop, struct event_alarm *alarm);

/* Waits for one event or the next alarm, and handles it. */
[[nodiscard]] int event_loop_turn(struct event_loop *loop);

/* CLOCK_MONOTONIC. */
uint64_t event_loop_now_ms(void);

#endif
