/*
 * App life: one application process from the moment it is asked for to its burial. The states are drawn in app_child.h.
 *
 * It is started, or copied from a template; says that it is ready, or wants a successor; leaves when it is told to, by
 * a deadline; dies. What its end means for the server is left as a verdict or as a pause before the next start. How
 * many of them there have to be is app_children.h.
 *
 * Owns:    the process, by its struct app_child, from start to burial.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_APP_LIFE_H
#define DAEMON_SUPERVISOR_APP_LIFE_H

#include "daemon/supervisor/app_child.h"

/* A template where one is missing, else one that will serve. false: not now. */
bool app_life_start(struct supervisor *supervisor);

/* It serves, finishes what it has begun and ends, by graceful_timeout. */
void app_life_retire(struct app_child *app);

/* The same; one that does not serve yet goes at once, and one that leaves already goes on leaving. */
void app_life_let_go(struct app_child *app);

/* `timeout` has passed: stacks to the log, nothing new for it, the end within graceful_timeout. */
void app_life_is_stuck(struct app_child *app, const char *how);

#endif
