#include "daemon/io/http2_session.h"

#include <assert.h>
#include <stdlib.h>

void http2_streams_say(struct http2_session *session)
{
    struct http2_connection *protocol = &session->protocol;
    const struct bytes said = bytes_of(protocol->output, protocol->output_used);
    protocol->output_used = 0; /* whatever becomes of it: there has to be room for more */
    if (said.length == 0 || session->connection->state == CONNECTION_CLOSING)
        return;
    if (output_queue_copy(&session->out.queue, said) < 0) {
        connection_abort(session->all->connections, session->connection, CLOSE_OVERLOAD, false);
        return;
    }
    connection_flush(session->all->connections, session->connection);
}

struct http2_member *http2_streams_join(struct http2_session *session, uint32_t id, bool end_stream,
                                        int64_t content_length)
{
    struct http2_member *member = slab_borrow(&session->all->members);
    if (member == NULL)
        return NULL;
    *member = (struct http2_member){
        .session = session,
        .previous = session->last,
        .body_ended = end_stream,
        .turn = {.id = id, .priority = {.urgency = HTTP2_URGENCY_DEFAULT}},
    };
    output_queue_init(&member->body, &session->all->core->outputs);
    http2_connection_open(&session->protocol, &member->protocol, id, end_stream, content_length);
    if (session->last != NULL)
        session->last->next = member;
    else
        session->first = member;
    session->last = member;
    connection_set_idle(session->all->connections, session->connection, false);
    return member;
}

void http2_streams_count_held(struct http2_session *session)
{
    assert(session->tally->exchanges >= session->open_exchanges);
    session->protocol.held_count = session->tally->exchanges - session->open_exchanges;
}

void http2_streams_part(struct http2_session *session, struct http2_member *member, bool cancelled)
{
    struct http_exchange *exchange = member->exchange;
    /* What the application left unread, or took without a word at its end, must not stay out of the window that the
     * other streams share. */
    if (member->uncredited > 0 && session->connection->state < CONNECTION_LINGERING)
        http2_window_taken(session, NULL, member->uncredited);
    http2_schedule_remove(&session->schedule, &member->turn);
    if (member->previous != NULL)
        member->previous->next = member->next;
    else
        session->first = member->next;
    if (member->next != NULL)
        member->next->previous = member->previous;
    else
        session->last = member->previous;
    output_queue_deinit(&member->body);
    free(member->trailers);
    slab_give_back(&session->all->members, member);
    if (exchange == NULL)
        return;
    session->open_exchanges--;
    dispatch_let_go(session->all->dispatch, exchange, cancelled);
    http2_streams_count_held(session);
}

void http2_streams_reset(struct http2_session *session, struct http2_member *member, enum http2_error error)
{
    metrics_add(session->all->core->metrics, METRIC_HTTP2_RESETS, 1);
    http2_connection_reset(&session->protocol, &member->protocol, error);
    http2_connection_forget(&session->protocol, &member->protocol);
    http2_streams_part(session, member, true);
    http2_streams_say(session);
}

void http2_streams_drop(struct http2_session *session)
{
    while (session->first != NULL)
        http2_streams_part(session, session->first, true);
}
