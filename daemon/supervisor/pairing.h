/*
 * Pairing: brings each I/O process and each application process together, and tells each of the other's end.
 *
 *   NONE --> APP_KNOWS --> COMPLETE
 *     ^          |            |
 *     +----------+------------+   either of the two died
 *
 * The application process is told first: when the I/O process hears of it, every message it writes finds a reader.
 * Each pairing has a page and a doorbell of its own, so nothing of a dead process reaches its successor.
 *
 * Owns:    the page, the doorbell and the channel for files of a pair until both sides have them.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_PAIRING_H
#define DAEMON_SUPERVISOR_PAIRING_H

#include <stdint.h>

struct supervisor;
struct app_child;
struct io_child;

enum pair_state { PAIR_NONE, PAIR_APP_KNOWS, PAIR_COMPLETE };

struct pair {
    enum pair_state state;
    int page; /* until COMPLETE */
    int bell;
    int files; /* the I/O process's end */
};

struct pairing {
    struct pair *pairs; /* [rings][apps] */
};

[[nodiscard]] int pairing_init(struct supervisor *supervisor);
void pairing_deinit(struct supervisor *supervisor);

/* The application process has started: it is told of every ring. */
void pairing_app_up(struct supervisor *supervisor, struct app_child *app);

/* It is to be served with: every ring is told of it. */
void pairing_app_serves(struct supervisor *supervisor, struct app_child *app);

/* It takes nothing new. */
void pairing_app_drains(struct supervisor *supervisor, struct app_child *app);
void pairing_app_gone(struct supervisor *supervisor, struct app_child *app);

/* The I/O process has made its arena: all applications are told, and it of those that serve. */
void pairing_ring_up(struct supervisor *supervisor, struct io_child *io);
void pairing_ring_gone(struct supervisor *supervisor, struct io_child *io);

#endif
