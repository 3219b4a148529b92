#include "daemon/io/http2_window.h"

#include "daemon/io/http2_session.h"

#include <assert.h>

enum { BUDGET_PART = 4, STEP_PART = 4 };

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void http2_window_init(struct http2_window_budget *budget, const struct io_core *core)
{
    /* Upload buffers and staging blocks are the end of the arena. */
    *budget = (struct http2_window_budget){.most = (core->layout.bytes - core->layout.upload_buffers) / BUDGET_PART};
}

/* Whether half of `window` has been taken, and fast. */
static bool is_fast(struct http2_window_pace *pace, uint32_t window, uint32_t octets, uint64_t now_ms)
{
    if (pace->since_ms == 0)
        pace->since_ms = now_ms;
    pace->taken += octets;
    if (pace->taken < window / 2)
        return false;
    bool fast = now_ms - pace->since_ms <= HTTP2_WINDOW_GROW_MS;
    *pace = (struct http2_window_pace){.since_ms = now_ms};
    return fast;
}

/* As much again, as far as the setting allows. */
static uint32_t step(const struct http2_session *session, uint32_t window)
{
    const uint64_t most = (uint64_t)session->all->core->settings.http2_window_max;
    return window < most ? (uint32_t)smaller(window, most - window) : 0;
}

static void count_given(struct http2_session *session, int64_t octets)
{
    struct http2_window_budget *budget = &session->all->windows;
    budget->given += (uint64_t)octets;
    metrics_set(session->all->core->metrics, METRIC_HTTP2_WIDENED, budget->given);
}

static void widen_connection(struct http2_session *session)
{
    const struct http2_window_budget *budget = &session->all->windows;
    assert(budget->given <= budget->most);
    const uint64_t left = (budget->most - budget->given) / STEP_PART;
    const uint32_t octets = (uint32_t)smaller(step(session, session->protocol.window), left);
    http2_connection_widen(&session->protocol, NULL, octets);
    session->widened += octets;
    count_given(session, octets);
}

void http2_window_taken(struct http2_session *session, struct http2_member *member, uint32_t octets)
{
    struct http2_connection *protocol = &session->protocol;
    const uint64_t now_ms = session->all->core->now_ms;
    if (protocol->state == HTTP2_FAILED_STATE)
        return;
    /* Wider first: then one WINDOW_UPDATE says both. */
    if (member != NULL && is_fast(&member->pace, member->protocol.window, octets, now_ms))
        http2_connection_widen(protocol, &member->protocol, step(session, member->protocol.window));
    if (is_fast(&session->pace, protocol->window, octets, now_ms))
        widen_connection(session);
    http2_connection_consumed(protocol, member != NULL ? &member->protocol : NULL, octets);
}

void http2_window_rest(struct http2_session *session)
{
    if (session->widened > 0)
        http2_connection_narrow(&session->protocol, session->widened);
    count_given(session, -(int64_t)session->widened);
    session->widened = 0;
    session->pace = (struct http2_window_pace){};
}
