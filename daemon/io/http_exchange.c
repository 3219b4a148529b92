#include "daemon/io/http_exchange.h"

#include "daemon/io/early_start.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
    SMALL_PIECE_BYTES = 1'024, /* shorter pieces are gathered in a staging block */
};

struct http_exchange *http_exchange_create(struct io_core *core, uint32_t slot)
{
    struct http_exchange *exchange = slab_borrow(&core->exchanges);
    if (exchange == NULL)
        return NULL;
    *exchange = (struct http_exchange){
        .slot = slot,
        .record = layout_record(&core->inbound, &core->layout, slot),
        .body_left = -1,
        .started_us = core->now_us,
    };
    metrics_set(core->metrics, METRIC_EXCHANGES_LIVE, core->exchanges.live);
    return exchange;
}

static void append_piece(const struct io_core *core, struct http_exchange *exchange, struct body_piece *piece)
{
    piece->next = NULL;
    if (exchange->last != NULL)
        exchange->last->next = piece;
    else
        exchange->first = piece;
    exchange->last = piece;
    if (exchange->unsent == NULL)
        exchange->unsent = piece;
    exchange->unconsumed_bytes += piece->length;
    exchange->piece_count++;
    early_start_fed(core, exchange);
}

/* Room for `length` octets behind the last ones gathered. */
static int make_tail(struct io_core *core, struct http_exchange *exchange, uint32_t length)
{
    if (exchange->tail_loan.kind != LOAN_NONE && exchange->tail_capacity - exchange->tail_used >= length)
        return 0;
    struct loan loan;
    uint8_t *memory;
    uint32_t capacity;
    int r = buffer_pool_stage(&core->buffers, length, &loan, &memory, &capacity);
    if (r < 0)
        return r;
    buffer_pool_drop(&core->buffers, &exchange->tail_loan);
    exchange->tail_loan = loan;
    exchange->tail_memory = memory;
    exchange->tail_capacity = capacity;
    exchange->tail_used = 0;
    return 0;
}

static int append_copy(struct io_core *core, struct http_exchange *exchange, const uint8_t *data, uint32_t length)
{
    int r = make_tail(core, exchange, length);
    if (r < 0)
        return r;
    uint8_t *at = exchange->tail_memory + exchange->tail_used;
    memcpy(at, data, length);
    exchange->tail_used += length;

    /* Octets that follow those of a piece nobody has seen yet make it longer instead of being one more. */
    struct body_piece *last = exchange->last;
    uint32_t offset = buffer_pool_offset(&core->buffers, at);
    if (last != NULL && exchange->unsent != NULL && last->loan.kind == LOAN_STAGING &&
        last->loan.id == exchange->tail_loan.id && last->offset + last->length == offset) {
        last->length += length;
        exchange->unconsumed_bytes += length;
        return 0;
    }
    struct body_piece *piece = slab_borrow(&core->bodies);
    if (piece == NULL)
        return -ENOBUFS;
    buffer_pool_hold(&core->buffers, exchange->tail_loan);
    *piece = (struct body_piece){.loan = exchange->tail_loan, .offset = offset, .length = length};
    append_piece(core, exchange, piece);
    return 0;
}

static int append(struct io_core *core, struct http_exchange *exchange, struct loan loan, const uint8_t *data,
                  uint32_t length)
{
    bool copies = loan.kind != LOAN_STAGING && buffer_pool_scarce(&core->buffers, loan.kind);
    if (length < SMALL_PIECE_BYTES || copies) {
        int r = append_copy(core, exchange, data, length);
        /* A held body with no block left is refused; one that is read keeps the buffer until it is. */
        if (r == 0 || (length < SMALL_PIECE_BYTES && exchange->state == EXCHANGE_BUFFERING))
            return r;
    }
    struct body_piece *piece = slab_borrow(&core->bodies);
    if (piece == NULL)
        return -ENOBUFS;
    buffer_pool_hold(&core->buffers, loan);
    *piece = (struct body_piece){.loan = loan, .offset = buffer_pool_offset(&core->buffers, data), .length = length};
    append_piece(core, exchange, piece);
    return 0;
}

bool http_exchange_body_has_place(const struct io_core *core, const struct http_exchange *exchange, uint32_t length)
{
    return exchange->state == EXCHANGE_BUFFERING || length >= SMALL_PIECE_BYTES ||
           exchange->tail_capacity - exchange->tail_used >= length || buffer_pool_has_block(&core->buffers, length);
}

int http_exchange_body_append(struct io_core *core, struct http_exchange *exchange, struct loan loan,
                              const uint8_t *data, uint32_t length)
{
    int r = length > 0 ? append(core, exchange, loan, data, length) : 0;
    if (r == 0)
        exchange->body_bytes += length;
    return r;
}

