#include "daemon/io/request_body.h"

bool request_body_held(const struct io_core *core, const struct http_exchange *exchange)
{
    if (!io_core_request_buffering(core))
        return false;
    return spool_is_open(&core->spool) || exchange->body_bytes < (uint64_t)core->settings.request_buffer_max;
}

bool request_body_room(const struct io_core *core, const struct http_exchange *exchange, uint64_t read_ahead_bytes,
                       uint32_t pieces_max)
{
    if (request_body_unwanted(exchange))
        return true;
    if (exchange->state != EXCHANGE_BUFFERING)
        return exchange->unconsumed_bytes < read_ahead_bytes && exchange->piece_count < pieces_max;
    return io_core_request_buffering(core) ? request_body_held(core, exchange)
                                           : exchange->body_bytes < read_ahead_bytes;
}

bool request_body_too_long(const struct io_core *core, const struct http_head *head)
{
    if (head->body_kind != HTTP_BODY_LENGTH || !io_core_request_buffering(core) || !spool_is_open(&core->spool))
        return false;
    uint64_t room = (uint64_t)core->settings.request_buffer_max + spool_bytes_max(&core->spool);
    return head->content_length > room;
}

/* Whether the octets wait in the file and not in memory: behind others that do, beyond request_buffer_max, or because
 * memory is scarce. The end of a body stays, since the request goes on its way now. */
static bool goes_to_file(const struct io_core *core, const struct http_exchange *exchange, struct loan loan,
                         size_t length, bool is_last)
{
    bool held = exchange->state == EXCHANGE_BUFFERING && io_core_request_buffering(core) && spool_is_open(&core->spool);
    if (!held)
        return false;
    if (exchange->last != NULL && body_piece_is_in_file(exchange->last))
        return true;
    if (is_last)
        return false;
    return exchange->body_bytes + length > (uint64_t)core->settings.request_buffer_max ||
           buffer_pool_scarce(&core->buffers, loan.kind) || buffer_pool_scarce(&core->buffers, LOAN_STAGING);
}

int request_body_keep(struct io_core *core, struct http_exchange *exchange, struct loan loan, const uint8_t *data,
                      uint32_t length, bool is_last)
{
    if (goes_to_file(core, exchange, loan, length, is_last))
        return http_exchange_body_spool(core, exchange, bytes_of(data, length));
    return http_exchange_body_append(core, exchange, loan, data, length);
}

/* An append that finds the file full has filled it first. */
uint16_t request_body_lost_status(const struct io_core *core, const struct http_exchange *exchange)
{
    bool fills_it = spool_is_open(&core->spool) && exchange->spooled_bytes >= spool_bytes_max(&core->spool);
    return fills_it ? 413 : 503;
}
