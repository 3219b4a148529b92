/*
 * Gone watch: clients that have left without a word of the kernel.
 *
 * A reset that comes while a multishot receive is between its first octets and its wait completes nothing (seen on
 * Linux 6.18, a few in a thousand connections). Such a client would be found out by its deadline, and while a request
 * of its is with an application there is none. RES-21 wants it noticed within a second, so every connection that is in
 * the middle of something is asked about once in GONE_WATCH_PERIOD_MS.
 *
 * On the way it has those looked at whose records the kernel decrypts, for some that it says nothing about.
 *
 * Owns:    nothing; remembers how far it has come.
 * Threads: the loop.
 * Cost:    a system call for each connection that is not idle and each period, spread over the turns.
 */
#ifndef DAEMON_IO_GONE_WATCH_H
#define DAEMON_IO_GONE_WATCH_H

#include "daemon/io/connection.h"

enum {
    GONE_WATCH_PERIOD_MS = 500,
    GONE_WATCH_TURN_MAX = 1'024, /* connections looked at in one turn; so many wait in no turn for longer than that */
};

/* A zeroed one is ready. */
struct gone_watch {
    uint32_t next; /* index of the connection to look at */
    uint64_t looked_ms;
};

/* Once a turn, before the dispatcher's: applications hear of those who left in the same one. */
void gone_watch_turn(struct gone_watch *watch, struct connections *connections);

#endif
