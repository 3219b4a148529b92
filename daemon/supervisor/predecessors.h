/*
 * Predecessors: the processes of the program that this one was executed in place of (upgrade.h).
 *
 *   SERVING --> LEAVING --> DRAINING --> STOPPING
 *
 *   SERVING    they do all the work until the new processes are ready, for however long that takes
 *   LEAVING    the I/O processes accept nothing and answer what their connections still ask; the application processes
 *              answer them, and end after them
 *   DRAINING   graceful_timeout has passed, or the server ends: idle connections are closed
 *   STOPPING   everybody exits now, or is killed a second later
 *
 * They know nothing of the new processes, nor these of them. Each keeps its place in the table of its old supervisor,
 * so that the others can be told when it dies.
 *
 * Owns:    per process its control socket and what is left of its outputs.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_PREDECESSORS_H
#define DAEMON_SUPERVISOR_PREDECESSORS_H

#include "daemon/supervisor/event_loop.h"

#include <sys/types.h>

struct supervisor;
struct handover;
struct predecessor;

enum predecessors_state { PREDECESSORS_SERVING, PREDECESSORS_LEAVING, PREDECESSORS_DRAINING, PREDECESSORS_STOPPING };

struct predecessors {
    struct predecessor *first;
    enum predecessors_state state;
    bool incomplete; /* some have died while they did all the work, and nobody has taken their place */
    bool has_loss;   /* one of those has died while this program keeps to them, and that was not taken up yet */
    bool apps_drain; /* no I/O process is left that they would answer */
    struct event_alarm deadline;
};

/* Takes the children out of `handover`. */
void predecessors_adopt(struct supervisor *supervisor, struct handover *handover);

/* Others have taken their place. */
void predecessors_leave(struct supervisor *supervisor);

/* The server ends. */
void predecessors_drain(struct supervisor *supervisor);

/* The application processes follow the last I/O process. */
void predecessors_settle(struct supervisor *supervisor);

/* KEEPING: whether one more has died since the last time. */
bool predecessors_take_loss(struct supervisor *supervisor);

void predecessors_stop(struct supervisor *supervisor);
void predecessors_kill(struct supervisor *supervisor);

/* Those that live, once more left to a program that is executed in our place. */
void predecessors_hand_on(const struct supervisor *supervisor, struct handover *handover);

/* They write to the log files that are open now. */
void predecessors_send_logs(struct supervisor *supervisor);

bool predecessors_include(const struct supervisor *supervisor, pid_t pid);

#endif
