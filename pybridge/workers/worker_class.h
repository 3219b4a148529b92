/*
 * Worker class: how the interpreter's threads take requests from the exchange and give them to the application.
 *
 * Owns:    nothing; a table of functions for each class, and the choice among them.
 * Threads: all are called on the main thread with the interpreter lock held.
 */
#ifndef PYBRIDGE_WORKERS_WORKER_CLASS_H
#define PYBRIDGE_WORKERS_WORKER_CLASS_H

#include "pybridge/app_process.h"

struct worker_driver {
    const char *name;
    uint32_t ready_flags; /* enum control_ready_flag */

    /* Requests that the process takes at once. */
    uint32_t (*places)(const struct settings *settings);

    /*
     * Prepares, calls app_process_ready(), serves until app_process_leaving(), finishes what is open (unless stopping)
     * and cleans up. Returns an enum app_exit_status, or -1 with a Python error, which the caller logs.
     */
    int (*run)(struct app_process *process);
};

extern const struct worker_driver worker_sync;
extern const struct worker_driver worker_gthread;
extern const struct worker_driver worker_event_loop;

/* What the setting and the application ask for. NULL with a Python error when they contradict each other. */
const struct worker_driver *worker_class_choose(const struct settings *settings, bool is_asgi);

#endif
