/*
 * Verdict: what the handler of an event has found out that concerns the whole server.
 *
 *   NONE --> RELOAD_FAILS --> STOP     the graver one stays, and of two alike the first
 *     ^------------+-----------+       carried out, before anything else is decided
 *
 * Who knows one child says what its end means and returns; how a reload is taken back and how a server stops is known
 * to the supervisor alone, which looks here first when it compares what should be with what is.
 *
 * Owns:    the words.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_VERDICT_H
#define DAEMON_SUPERVISOR_VERDICT_H

enum verdict_kind { VERDICT_NONE, VERDICT_RELOAD_FAILS, VERDICT_STOP };
enum { VERDICT_WHY_BYTES = 1'024 };

struct verdict {
    enum verdict_kind kind;
    int exit_code;               /* STOP */
    char why[VERDICT_WHY_BYTES]; /* RELOAD_FAILS */
};

/* The new application processes are given up, the old ones go on. `why` for the log. */
void verdict_reload_fails(struct verdict *verdict, const char *why);

/* The server cannot go on, or not start: everybody stops, and this is the exit status. */
void verdict_stop(struct verdict *verdict, int exit_code);

/* The last one is carried out now. */
struct verdict verdict_take(struct verdict *verdict);

#endif
