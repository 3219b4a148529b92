#include "daemon/exchange/field_block.h"
#include "daemon/exchange/file_handover.h"
#include "pybridge/app_exchange_state.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
    LARGE_BLOCKS_PER_RESPONSE = APP_RESPONSE_WINDOW / LAYOUT_LARGE_BLOCK_BYTES,
    SMALL_BLOCKS_PER_RESPONSE = 64,
    LARGE_BLOCKS_RESERVED = 16, /* 1 MiB for responses with nothing outstanding: stuck readers cannot stop quick ones */
    SMALL_BLOCKS_RESERVED = 128,
};

static int64_t borrow_small(struct app_exchange *exchange, struct open_request *open)
{
    struct block_pool *pool = &exchange->blocks;
    bool outstanding = open->small_out > 0 || open->public.blocks_out > 0;
    if (open->small_out >= SMALL_BLOCKS_PER_RESPONSE ||
        (outstanding && pool->free_small_count <= SMALL_BLOCKS_RESERVED))
        return -ENOBUFS;
    return block_pool_borrow_small(pool, open->public.ring);
}

static int64_t borrow_large(struct app_exchange *exchange, struct open_request *open)
{
    struct block_pool *pool = &exchange->blocks;
    bool outstanding = open->small_out > 0 || open->public.blocks_out > 0;
    if (open->public.blocks_out >= LARGE_BLOCKS_PER_RESPONSE ||
        (outstanding && pool->free_large_count <= LARGE_BLOCKS_RESERVED))
        return -ENOBUFS;
    return block_pool_borrow_large(pool, open->public.ring);
}

/* From now on the I/O process holds the block. */
static void block_went_out(struct app_exchange *exchange, struct open_request *open, uint32_t block)
{
    exchange->owners[block] = (struct block_owner){open->public.slot, open->public.generation};
    if (block >= exchange->blocks.small)
        open->public.blocks_out++;
    else
        open->small_out++;
}

static uint8_t *block_memory(const struct app_exchange *exchange, uint32_t block)
{
    return exchange->outbound.base + block_pool_offset(&exchange->blocks, block);
}

int app_response_begin(struct app_exchange *exchange, struct app_request *request, struct app_response *ret_response)
{
    struct open_request *open = open_request_of(request);
    if (open->orphan)
        return -EPIPE;
    int64_t block = borrow_small(exchange, open);
    if (block < 0)
        block = borrow_large(exchange, open);
    if (block < 0)
        return (int)block;
    *ret_response = (struct app_response){
        .request = request,
        .block = (uint32_t)block,
        .memory = block_memory(exchange, (uint32_t)block),
        .capacity = block_pool_bytes(&exchange->blocks, (uint32_t)block),
    };
    return 0;
}

static int move_to_large(struct app_exchange *exchange, struct app_response *response)
{
    if (response->capacity == LAYOUT_LARGE_BLOCK_BYTES)
        return -EMSGSIZE;
    int64_t block = borrow_large(exchange, open_request_of(response->request));
    if (block < 0)
        return (int)block;
    uint8_t *memory = block_memory(exchange, (uint32_t)block);
    memcpy(memory, response->memory, response->head_length);
    block_pool_give_back(&exchange->blocks, response->block, NULL);
    response->block = (uint32_t)block;
    response->memory = memory;
    response->capacity = LAYOUT_LARGE_BLOCK_BYTES;
    return 0;
}

int app_response_field(struct app_exchange *exchange, struct app_response *response, struct bytes name,
                       struct bytes value)
{
    /* What this wrote to may be another response's block by now. */
    if (open_request_of(response->request)->orphan)
        return -EPIPE;
    while (!field_block_append(response->memory, response->capacity, &response->head_length, name, value)) {
        int r = move_to_large(exchange, response);
        if (r < 0)
            return r;
    }
    return 0;
}

