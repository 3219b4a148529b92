/*
 * I/O core: what every module of the I/O process shares. One per process, built by io_process.c, passed down.
 *
 * Owns:    nothing that its members do not own themselves.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_IO_CORE_H
#define DAEMON_IO_IO_CORE_H

#include "config/address_set.h"
#include "config/schema.h"
#include "daemon/exchange/control.h"
#include "daemon/io/access_log.h"
#include "daemon/io/buffer_pool.h"
#include "daemon/io/date_cache.h"
#include "daemon/io/file_source.h"
#include "daemon/io/io_scratch.h"
#include "daemon/io/ktls.h"
#include "daemon/io/memory_account.h"
#include "daemon/io/metrics.h"
#include "daemon/io/output_queue.h"
#include "daemon/io/ring.h"
#include "daemon/io/secure_schemes.h"
#include "daemon/io/slab.h"
#include "daemon/io/spool.h"
#include "daemon/io/timer_wheel.h"
#include "proto/http1_body.h"
#include "proto/http1_request.h"

struct tls_descriptions;

/* Requests that began before their bodies were complete (early_start.h). */
struct early_starts {
    uint32_t count;
    uint64_t paused_until_ms;
};

struct io_core {
    struct ring *ring;
    struct timer_wheel wheel;          /* of connections */
    struct timer_wheel exchange_wheel; /* of exchanges: an entry does not say what it is part of */
    struct memory_account memory;
    struct buffer_pool buffers;
    struct output_pools outputs;
    struct tls_descriptions *tls; /* NULL: no address speaks TLS */
    struct ktls_kernel ktls;      /* what of TLS the kernel does */
    struct spool spool;           /* parts of request bodies; not open: there is no file for them */
    struct file_sources files;    /* parts of responses */
    struct early_starts early;
    struct metrics *metrics;
    struct arena metrics_memory;   /* a page for each I/O process; `metrics` is our own */
    struct access_log *access_log; /* NULL: off */
    struct date_cache date_cache;
    struct bytes date; /* for this turn */

    struct settings settings;
    struct address_set forwarded_allow;
    struct address_set proxy_allow;
    struct secure_schemes secure_schemes;
    struct http1_limits head_limits;
    struct http1_body_limits body_limits;

    struct control_setup setup;
    struct arena inbound;
    struct inbound_layout layout;

    uint64_t now_ms; /* monotonic, of this turn */
    uint64_t now_us;
    uint64_t wall_us;
    bool leaving;              /* responses say that they are the last of their connections */
    bool draining;             /* and where one had said otherwise, nobody waits for another request */
    bool app_buffers_requests; /* the applications are WSGI: request_buffering and response_buffering `auto` mean on */

    struct io_scratch scratch;
    struct slab exchanges;
    struct slab bodies;  /* struct body_piece */
    struct slab replies; /* struct reply */
    struct slab sessions;
};

/* The page of any I/O process, our own among them; the others' are only read. */
static inline struct metrics *io_core_metrics_of(const struct io_core *core, uint32_t ring)
{
    return (struct metrics *)(void *)(core->metrics_memory.base + (size_t)ring * CONTROL_METRICS_PAGE_BYTES);
}

/* Whether what is begun for a client should be the last: a response says so, a connection does not wait for more. */
static inline bool io_core_wants_rid_of_clients(const struct io_core *core)
{
    return core->leaving || core->memory.step >= MEMORY_SCARCE;
}

/* Octets of responses that may be taken off applications' hands: none while they are better kept there. */
static inline uint64_t io_core_detached_max(const struct io_core *core)
{
    return core->memory.step >= MEMORY_SCARCE ? 0 : (uint64_t)core->settings.response_buffer_total;
}

/* Of that what is left now. */
static inline uint64_t io_core_detached_left(const struct io_core *core)
{
    const uint64_t max = io_core_detached_max(core);
    return max > core->outputs.detached_bytes ? max - core->outputs.detached_bytes : 0;
}

static inline bool io_core_request_buffering(const struct io_core *core)
{
    enum buffering asked = core->settings.request_buffering;
    return asked == BUFFERING_ON || (asked == BUFFERING_AUTO && core->app_buffers_requests);
}

static inline bool io_core_response_buffering(const struct io_core *core)
{
    enum buffering asked = core->settings.response_buffering;
    return asked == BUFFERING_ON || (asked == BUFFERING_AUTO && core->app_buffers_requests);
}

#endif