/* Octets that follow those of a run that nobody has seen yet make it longer. */
static int lengthen(struct io_core *core, struct http_exchange *exchange, struct bytes data, size_t *ret_length)
{
    struct body_piece *last = exchange->last;
    *ret_length = 0;
    if (last == NULL || exchange->unsent == NULL || !body_piece_is_in_file(last))
        return 0;
    int r = spool_append(&core->spool, &last->run, data, ret_length);
    if (r < 0)
        return r;
    last->length += (uint32_t)*ret_length;
    exchange->unconsumed_bytes += *ret_length;
    return 0;
}

static int append_run(struct io_core *core, struct http_exchange *exchange, struct bytes data, size_t *ret_length)
{
    struct body_piece *piece = slab_borrow(&core->bodies);
    if (piece == NULL)
        return -ENOMEM;
    *piece = (struct body_piece){};
    int r = spool_append(&core->spool, &piece->run, data, ret_length);
    if (r < 0) {
        slab_give_back(&core->bodies, piece);
        return r;
    }
    piece->length = (uint32_t)*ret_length;
    append_piece(core, exchange, piece);
    return 0;
}

int http_exchange_body_spool(struct io_core *core, struct http_exchange *exchange, struct bytes data)
{
    int r = 0;
    while (r == 0 && data.length > 0) {
        size_t length;
        r = lengthen(core, exchange, data, &length);
        if (r == 0 && length == 0)
            r = append_run(core, exchange, data, &length);
        if (r < 0)
            break;
        data = bytes_skip(data, length);
        exchange->body_bytes += length;
        exchange->spooled_bytes += length;
    }
    metrics_set(core->metrics, METRIC_SPOOL_BLOCKS, core->spool.live);
    return r;
}

static void pop_piece(struct io_core *core, struct http_exchange *exchange)
{
    struct body_piece *piece = exchange->first;
    exchange->first = piece->next;
    if (exchange->first == NULL)
        exchange->last = NULL;
    exchange->piece_count--;
    buffer_pool_drop(&core->buffers, &piece->loan);
    if (body_piece_is_in_file(piece)) {
        spool_release(&core->spool, &piece->run);
        metrics_set(core->metrics, METRIC_SPOOL_BLOCKS, core->spool.live);
    }
    slab_give_back(&core->bodies, piece);
}

uint32_t http_exchange_body_consumed(struct io_core *core, struct http_exchange *exchange, uint32_t octets)
{
    uint32_t left = octets;
    while (left > 0 && exchange->first != NULL && exchange->first != exchange->unsent) {
        struct body_piece *piece = exchange->first;
        uint32_t taken = left < piece->length ? left : piece->length;
        piece->offset += taken;
        piece->length -= taken;
        left -= taken;
        exchange->unconsumed_bytes -= taken;
        if (piece->length == 0)
            pop_piece(core, exchange);
    }
    if (exchange->unconsumed_bytes == 0)
        early_start_starves(core, exchange);
    return octets - left;
}

/* ---- tally ------------------------------------------------------------------------------------------------------ */

struct exchange_tally *exchange_tally_create(void)
{
    return calloc(1, sizeof(struct exchange_tally));
}

void exchange_tally_join(struct exchange_tally *tally, struct http_exchange *exchange)
{
    assert(exchange->tally == NULL);
    exchange->tally = tally;
    tally->exchanges++;
}

void exchange_tally_forget(struct exchange_tally *tally)
{
    if (tally == NULL)
        return;
    tally->forgotten = true;
    if (tally->exchanges == 0)
        free(tally);
}

static void leave_tally(struct http_exchange *exchange)
{
    struct exchange_tally *tally = exchange->tally;
    if (tally == NULL)
        return;
    assert(tally->exchanges > 0);
    tally->exchanges--;
    if (tally->forgotten && tally->exchanges == 0)
        free(tally);
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

void http_exchange_destroy(struct io_core *core, struct http_exchange *exchange)
{
    timer_wheel_disarm(&core->exchange_wheel, &exchange->timer);
    early_start_end(core, exchange);
    while (exchange->first != NULL)
        pop_piece(core, exchange);
    while (exchange->replies != NULL) {
        struct reply *reply = exchange->replies;
        exchange->replies = reply->next;
        reply_release(core, reply);
    }
    file_source_drop(core, exchange->file);
    buffer_pool_drop(&core->buffers, &exchange->tail_loan);
    buffer_pool_drop(&core->buffers, &exchange->head_loan);
    buffer_pool_drop(&core->buffers, &exchange->tls_loan);
    free(exchange->logged_fields);
    leave_tally(exchange);
    slab_give_back(&core->exchanges, exchange);
    metrics_set(core->metrics, METRIC_EXCHANGES_LIVE, core->exchanges.live);
}