void app_response_drop(struct app_exchange *exchange, struct app_response *response)
{
    if (response->memory == NULL)
        return;
    /* Of an orphan all blocks came back when its I/O process went: this one may be somebody else's by now. */
    if (!open_request_of(response->request)->orphan)
        block_pool_give_back(&exchange->blocks, response->block, NULL);
    *response = (struct app_response){};
}

int app_response_start(struct app_exchange *exchange, struct app_response *response, uint16_t status,
                       int64_t content_length, struct bytes body, bool end, size_t *ret_taken)
{
    struct open_request *open = open_request_of(response->request);
    if (open->orphan)
        return -EPIPE;
    if (body.length > response->capacity - response->head_length)
        (void)move_to_large(exchange, response); /* else as much as fits goes along */
    size_t room = response->capacity - response->head_length;
    size_t taken = body.length < room ? body.length : room;

    struct message message = app_exchange_message(open, MESSAGE_RESPONSE);
    message.status = status;
    message.content_length = content_length;
    message.head_block = response->block;
    message.head_offset = block_pool_offset(&exchange->blocks, response->block);
    message.head_length = (uint32_t)response->head_length;
    if (taken > 0) {
        message.body_block = response->block;
        message.body_offset = message.head_offset + message.head_length;
        message.body_length = (uint32_t)taken;
    }
    if (end && taken == body.length)
        message.flags = MESSAGE_END;
    if (taken > 0)
        memcpy(response->memory + response->head_length, body.data, taken);
    if (!app_exchange_push_or_hold(exchange, open->public.ring, &message))
        return -EAGAIN;
    block_went_out(exchange, open, response->block);
    open->public.head_sent = true;
    open->public.end_sent = (message.flags & MESSAGE_END) != 0;
    *response = (struct app_response){};
    *ret_taken = taken;
    return 0;
}

int app_response_interim(struct app_exchange *exchange, struct app_response *response, uint16_t status)
{
    struct open_request *open = open_request_of(response->request);
    if (open->orphan)
        return -EPIPE;
    struct message message = app_exchange_message(open, MESSAGE_INTERIM);
    message.status = status;
    message.head_block = response->block;
    message.head_offset = block_pool_offset(&exchange->blocks, response->block);
    message.head_length = (uint32_t)response->head_length;
    if (!app_exchange_push(exchange, open->public.ring, &message))
        return -EAGAIN;
    block_went_out(exchange, open, response->block);
    *response = (struct app_response){};
    return 0;
}

int app_response_trailers(struct app_exchange *exchange, struct app_response *response)
{
    struct open_request *open = open_request_of(response->request);
    if (open->orphan || open->public.fate == APP_REQUEST_CANCELLED)
        return -EPIPE;
    struct message message = app_exchange_message(open, MESSAGE_BODY);
    message.flags = MESSAGE_TRAILERS | MESSAGE_END;
    message.body_block = response->block;
    message.body_offset = block_pool_offset(&exchange->blocks, response->block);
    message.body_length = (uint32_t)response->head_length;
    if (!app_exchange_push_or_hold(exchange, open->public.ring, &message))
        return -EAGAIN;
    block_went_out(exchange, open, response->block);
    open->public.end_sent = true;
    *response = (struct app_response){};
    return 0;
}

/* One message of at most one block. Octets taken, or -ENOBUFS / -EAGAIN. */
static int64_t send_piece(struct app_exchange *exchange, struct open_request *open, struct bytes body, bool end)
{
    int64_t block = body.length <= LAYOUT_SMALL_BLOCK_BYTES ? borrow_small(exchange, open) : -ENOBUFS;
    if (block < 0)
        block = borrow_large(exchange, open);
    if (block < 0)
        return block;
    size_t capacity = block_pool_bytes(&exchange->blocks, (uint32_t)block);
    size_t taken = body.length < capacity ? body.length : capacity;

    struct message message = app_exchange_message(open, MESSAGE_BODY);
    message.body_block = (uint32_t)block;
    message.body_offset = block_pool_offset(&exchange->blocks, (uint32_t)block);
    message.body_length = (uint32_t)taken;
    if (end && taken == body.length)
        message.flags = MESSAGE_END;
    memcpy(block_memory(exchange, (uint32_t)block), body.data, taken);
    if (!app_exchange_push_or_hold(exchange, open->public.ring, &message)) {
        block_pool_give_back(&exchange->blocks, (uint32_t)block, NULL);
        return -EAGAIN;
    }
    block_went_out(exchange, open, (uint32_t)block);
    open->public.end_sent = (message.flags & MESSAGE_END) != 0;
    return (int64_t)taken;
}

