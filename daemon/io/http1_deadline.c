#include "daemon/io/http1_deadline.h"

#include "daemon/io/exchange_log.h"
#include "daemon/io/http1_requests.h"
#include "daemon/io/http1_uploads.h"

enum {
    RATE_PERIOD_MS = 30'000, /* body_rate_min is looked at over this long */
    RATE_GRACE_MS = 10'000,
    RATE_CHECK_MS = 1'000,
};

static uint64_t sooner(uint64_t a, uint64_t b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

static uint64_t after(uint64_t since_ms, int64_t limit_ms)
{
    return since_ms == 0 || limit_ms <= 0 ? 0 : since_ms + (uint64_t)limit_ms;
}

static bool awaits_body(const struct http1_session *session)
{
    return session->body_open && session->input_first == NULL &&
           (session->body_exchange == NULL || !session->body_exchange->wants_continue);
}

/* Once a second after the grace: a deadline that has passed would come back with every tick. */
static uint64_t next_rate_check(const struct http1_session *session)
{
    uint64_t grace = session->body_since + RATE_GRACE_MS;
    uint64_t soon = session->all->core->now_ms + RATE_CHECK_MS;
    return grace > soon ? grace : soon;
}

static uint64_t body_deadline(const struct http1_session *session)
{
    const struct settings *settings = &session->all->core->settings;
    if (!awaits_body(session))
        return 0;
    uint64_t idle = after(session->body_progress, settings->body_timeout_ms);
    uint64_t rate = settings->body_rate_min > 0 ? next_rate_check(session) : 0;
    if (session->body_exchange == NULL)
        idle = sooner(idle, session->body_since + HTTP1_DISCARD_MS);
    return sooner(idle, rate);
}

uint64_t http1_deadline_of_write(const struct http1_session *session)
{
    return write_watch_deadline(&session->write, session->all->core);
}

uint64_t http1_deadline_next(const struct http1_session *session)
{
    const struct settings *settings = &session->all->core->settings;
    uint64_t head = session->count == 0 ? after(session->head_since, settings->head_timeout_ms) : 0;
    return sooner(head, sooner(body_deadline(session), http1_deadline_of_write(session)));
}

static bool body_is_slow(struct http1_session *session)
{
    const struct io_core *core = session->all->core;
    uint64_t age_ms = core->now_ms - session->body_since;
    if (core->settings.body_rate_min <= 0 || age_ms < RATE_GRACE_MS)
        return false;
    uint64_t got = session->body.received - session->body_mark_bytes;
    bool slow = got < (uint64_t)core->settings.body_rate_min * age_ms / 1000;
    if (!slow && age_ms >= RATE_PERIOD_MS) {
        session->body_mark_bytes = session->body.received;
        session->body_since = core->now_ms;
    }
    return slow;
}

static void body_too_slow(struct http1_session *session, enum close_reason reason)
{
    if (session->body_exchange != NULL) {
        http1_uploads_end(session, 408, reason);
        return;
    }
    session->last_request = true;
    connection_close_when_sent(session->all->connections, session->connection, reason);
}

void http1_deadline_check(struct http1_session *session)
{
    const struct io_core *core = session->all->core;
    const struct settings *settings = &core->settings;
    const uint64_t now = core->now_ms;
    if (write_watch_is_stuck(&session->write, core, session->connection)) {
        connection_abort(session->all->connections, session->connection, CLOSE_WRITE_TIMEOUT, true);
        return;
    }
    if (connection_is_over(session->connection))
        return;
    uint64_t head = after(session->head_since, settings->head_timeout_ms);
    if (session->count == 0 && head != 0 && now >= head && session->fault.status == 0) {
        exchange_log_refused(session->all->core, session->connection, NULL, session->head_since, 408);
        http1_requests_fault(session, 408, "the request head did not arrive in time", CLOSE_HEAD_TIMEOUT);
    }
    if (!awaits_body(session))
        return;
    uint64_t idle = after(session->body_progress, settings->body_timeout_ms);
    if (session->body_exchange == NULL && now >= session->body_since + HTTP1_DISCARD_MS)
        body_too_slow(session, CLOSE_REQUESTED);
    else if (idle != 0 && now >= idle)
        body_too_slow(session, CLOSE_BODY_TIMEOUT);
    else if (body_is_slow(session))
        body_too_slow(session, CLOSE_BODY_RATE);
}
