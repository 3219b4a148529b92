#include "daemon/io/early_start.h"

#include <assert.h>

/* ---- who may ---------------------------------------------------------------------------------------------------- */

/* Our part of a quarter of all threads; the I/O processes share it without asking each other. */
static uint32_t allowance(const struct dispatch *dispatch)
{
    const struct control_setup *setup = &dispatch->core->setup;
    const uint32_t all = dispatch_places(dispatch) / EARLY_START_PART;
    return all / setup->shape.rings + (setup->index < all % setup->shape.rings);
}

/* What is still to come, at most; of a body without a stated length as much as any may have. */
static uint64_t rest_of(const struct io_core *core, const struct http_exchange *exchange)
{
    const int64_t stated = exchange->record->content_length;
    const int64_t limit = core->settings.limit_request_body;
    if (stated < 0 && limit <= 0)
        return UINT64_MAX;
    const uint64_t whole = (uint64_t)(stated >= 0 ? stated : limit);
    return whole > exchange->body_bytes ? whole - exchange->body_bytes : 0;
}

/* Whether memory does not suffice for the whole body, and is nearly used up. */
static bool outgrows_memory(const struct io_core *core, const struct http_exchange *exchange)
{
    const uint64_t most = (uint64_t)core->settings.request_buffer_max;
    const uint64_t next = exchange->body_bytes + core->setup.shape.upload_buffer_bytes;
    return exchange->body_bytes >= EARLY_START_BYTES_MIN && next > most &&
           exchange->body_bytes + rest_of(core, exchange) > most;
}

/* How long the rest takes if the client goes on like this; UINT64_MAX for one that is not fast. */
static uint64_t rest_us_of(const struct io_core *core, const struct http_exchange *exchange)
{
    const uint64_t took_us = core->now_us - exchange->started_us;
    const uint64_t rate = exchange->body_bytes / (took_us > 0 ? took_us : 1);
    return rate >= EARLY_START_RATE_MIN ? rest_of(core, exchange) / rate : UINT64_MAX;
}

bool early_start_try(struct dispatch *dispatch, struct http_exchange *exchange)
{
    struct io_core *core = dispatch->core;
    assert(exchange->state == EXCHANGE_BUFFERING && !exchange->is_early);
    if (core->settings.request_buffering != BUFFERING_AUTO || !outgrows_memory(core, exchange))
        return false;
    const uint64_t rest_us = rest_us_of(core, exchange);
    if (rest_us > EARLY_START_REST_US_MAX)
        return false;
    if (core->early.count >= allowance(dispatch) || core->now_ms < core->early.paused_until_ms ||
        !dispatch_has_place(dispatch))
        return false;
    exchange->is_early = true;
    exchange->promised_ms = (uint32_t)(rest_us / 1'000);
    core->early.count++;
    metrics_add(core->metrics, METRIC_EARLY_STARTS, 1);
    return true;
}

/* ---- how it goes ------------------------------------------------------------------------------------------------ */

uint64_t early_start_waited_ms(const struct io_core *core, const struct http_exchange *exchange)
{
    const uint64_t since = exchange->starved_since_ms;
    return exchange->starved_ms + (since != 0 ? core->now_ms - since : 0);
}

void early_start_starves(const struct io_core *core, struct http_exchange *exchange)
{
    if (exchange->is_early && exchange->starved_since_ms == 0)
        exchange->starved_since_ms = core->now_ms;
}

void early_start_fed(const struct io_core *core, struct http_exchange *exchange)
{
    exchange->starved_ms = early_start_waited_ms(core, exchange);
    exchange->starved_since_ms = 0;
}

void early_start_end(struct io_core *core, struct http_exchange *exchange)
{
    if (!exchange->is_early)
        return;
    early_start_fed(core, exchange);
    const uint64_t granted_ms = EARLY_START_GRACE_MS + (exchange->body_ended ? exchange->promised_ms : 0);
    if (exchange->starved_ms > granted_ms)
        core->early.paused_until_ms = core->now_ms + EARLY_START_PAUSE_MS;
    assert(core->early.count > 0);
    exchange->is_early = false;
    core->early.count--;
}
