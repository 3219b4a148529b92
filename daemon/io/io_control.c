#include "daemon/io/io_process_state.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* Longer than an application process has. */
enum { ORPHAN_SECONDS = 35 };

/* The rest of it is io_process.c's. */
static int start(struct io_process *io)
{
    if (io->state != IO_SETTING_UP)
        return -EPROTO;
    io->state = IO_STARTING;
    return 0;
}

static void leave(struct io_process *io)
{
    if (io->state >= IO_DRAINING)
        return;
    io->state = IO_DRAINING;
    io->core.leaving = true;
    acceptor_stop(&io->acceptor);
    connections_drain(&io->connections);
}

/* Also after leave(): then the idle connections end that were still there. */
static void drain(struct io_process *io)
{
    if (io->state > IO_DRAINING)
        return;
    leave(io);
    io->core.draining = true;
    http1_sessions_drain(&io->http1);
}

static void reopen_logs(struct io_process *io, struct control_message *message)
{
    if (message->fd_count < 1)
        return;
    if (dup3(message->fds[0], io->log_fd, O_CLOEXEC) >= 0)
        log_set_fd(io->log_fd);
    if (message->fd_count < 2)
        return;
    message->fd_count = 1;
    if (access_log_writer_open(&io->access_log, message->fds[1]) < 0)
        log_error("the access log stays as it was");
}

static int on_peer(struct io_process *io, struct control_message *message)
{
    const struct control_peer *peer = control_payload(message, sizeof *peer);
    if (peer == NULL)
        return -EPROTO;
    switch (message->kind) {
    case CONTROL_PEER_UP:
        return dispatch_app_up(&io->dispatch, peer, message);
    case CONTROL_PEER_DRAIN:
        dispatch_app_drain(&io->dispatch, peer->index, peer->generation);
        return 0;
    default:
        dispatch_app_gone(&io->dispatch, peer->index, peer->generation,
                          (peer->flags & CONTROL_GONE_TIMED_OUT) != 0 ? 504 : 502);
        return 0;
    }
}

static int on_listener(struct io_process *io, struct control_message *message)
{
    const struct control_listener *listener = control_payload(message, sizeof *listener);
    if (listener == NULL || message->fd_count != 1)
        return -EPROTO;
    message->fd_count = 0;
    return acceptor_add(&io->acceptor, listener, message->fds[0]);
}

static int handle(struct io_process *io, struct control_message *message)
{
    switch (message->kind) {
    case CONTROL_LISTENER:
        return on_listener(io, message);
    case CONTROL_PEER_UP:
    case CONTROL_PEER_GONE:
    case CONTROL_PEER_DRAIN:
        return on_peer(io, message);
    case CONTROL_TLS_PAIR:
    case CONTROL_TLS_TRUST:
    case CONTROL_TLS_TICKETS:
    case CONTROL_TLS_READY:
        return tls_store_on_control(&io->tls_store, message, CONTROL_FD);
    case CONTROL_START:
        return start(io);
    case CONTROL_SETTINGS:
        if (message->fd_count == 1)
            io_settings_apply(io, message->fds[0]);
        return 0;
    case CONTROL_LOG:
        reopen_logs(io, message);
        return 0;
    case CONTROL_LEAVE:
        leave(io);
        return 0;
    case CONTROL_DRAIN:
        drain(io);
        return 0;
    case CONTROL_STOP:
        io->state = IO_STOPPED;
        return 0;
    default:
        return -EPROTO;
    }
}

/* The supervisor is gone: what was begun is finished, and nothing new is taken. Nobody will say which application has
 * died meanwhile, and nobody would end a process that waits for it. */
static void be_orphaned(struct io_process *io)
{
    drain(io);
    signal(SIGALRM, SIG_DFL);
    unsigned left = alarm(ORPHAN_SECONDS);
    if (left > 0)
        alarm(left);
}

void io_control_receive(struct io_process *io)
{
    struct control_message message;
    int r;
    while (io->state != IO_STOPPED && (r = control_receive(CONTROL_FD, &message)) != -EAGAIN) {
        if (r <= 0 && r != -EBADMSG) {
            be_orphaned(io);
            return;
        }
        if (r != 1)
            continue;
        int outcome = handle(io, &message);
        if (outcome < 0)
            log_error("control message %u could not be carried out: error %d", message.kind, -outcome);
        control_close_fds(&message);
    }
}

int io_control_wait_for_start(struct io_process *io)
{
    struct control_message message;
    while (io->state == IO_SETTING_UP) {
        int r = control_receive(CONTROL_FD, &message);
        if (r <= 0)
            return r == 0 ? -EPIPE : r;
        r = handle(io, &message);
        control_close_fds(&message);
        if (r < 0)
            return r;
    }
    return fcntl(CONTROL_FD, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}
