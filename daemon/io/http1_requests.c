#include "daemon/io/http1_requests.h"

#include "daemon/io/early_start.h"
#include "daemon/io/exchange_log.h"
#include "daemon/io/request_body.h"
#include "daemon/io/request_record.h"
#include "daemon/io/tls_request.h"

void http1_requests_fault(struct http1_session *session, uint16_t status, const char *reason, enum close_reason close)
{
    if (session->fault.status != 0)
        return;
    session->fault = (struct http1_fault){.status = status, .reason = reason, .close_reason = close};
    session->last_request = true;
}

void http1_requests_continue(struct http1_session *session, struct http_exchange *exchange)
{
    if (!exchange->wants_continue)
        return;
    exchange->wants_continue = false;
    if (output_queue_copy(&session->out.queue, BYTES_LITERAL("HTTP/1.1 100 Continue\r\n\r\n")) == 0)
        connection_flush(session->all->connections, session->connection);
}

static bool its_turn(const struct http1_session *session, const struct http_exchange *exchange)
{
    return exchange == session->first || session->unsafe_count == 0;
}

void http1_requests_submit(struct http1_session *session, struct http_exchange *exchange)
{
    if (exchange->state != EXCHANGE_BUFFERING || exchange->local_status != 0 || !its_turn(session, exchange))
        return;
    if (!exchange->body_ended && request_body_held(session->all->core, exchange) &&
        !early_start_try(session->all->dispatch, exchange)) {
        http1_requests_continue(session, exchange);
        return;
    }
    if (!dispatch_submit(session->all->dispatch, exchange)) {
        exchange->local_status = 503;
        exchange->close_reason = CLOSE_OVERLOAD;
    }
}

static bool is_safe_method(struct bytes method)
{
    return bytes_equal(method, BYTES_LITERAL("GET")) || bytes_equal(method, BYTES_LITERAL("HEAD")) ||
           bytes_equal(method, BYTES_LITERAL("OPTIONS")) || bytes_equal(method, BYTES_LITERAL("TRACE"));
}

static void append_exchange(struct http1_session *session, struct http_exchange *exchange)
{
    exchange->owner = &session->all->owner;
    exchange->session = session;
    exchange->lane = &session->lane;
    exchange->client_ended = session->client_ended;
    if (session->last != NULL)
        session->last->next = exchange;
    else
        session->first = exchange;
    session->last = exchange;
    session->count++;
    session->unsafe_count += !exchange->is_safe;
}

static bool is_health_check(const struct http1_session *session)
{
    const char *path = session->all->core->settings.health_path;
    return path != NULL && bytes_equal(session->parser.head.path, bytes_of_string(path));
}

/* Who asks whether the server is there is told so at any time; the others come again. */
static void refuse_exhausted(struct http1_session *session, struct http_exchange *exchange)
{
    metrics_add(session->all->core->metrics, METRIC_MEMORY_REQUESTS, 1);
    exchange->local_status = 503;
    exchange->close_reason = CLOSE_OVERLOAD;
    exchange->keep_alive = false;
}

static void describe(struct http1_session *session, struct http_exchange *exchange)
{
    const struct http_head *head = &session->parser.head;
    const struct io_core *core = session->all->core;
    exchange->is_head = bytes_equal(head->method, BYTES_LITERAL("HEAD"));
    exchange->is_safe = is_safe_method(head->method) && head->body_kind == HTTP_BODY_NONE;
    exchange->is_http_1_0 = head->version == HTTP_VERSION_1_0;
    exchange->keep_alive =
        session->parser.keep_alive && !io_core_wants_rid_of_clients(core) && core->settings.keepalive_ms > 0;
    exchange->te_trailers = head->te_trailers;
    exchange->wants_continue = head->expect_continue && head->body_kind != HTTP_BODY_NONE;
    if (is_health_check(session))
        exchange->local_status = dispatch_serving(session->all->dispatch) ? 200 : 503;
    else if (core->memory.step == MEMORY_EXHAUSTED)
        refuse_exhausted(session, exchange);
}

/* Nothing is asked of an application; what there is of a body is not waited for. */
static void judge_tls(struct http1_session *session, struct http_exchange *exchange)
{
    const struct http_head *head = &session->parser.head;
    uint16_t status = tls_request_prepare(session->all->core, session->connection, head, exchange);
    if (status == 0 || exchange->local_status != 0)
        return;
    exchange->local_status = status;
    if (head->body_kind != HTTP_BODY_NONE) {
        exchange->close_reason = CLOSE_REQUEST_REJECTED;
        exchange->keep_alive = false;
    }
}

void http1_requests_refuse(struct http1_session *session, uint16_t status, const char *reason)
{
    struct io_core *core = session->all->core;
    metrics_add(core->metrics, METRIC_REQUESTS_REJECTED, 1);
    exchange_log_refused(core, session->connection, &session->parser.head, session->head_since, status);
    http1_requests_fault(session, status, reason, CLOSE_REQUEST_REJECTED);
}

void http1_requests_on_head(struct http1_session *session, struct loan loan, const uint8_t *from, const uint8_t *at)
{
    struct io_core *core = session->all->core;
    struct http_exchange *exchange = dispatch_exchange(session->all->dispatch);
    if (exchange == NULL) {
        http1_requests_fault(session, 503, "out of memory", CLOSE_OVERLOAD);
        return;
    }
    metrics_add(core->metrics, METRIC_REQUESTS, 1);
    session->connection->requests++;
    const char *refusal =
        request_record_fill(core, session->connection, &session->parser.head, from, at, exchange->record);
    if (refusal != NULL) {
        dispatch_let_go(session->all->dispatch, exchange, true);
        http1_requests_refuse(session, 400, refusal);
        return;
    }
    session->head_since = 0;
    buffer_pool_hold(&core->buffers, loan);
    exchange->head_loan = loan;
    describe(session, exchange);
    judge_tls(session, exchange);
    append_exchange(session, exchange);
    if (!exchange->keep_alive)
        session->last_request = true;
}
