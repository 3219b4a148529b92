#include "daemon/io/http2_memory.h"

#include "daemon/io/http2_session.h"
#include "proto/hpack_table.h"

#include <assert.h>
#include <stdlib.h>

static void append(struct http2_session *session)
{
    struct http2_warm *warm = &session->all->warm;
    session->rest.next = NULL;
    session->rest.previous = warm->last;
    if (warm->last != NULL)
        warm->last->rest.next = session;
    else
        warm->first = session;
    warm->last = session;
    warm->count++;
    session->rest.state = HTTP2_WARM;
}

static void unlink_warm(struct http2_session *session)
{
    struct http2_warm *warm = &session->all->warm;
    struct http2_rest *rest = &session->rest;
    assert(rest->state == HTTP2_WARM);
    if (rest->previous != NULL)
        rest->previous->rest.next = rest->next;
    else
        warm->first = rest->next;
    if (rest->next != NULL)
        rest->next->rest.previous = rest->previous;
    else
        warm->last = rest->previous;
    warm->count--;
    rest->state = HTTP2_AT_WORK;
}

static size_t aligned(size_t bytes)
{
    const size_t unit = _Alignof(struct hpack_entry);
    return (bytes + unit - 1) / unit * unit;
}

/* Where the encoder's table is packed, behind the decoder's. */
static size_t encoder_offset(const struct http2_session *session)
{
    return aligned(hpack_table_packed_bytes(&session->protocol.decoder.table));
}

static void pack(struct http2_session *session)
{
    struct hpack_table *decoder = &session->protocol.decoder.table, *encoder = &session->protocol.encoder.table;
    const size_t offset = encoder_offset(session), bytes = offset + hpack_table_packed_bytes(encoder);
    uint8_t *packed = malloc(bytes > 0 ? bytes : 1);
    if (packed == NULL)
        return; /* then it stays as it is */
    memory_account_charge(&session->all->core->memory, bytes);
    session->rest.packed_bytes = bytes;
    hpack_table_pack(decoder, packed);
    hpack_table_pack(encoder, packed + offset);
    slab_give_back(&session->all->tables, session->rest.tables);
    session->rest.tables = packed;
    session->rest.state = HTTP2_PACKED;
}

static void free_packed(struct http2_session *session)
{
    memory_account_credit(&session->all->core->memory, session->rest.packed_bytes);
    free(session->rest.tables);
}

static bool unpack(struct http2_session *session)
{
    uint8_t *packed = session->rest.tables, *tables = slab_borrow(&session->all->tables);
    if (tables == NULL)
        return false;
    const size_t offset = encoder_offset(session);
    hpack_table_unpack(&session->protocol.decoder.table, packed, tables);
    hpack_table_unpack(&session->protocol.encoder.table, packed + offset,
                       tables + HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES));
    free_packed(session);
    session->rest.tables = tables;
    session->rest.state = HTTP2_AT_WORK;
    return true;
}

/* What a client does not take stays where it is. */
static void drop_output_buffer(struct http2_session *session)
{
    struct output_queue *queue = &session->out.queue;
    if (queue->first != NULL || session->connection->send_in_flight)
        return;
    output_queue_deinit(queue);
    output_queue_init(queue, &session->all->core->outputs);
}

void http2_memory_rest(struct http2_session *session)
{
    struct http2_warm *warm = &session->all->warm;
    if (session->rest.state != HTTP2_AT_WORK)
        return;
    append(session);
    if (warm->count <= warm->most)
        return;
    struct http2_session *oldest = warm->first;
    unlink_warm(oldest);
    drop_output_buffer(oldest);
    pack(oldest);
}

bool http2_memory_wake(struct http2_session *session)
{
    if (session->rest.state == HTTP2_WARM)
        unlink_warm(session);
    return session->rest.state == HTTP2_AT_WORK || unpack(session);
}

void http2_memory_release(struct http2_session *session)
{
    if (session->rest.state == HTTP2_WARM)
        unlink_warm(session);
    if (session->rest.state == HTTP2_PACKED)
        free_packed(session);
    else
        slab_give_back(&session->all->tables, session->rest.tables);
}
