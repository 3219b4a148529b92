/*
 * App copy: a process that the application has forked from this one.
 *
 * It inherits the queues, the requests under way and the control socket, which two cannot have. So it lets go of them
 * at once, and ends where it comes back from the application, by sys.exit() or by mistake.
 *
 * Owns:    nothing.
 * Threads: with the interpreter lock held; in a copy there is only the thread that has forked.
 */
#ifndef PYBRIDGE_APP_COPY_H
#define PYBRIDGE_APP_COPY_H

#include "pybridge/app_process.h"

/* From now on copies let go. -1 with a Python error. */
[[nodiscard]] int app_copy_watch(struct app_process *process);

/* Where the application has returned, or raised: then the Python error is set. Does not come back in a copy. */
void app_copy_end(const struct app_process *process);

#endif
