/*
 * I/O process state: what the files of an I/O process share and nobody else may call.
 *
 *   io_process   birth: memory, modules, what each connection speaks; and the end of it all
 *   io_control   what the supervisor says
 *   io_loop      turn after turn: answers, time, sending, sleeping, what has completed
 *   io_memory    what is done when clients hold much of what they may
 *   io_settings  what follows from the settings, at the start and after a reload
 *
 * Owns:    nothing; see io_process.h.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_IO_PROCESS_STATE_H
#define DAEMON_IO_IO_PROCESS_STATE_H

#include "daemon/base/spin_policy.h"
#include "daemon/io/acceptor.h"
#include "daemon/io/access_log_writer.h"
#include "daemon/io/gone_watch.h"
#include "daemon/io/http_intake.h"
#include "daemon/io/proxy_intake.h"
#include "daemon/io/tls_describe.h"
#include "daemon/io/tls_intake.h"

enum io_state { IO_SETTING_UP, IO_STARTING, IO_SERVING, IO_DRAINING, IO_STOPPED };

struct io_process {
    enum io_state state;
    struct io_core core;
    struct dispatch dispatch;
    struct connections connections;
    struct gone_watch gone;
    struct http1_sessions http1;
    struct http2_sessions http2;
    struct http_intake http;
    struct proxy_intake proxy;
    struct tls_store tls_store;
    struct tls_intake tls;
    struct tls_descriptions tls_descriptions;
    struct acceptor acceptor;
    struct access_log_writer access_log;
    int log_fd;
    struct spin_policy spin;
    uint32_t quiet_looks; /* since the last sign of life */
    bool memory_told;     /* the step that memory took last is in the log */
    uint64_t memory_quiet_until_ms;
    struct ring_event events[RING_EVENTS_MAX];
};

/* ---- io_control.c ---- */

/* Messages up to START, one by one, which leaves the state IO_STARTING; or up to STOP. */
[[nodiscard]] int io_control_wait_for_start(struct io_process *io);
/* What is there now. */
void io_control_receive(struct io_process *io);

/* ---- io_loop.c ---- */

void io_loop_look_at_clock(struct io_core *core);
void io_loop_listen_to_supervisor(struct io_process *io);
void io_loop_listen_to_signers(struct io_process *io);
/* Returns the exit status. */
int io_loop_run(struct io_process *io);

/* ---- io_memory.c ---- */

/* Which slabs count. */
void io_memory_init(struct io_process *io);
/* Looks at the account, and closes idle connections while memory is scarce. Returns whether there is more to close. */
bool io_memory_turn(struct io_process *io);

/* ---- io_settings.c ---- */

/* A value that the type cannot hold is as good as none. */
static inline uint32_t io_settings_bounded(int64_t value)
{
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* What the parsers bear, who is trusted. */
[[nodiscard]] int io_settings_derive(struct io_core *core);
/* After a reload: what can change while requests run. `fd` stays the caller's. */
void io_settings_apply(struct io_process *io, int fd);

#endif
