/*
 * Thread loop: one interpreter thread that serves WSGI requests, one after another; a place of sync and of gthread.
 *
 * Owns:    the thread's WSGI objects, for as long as it runs.
 * Threads: the one it runs on; with the interpreter lock, which it gives away while it waits.
 */
#ifndef PYBRIDGE_WORKERS_THREAD_LOOP_H
#define PYBRIDGE_WORKERS_THREAD_LOOP_H

#include "pybridge/app_process.h"

/* Serves until DRAIN has come and nothing is left, or STOP has. -1 with a Python error when it could not begin. */
[[nodiscard]] int thread_loop_run(struct app_process *process);

#endif
