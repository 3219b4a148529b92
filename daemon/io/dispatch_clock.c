#include "daemon/io/dispatch_state.h"

#include "daemon/base/log.h"
#include "daemon/io/early_start.h"

enum { WATCH_INTERVAL_MAX_MS = 1'000, WATCH_INTERVAL_MIN_MS = 50 };

static uint64_t watch_interval(const struct dispatch *dispatch)
{
    const struct settings *settings = &dispatch->core->settings;
    uint64_t interval = WATCH_INTERVAL_MAX_MS;
    const int64_t limits[] = {settings->timeout_ms, settings->request_timeout_ms, settings->queue_timeout_ms};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        if (limits[i] > 0 && (uint64_t)limits[i] / 10 < interval)
            interval = (uint64_t)limits[i] / 10;
    return interval < WATCH_INTERVAL_MIN_MS ? WATCH_INTERVAL_MIN_MS : interval;
}

void dispatch_clock_watch(struct dispatch *dispatch, struct http_exchange *exchange)
{
    timer_wheel_arm(&dispatch->core->exchange_wheel, &exchange->timer,
                    dispatch->core->now_ms + watch_interval(dispatch));
}

static bool passed(uint64_t since_ms, uint64_t now_ms, int64_t limit_ms)
{
    return limit_ms > 0 && now_ms >= since_ms + (uint64_t)limit_ms;
}

/* The app took too long. Its client is told; the app hears that nobody waits any more. */
static void time_out(struct dispatch *dispatch, struct http_exchange *exchange)
{
    if (exchange->timed_out || exchange->response_received)
        return;
    exchange->timed_out = true;
    metrics_add(dispatch->core->metrics, METRIC_APP_TIMEOUTS, 1);
    dispatch_slots_fail(exchange, 504, CLOSE_APP_TIMEOUT);
}

static bool has_begun(const struct app_link *link, const struct http_exchange *exchange)
{
    uint32_t word = atomic_load_explicit(&link->pair->claims[exchange->slot], memory_order_acquire);
    return word == slot_claim_word(exchange->generation, SLOT_BEGUN);
}

/* An app that leaves a request unbegun although it has a free place does not look at its queue at all: it was stopped,
 * or it hangs outside of any request. */
static void suspect(struct dispatch *dispatch, uint32_t app)
{
    struct app_link *link = &dispatch->apps[app];
    uint32_t begun = 0;
    if (link->draining || (link->flags & CONTROL_APP_EVENT_LOOP) != 0 || dispatch->core->settings.timeout_ms <= 0)
        return;
    for (struct http_exchange *exchange = link->held.first; exchange != NULL; exchange = exchange->wait_next)
        begun += has_begun(link, exchange);
    if (begun >= link->places)
        return;
    log_critical("app %u takes no requests; the process is replaced", app);
    dispatch_apps_give_up(dispatch, app);
}

static void watch_begun(struct dispatch *dispatch, struct http_exchange *exchange)
{
    const struct settings *settings = &dispatch->core->settings;
    const uint64_t now = dispatch->core->now_ms;
    struct app_link *link = &dispatch->apps[exchange->app];
    if (exchange->begun_seen_ms == 0) {
        exchange->begun_seen_ms = now;
        exchange->dispatched_ms = now;
    }
    bool watched_here = (link->flags & CONTROL_APP_EVENT_LOOP) == 0;
    bool whole = (link->flags & CONTROL_APP_SYNC) != 0;
    const uint64_t waited = early_start_waited_ms(dispatch->core, exchange); /* not its application's fault */
    uint64_t since = (whole ? exchange->dispatched_ms : exchange->begun_seen_ms) + waited;
    bool stuck = watched_here && passed(since, now, settings->timeout_ms);
    if (stuck && !link->draining) {
        log_critical("app %u: a request took longer than timeout (%lld s); the process is replaced", exchange->app,
                     (long long)(settings->timeout_ms / 1000));
        dispatch_apps_give_up(dispatch, exchange->app);
    }
    dispatch_clock_watch(dispatch,
                         exchange); /* a request whose client was answered may still show that its app is stuck */
    if (exchange->owner != NULL && exchange->is_early && waited >= EARLY_START_WAIT_MS_MAX)
        dispatch_slots_fail(exchange, 408, CLOSE_BODY_RATE);
    else if (exchange->owner != NULL &&
             (stuck || passed(exchange->dispatched_ms + waited, now, settings->request_timeout_ms)))
        time_out(dispatch, exchange);
}

void dispatch_on_timer(struct dispatch *dispatch, struct http_exchange *exchange)
{
    const struct io_core *core = dispatch->core;
    bool too_long = passed(exchange->dispatched_ms, core->now_ms, core->settings.queue_timeout_ms);
    if (exchange->state == EXCHANGE_WAITING) {
        if (too_long)
            dispatch_slots_fail(exchange, 503, CLOSE_QUEUE_TIMEOUT);
        else
            dispatch_clock_watch(dispatch, exchange);
        return;
    }
    if (exchange->state != EXCHANGE_QUEUED)
        return;
    if (has_begun(&dispatch->apps[exchange->app], exchange)) {
        watch_begun(dispatch, exchange);
        return;
    }
    if (passed(exchange->published_ms, core->now_ms, core->settings.timeout_ms))
        suspect(dispatch, exchange->app);
    if (too_long && dispatch_send_recall(dispatch, exchange)) {
        dispatch_slots_end(dispatch, exchange, 503, CLOSE_QUEUE_TIMEOUT);
    } else {
        dispatch_clock_watch(dispatch, exchange);
    }
}
