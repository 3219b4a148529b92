/*
 * Child: one process from fork to burial, whatever it does for a living.
 *
 * Owns:    the pid, its pidfd and our end of its control socket.
 * Threads: the supervisor's only one.
 * Life:    zeroed or dead -> child_spawn() -> the watch `exit` fires -> child_bury(). Whoever owns the child sets the
 *          handlers of both watches before it spawns.
 *
 * A child is born with /dev/null, two outputs, CONTROL_FD and what its launch says; everything else stays behind. What
 * it may do is taken from it before its program runs.
 */
#ifndef DAEMON_SUPERVISOR_CHILD_H
#define DAEMON_SUPERVISOR_CHILD_H

#include "daemon/base/sandbox.h"
#include "daemon/exchange/control.h"
#include "daemon/supervisor/event_loop.h"

#include <sys/types.h>

enum { CHILD_TEXT_BYTES = 512 };

struct child_launch {
    const char *path;
    char *const *argv;
    char *const *envp;
    const char *directory;         /* NULL: where the supervisor is */
    const struct sandbox_ids *ids; /* NULL: the child drops its own */
    int output[2];                 /* its stdout and stderr; -1: the supervisor's */
    bool deny_io_uring;
    int kept; /* one descriptor more, under its own number above CONTROL_FD; 0: none */
};

struct child {
    pid_t pid; /* 0: no process */
    bool deaf; /* did not take a message, and was killed for it */
    struct event_watch exit;
    struct event_watch control;
};

/* On failure no process is left, and `why` has a sentence for the operator. */
[[nodiscard]] int child_spawn(struct child *child, struct event_loop *loop, const struct child_launch *launch,
                              char why[CHILD_TEXT_BYTES]);

/* The same by a copy of `original`, which answers FORK (control.h) with the copy's pid in a message of its own: nobody
 * waits for it. The copy is ours by way of a process between: the caller is a subreaper. `output` is two descriptors,
 * or -1. Then it is ended, or given up; on failure there is nothing to give up. */
[[nodiscard]] int child_begin_copy(struct child *child, const struct child *original, const int output[2]);
[[nodiscard]] int child_end_copy(struct child *child, struct event_loop *loop, pid_t pid);
void child_give_up_copy(struct child *child);

/* Whoever answers runs an application, and may say anything: only a child of ours can be the copy. */
bool child_may_be(pid_t pid);

/* A process that is a child of ours already. Takes `control`; on failure no process is left. */
[[nodiscard]] int child_adopt(struct child *child, struct event_loop *loop, pid_t pid, int control);

/* One control message. A child that does not take it, though it lives, is of no use: it is killed. */
void child_send(struct child *child, enum control_kind kind, const void *payload, size_t bytes, const int *fds,
                size_t fd_count);

void child_kill(struct child *child, int signal);

/* The other end is closed: nothing more will come. */
void child_end_control(struct child *child, struct event_loop *loop);

/* After `exit` fired: reaps it and closes all. The wait status. */
int child_bury(struct child *child, struct event_loop *loop);

static inline bool child_lives(const struct child *child)
{
    return child->pid != 0;
}

/* "exited with status 3", "was killed by signal 11 (Segmentation fault)". */
void child_describe_end(int status, char text[CHILD_TEXT_BYTES]);

#endif
