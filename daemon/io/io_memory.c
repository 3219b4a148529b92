#include "daemon/io/io_process_state.h"

enum { IDLE_PER_TURN = 16, WORD_INTERVAL_MS = 10'000 };

void io_memory_init(struct io_process *io)
{
    struct io_core *core = &io->core;
    const struct slab *slabs[] = {
        &core->exchanges,         &core->bodies,        &core->replies,      &core->sessions,
        &core->outputs.pieces,    &core->outputs.files, &io->http2.sessions, &io->http2.members,
        &core->outputs.scratches, &io->http2.tables,    &io->tls.slab,       &io->connections.records,
        &io->connections.proxied,
    };
    for (size_t i = 0; i < sizeof slabs / sizeof slabs[0]; i++)
        memory_account_watch(&core->memory, slabs[i]);
}

/* Who fills memory by turns could fill the log too: a step that comes soon after another is not told, nor is its end.
 */
static void tell(struct io_process *io, enum memory_step before)
{
    static const char *const WORDS[] = {
        [MEMORY_NORMAL] = "clients are served as ever",
        [MEMORY_SCARCE] = "HTTP/2 streams are refused, connections end with their response",
        [MEMORY_EXHAUSTED] = "requests are answered 503",
    };
    const struct memory_account *account = &io->core.memory;
    const bool is_worse = account->step > before;
    if (is_worse && before == MEMORY_NORMAL) {
        io->memory_told = io->core.now_ms >= io->memory_quiet_until_ms;
        io->memory_quiet_until_ms = io->core.now_ms + WORD_INTERVAL_MS;
    }
    if (io->memory_told)
        LOG_AT(is_worse ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
               "clients hold %llu of %llu octets (client_memory_max): %s", (unsigned long long)account->bytes,
               (unsigned long long)account->bytes_max, WORDS[account->step]);
}

static void count_step(struct io_process *io, enum memory_step before)
{
    struct io_core *core = &io->core;
    const enum memory_step step = core->memory.step;
    metrics_set(core->metrics, METRIC_MEMORY_STEP, step);
    if (before < MEMORY_SCARCE && step >= MEMORY_SCARCE)
        metrics_add(core->metrics, METRIC_MEMORY_SCARCE, 1);
    if (step == MEMORY_EXHAUSTED)
        metrics_add(core->metrics, METRIC_MEMORY_EXHAUSTED, 1);
}

/* A few in each turn: others want theirs, and the next look may find that it was enough. */
static void close_idle(struct io_process *io)
{
    for (int i = 0; i < IDLE_PER_TURN && connections_evict_idle(&io->connections, CLOSE_OVERLOAD); i++)
        metrics_add(io->core.metrics, METRIC_MEMORY_IDLE, 1);
}

bool io_memory_turn(struct io_process *io)
{
    struct io_core *core = &io->core;
    const enum memory_step before = core->memory.step;
    if (memory_account_look(&core->memory, core->outputs.large_bytes)) {
        tell(io, before);
        count_step(io, before);
    }
    metrics_set(core->metrics, METRIC_MEMORY_BYTES, core->memory.bytes);
    metrics_set(core->metrics, METRIC_MEMORY_MAX, core->memory.bytes_max);
    if (core->memory.step == MEMORY_NORMAL)
        return false;
    close_idle(io);
    return io->connections.idle_first != NULL;
}