static int send_end(struct app_exchange *exchange, struct open_request *open, uint8_t flags)
{
    struct message message = app_exchange_message(open, MESSAGE_BODY);
    message.flags = flags;
    if (!app_exchange_push_or_hold(exchange, open->public.ring, &message))
        return -EAGAIN;
    open->public.end_sent = true;
    return 0;
}

int app_response_body(struct app_exchange *exchange, struct app_request *request, struct bytes body, bool end,
                      size_t *ret_taken)
{
    struct open_request *open = open_request_of(request);
    if (open->orphan || request->fate == APP_REQUEST_CANCELLED)
        return -EPIPE;
    size_t taken = 0;
    while (taken < body.length) {
        int64_t r = send_piece(exchange, open, bytes_skip(body, taken), end);
        if (r < 0)
            break;
        taken += (size_t)r;
    }
    if (body.length == 0 && end) {
        int r = send_end(exchange, open, MESSAGE_END);
        if (r < 0)
            return r;
    } else if (taken == 0 && body.length > 0) {
        return -EAGAIN;
    }
    *ret_taken = taken;
    return 0;
}

/* The descriptor first, so that whoever takes the message finds it; and only where the message has room. */
static int hand_over(struct app_exchange *exchange, const struct open_request *open, const struct app_file *file)
{
    const struct file_handover handover = {
        .slot = open->public.slot,
        .generation = open->public.generation,
        .offset = file->offset,
        .length = file->length,
    };
    if (!app_exchange_has_room(exchange, open->public.ring))
        return -EAGAIN;
    int r = file_handover_send(exchange->rings[open->public.ring].files, &handover, file->fd);
    return r == -EAGAIN ? -ENOBUFS : r; /* nobody says when there is room on this channel: read it instead */
}

int app_response_file(struct app_exchange *exchange, struct app_request *request, struct app_response *head,
                      uint16_t status, int64_t content_length, const struct app_file *file, bool end)
{
    struct open_request *open = open_request_of(request);
    if (open->orphan || request->fate == APP_REQUEST_CANCELLED)
        return -EPIPE;
    int r = hand_over(exchange, open, file);
    if (r < 0)
        return r;
    struct message message = app_exchange_message(open, head != NULL ? MESSAGE_RESPONSE : MESSAGE_BODY);
    message.flags = end ? MESSAGE_FILE | MESSAGE_END : MESSAGE_FILE;
    if (head != NULL) {
        message.status = status;
        message.content_length = content_length;
        message.head_block = head->block;
        message.head_offset = block_pool_offset(&exchange->blocks, head->block);
        message.head_length = (uint32_t)head->head_length;
    }
    bool pushed = app_exchange_push_or_hold(exchange, request->ring, &message);
    assert(pushed); /* its place was seen free */
    if (head != NULL) {
        block_went_out(exchange, open, head->block);
        open->public.head_sent = true;
        *head = (struct app_response){};
    }
    open->public.end_sent = end;
    return 0;
}

int app_response_fail(struct app_exchange *exchange, struct app_request *request)
{
    struct open_request *open = open_request_of(request);
    if (open->orphan || request->end_sent)
        return 0;
    return send_end(exchange, open, MESSAGE_END | MESSAGE_FAILED);
}
