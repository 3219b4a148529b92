#include "daemon/io/output_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void output_pools_init(struct output_pools *pools)
{
    *pools = (struct output_pools){};
    slab_init(&pools->pieces, sizeof(struct output_piece), 256);
    slab_init(&pools->scratches, sizeof(struct output_scratch) + OUTPUT_SCRATCH_BYTES, 16);
    slab_init(&pools->files, sizeof(struct output_file), 64);
}

void output_pools_deinit(struct output_pools *pools)
{
    slab_deinit(&pools->pieces);
    slab_deinit(&pools->scratches);
    slab_deinit(&pools->files);
    free(pools->sink);
    pools->sink = NULL;
}

uint8_t *output_pools_sink(struct output_pools *pools)
{
    if (pools->sink == NULL)
        pools->sink = malloc(OUTPUT_SINK_BYTES);
    return pools->sink;
}

void output_queue_init(struct output_queue *queue, struct output_pools *pools)
{
    *queue = (struct output_queue){.pools = pools};
}

static struct output_scratch *scratch_create(struct output_pools *pools, uint32_t bytes)
{
    bool usual = bytes <= OUTPUT_SCRATCH_BYTES;
    struct output_scratch *scratch = usual ? slab_borrow(&pools->scratches) : malloc(sizeof *scratch + bytes);
    if (scratch == NULL)
        return NULL;
    pools->large_bytes += usual ? 0 : sizeof *scratch + bytes;
    *scratch = (struct output_scratch){.capacity = usual ? (uint32_t)OUTPUT_SCRATCH_BYTES : bytes, .holders = 1};
    return scratch;
}

struct output_scratch *output_scratch_create_detached(struct output_pools *pools, uint32_t bytes, uint64_t bytes_max)
{
    const uint32_t takes = bytes > OUTPUT_SCRATCH_BYTES ? bytes : (uint32_t)OUTPUT_SCRATCH_BYTES;
    struct output_scratch *scratch = takes <= bytes_max ? scratch_create(pools, bytes) : NULL;
    if (scratch == NULL)
        return NULL;
    scratch->used = bytes;
    scratch->detached = takes;
    pools->detached_bytes += takes;
    return scratch;
}

void output_scratch_drop(struct output_pools *pools, struct output_scratch *scratch)
{
    assert(scratch->holders > 0);
    if (--scratch->holders > 0)
        return;
    pools->detached_bytes -= scratch->detached;
    pools->file_bytes -= scratch->file_bytes;
    if (scratch->capacity == OUTPUT_SCRATCH_BYTES) {
        slab_give_back(&pools->scratches, scratch);
        return;
    }
    pools->large_bytes -= sizeof *scratch + scratch->capacity;
    free(scratch);
}

struct output_file *output_file_create(struct output_pools *pools, int fd)
{
    struct output_file *file = slab_borrow(&pools->files);
    if (file == NULL) {
        close(fd);
        return NULL;
    }
    *file = (struct output_file){.fd = fd, .holders = 1};
    return file;
}

void output_file_drop(struct output_pools *pools, struct output_file *file)
{
    if (file == NULL)
        return;
    assert(file->holders > 0);
    if (--file->holders > 0)
        return;
    close(file->fd);
    slab_give_back(&pools->files, file);
}

static void let_go(struct output_pools *pools, struct output_piece *piece)
{
    if (piece->memory != NULL) {
        app_memory_give_back(piece->memory, piece->block);
        app_memory_drop(piece->memory);
    }
    if (piece->scratch != NULL)
        output_scratch_drop(pools, piece->scratch);
    output_file_drop(pools, piece->file);
    piece->memory = NULL;
    piece->scratch = NULL;
    piece->file = NULL;
}

static struct output_piece *unlink_first(struct output_queue *queue)
{
    struct output_piece *piece = queue->first;
    queue->first = piece->next;
    if (queue->first == NULL)
        queue->last = NULL;
    queue->piece_count--;
    return piece;
}

static void pop(struct output_queue *queue)
{
    struct output_piece *piece = unlink_first(queue);
    let_go(queue->pools, piece);
    slab_give_back(&queue->pools->pieces, piece);
}

void output_queue_deinit(struct output_queue *queue)
{
    if (queue->pools == NULL)
        return;
    while (queue->first != NULL)
        pop(queue);
    if (queue->filling != NULL)
        output_scratch_drop(queue->pools, queue->filling);
    *queue = (struct output_queue){};
}

static void link_last(struct output_queue *queue, struct output_piece *piece)
{
    piece->next = NULL;
    if (queue->last != NULL)
        queue->last->next = piece;
    else
        queue->first = piece;
    queue->last = piece;
    queue->piece_count++;
}

static struct output_piece *append(struct output_queue *queue)
{
    struct output_piece *piece = slab_borrow(&queue->pools->pieces);
    if (piece == NULL)
        return NULL;
    *piece = (struct output_piece){.block = MESSAGE_NO_BLOCK};
    link_last(queue, piece);
    return piece;
}

uint8_t *output_queue_reserve(struct output_queue *queue, uint32_t bytes, uint32_t *ret_capacity)
{
    struct output_scratch *scratch = queue->filling;
    if (scratch == NULL || scratch->capacity - scratch->used < bytes) {
        struct output_scratch *fresh = scratch_create(queue->pools, bytes);
        if (fresh == NULL)
            return NULL;
        if (scratch != NULL)
            output_scratch_drop(queue->pools, scratch);
        queue->filling = scratch = fresh;
    }
    *ret_capacity = scratch->capacity - scratch->used;
    return scratch->data + scratch->used;
}

/* Whether the queue ends in the octets just before those at `data`, so that they can be one piece. */
static bool joins_last(const struct output_queue *queue, const uint8_t *data)
{
    const struct output_piece *last = queue->last;
    return last != NULL && last != queue->in_flight_last && last->scratch == queue->filling &&
           last->data + last->length == data;
}

void output_queue_commit(struct output_queue *queue, uint32_t bytes)
{
    struct output_scratch *scratch = queue->filling;
    const uint8_t *data = scratch->data + scratch->used;
    assert(bytes <= scratch->capacity - scratch->used);
    scratch->used += bytes;
    queue->bytes += bytes;
    if (bytes == 0)
        return;
    if (joins_last(queue, data)) {
        queue->last->length += bytes;
        return;
    }
    struct output_piece *piece = append(queue);
    if (piece == NULL) {
        /* Out of memory for 56 octets: the connection cannot go on, and its bytes say so by being too few. */
        queue->bytes -= bytes;
        return;
    }
    scratch->holders++;
    piece->scratch = scratch;
    piece->data = data;
    piece->length = bytes;
}

int output_queue_copy(struct output_queue *queue, struct bytes data)
{
    uint32_t capacity;
    uint8_t *room = output_queue_reserve(queue, (uint32_t)data.length, &capacity);
    if (room == NULL)
        return -ENOMEM;
    memcpy(room, data.data, data.length);
    output_queue_commit(queue, (uint32_t)data.length);
    return 0;
}

int output_queue_lend(struct output_queue *queue, struct app_memory *memory, uint32_t block, struct bytes data)
{
    struct output_piece *piece = append(queue);
    if (piece == NULL)
        return -ENOMEM;
    app_memory_hold(memory);
    piece->memory = memory;
    piece->block = block;
    piece->data = data.data;
    piece->length = (uint32_t)data.length;
    queue->bytes += data.length;
    return 0;
}

struct output_scratch *output_scratch_create_file(struct output_pools *pools, uint32_t bytes)
{
    struct output_scratch *scratch = scratch_create(pools, bytes);
    if (scratch == NULL)
        return NULL;
    scratch->file_bytes = scratch->capacity;
    pools->file_bytes += scratch->capacity;
    return scratch;
}

int output_queue_adopt(struct output_queue *queue, struct output_scratch *scratch, struct bytes data)
{
    struct output_piece *piece = append(queue);
    if (piece == NULL)
        return -ENOMEM;
    scratch->holders++;
    piece->scratch = scratch;
    piece->data = data.data;
    piece->length = (uint32_t)data.length;
    queue->bytes += data.length;
    return 0;
}

/* One that is in flight as well: how much of it leaves is decided when the client takes something. */
static bool goes_on_with(const struct output_queue *queue, const struct output_file *file, uint64_t offset,
                         uint32_t length)
{
    const struct output_piece *last = queue->last;
    return last != NULL && last->file == file && last->offset + last->length == offset &&
           last->length <= UINT32_MAX - length;
}

int output_queue_append_file(struct output_queue *queue, struct output_file *file, uint64_t offset, uint32_t length)
{
    if (goes_on_with(queue, file, offset, length)) {
        queue->last->length += length;
        queue->bytes += length;
        return 0;
    }
    struct output_piece *piece = append(queue);
    if (piece == NULL)
        return -ENOMEM;
    file->holders++;
    piece->file = file;
    piece->offset = offset;
    piece->length = length;
    queue->bytes += length;
    return 0;
}

bool output_queue_begin_file(struct output_queue *queue)
{
    assert(queue->in_flight_pieces == 0);
    if (queue->first == NULL || queue->first->file == NULL)
        return false;
    queue->in_flight_pieces = 1;
    queue->in_flight_bytes = 0;
    return true;
}

struct output_file_part output_queue_file_part(const struct output_queue *queue, uint32_t max)
{
    const struct output_piece *piece = queue->first;
    assert(piece != NULL && piece->file != NULL);
    return (struct output_file_part){
        .fd = piece->file->fd,
        .length = piece->length < max ? piece->length : max,
        .offset = piece->offset,
    };
}

/* The first `bytes` of a piece leave it. */
static void shorten(struct output_piece *piece, uint32_t bytes)
{
    if (piece->file != NULL)
        piece->offset += bytes;
    else
        piece->data += bytes;
    piece->length -= bytes;
}

/* The first `bytes` of the first piece, which is longer, become the last piece of `to`. Both hold the block: the rest
 * is sent later, but detached or dropped it may well be the first to go. */
static int split_first(struct output_queue *from, struct output_queue *to, uint32_t bytes)
{
    struct output_piece *rest = from->first;
    struct output_piece *piece = append(to);
    if (piece == NULL)
        return -ENOMEM;
    struct output_piece *next = piece->next;
    *piece = *rest;
    piece->next = next;
    piece->length = bytes;
    if (piece->memory != NULL) {
        app_memory_hold(piece->memory);
        app_memory_share(piece->memory, piece->block);
    }
    if (piece->scratch != NULL)
        piece->scratch->holders++;
    if (piece->file != NULL)
        piece->file->holders++;
    shorten(rest, bytes);
    return 0;
}

int output_queue_move(struct output_queue *from, struct output_queue *to, uint32_t bytes)
{
    assert(bytes <= from->bytes && from->in_flight_pieces == 0 && from->pools == to->pools);
    while (bytes > 0) {
        uint32_t length = from->first->length;
        if (length > bytes) {
            length = bytes;
            if (split_first(from, to, bytes) < 0)
                return -ENOMEM;
        } else {
            link_last(to, unlink_first(from));
        }
        from->bytes -= length;
        to->bytes += length;
        bytes -= length;
    }
    if (from->first == NULL && from->filling != NULL && from->filling->holders == 1)
        from->filling->used = 0;
    return 0;
}

uint32_t output_queue_gather(struct output_queue *queue, struct iovec *parts)
{
    uint32_t count = 0;
    size_t bytes = 0;
    assert(queue->in_flight_pieces == 0);
    assert(queue->first == NULL || queue->first->file == NULL);
    for (struct output_piece *piece = queue->first; piece != NULL && count < OUTPUT_PARTS_MAX; piece = piece->next) {
        if (bytes >= OUTPUT_SEND_MAX || piece->file != NULL)
            break;
        parts[count++] = (struct iovec){(void *)(uintptr_t)piece->data, piece->length};
        bytes += piece->length;
        queue->in_flight_last = piece;
    }
    queue->in_flight_pieces = count;
    queue->in_flight_bytes = bytes;
    return count;
}

uint32_t output_queue_shorten(struct output_queue *queue, struct iovec *parts, uint64_t bytes)
{
    struct output_piece *piece = queue->first;
    uint32_t count = 0;
    assert(bytes > 0 && bytes <= queue->in_flight_bytes);
    queue->in_flight_bytes = bytes;
    for (; bytes > parts[count].iov_len; piece = piece->next)
        bytes -= parts[count++].iov_len;
    parts[count++].iov_len = (size_t)bytes;
    queue->in_flight_last = piece;
    queue->in_flight_pieces = count;
    return count;
}

void output_queue_sent(struct output_queue *queue, uint64_t bytes)
{
    assert(bytes <= queue->bytes);
    queue->in_flight_pieces = 0;
    queue->in_flight_last = NULL;
    queue->bytes -= bytes;
    while (queue->first != NULL && bytes >= queue->first->length) {
        bytes -= queue->first->length;
        pop(queue);
    }
    if (bytes > 0)
        shorten(queue->first, (uint32_t)bytes);
    if (queue->first == NULL && queue->filling != NULL && queue->filling->holders == 1)
        queue->filling->used = 0;
}

static bool detach_piece(struct output_queue *queue, struct output_piece *piece)
{
    struct output_scratch *scratch = scratch_create(queue->pools, piece->length);
    if (scratch == NULL)
        return false;
    memcpy(scratch->data, piece->data, piece->length);
    scratch->used = piece->length;
    scratch->detached = piece->length;
    queue->pools->detached_bytes += piece->length;
    let_go(queue->pools, piece);
    piece->scratch = scratch;
    piece->data = scratch->data;
    piece->block = MESSAGE_NO_BLOCK;
    return true;
}

/* Behind the octets of the piece before it, where that was detached as well and its buffer has room: else an
 * application that sends single octets would fill a buffer for each. */
static bool join_detached(struct output_queue *queue, struct output_piece *before, struct output_piece *piece)
{
    struct output_scratch *scratch = before != NULL ? before->scratch : NULL;
    if (scratch == NULL || scratch->detached == 0 || scratch->capacity - scratch->used < piece->length ||
        before->data + before->length != scratch->data + scratch->used)
        return false;
    memcpy(scratch->data + scratch->used, piece->data, piece->length);
    scratch->used += piece->length;
    scratch->detached += piece->length;
    before->length += piece->length;
    queue->pools->detached_bytes += piece->length;
    before->next = piece->next;
    if (queue->last == piece)
        queue->last = before;
    queue->piece_count--;
    let_go(queue->pools, piece);
    slab_give_back(&queue->pools->pieces, piece);
    return true;
}

void output_queue_detach(struct output_queue *queue, uint32_t queue_max, uint64_t total_max)
{
    uint32_t in_flight = queue->in_flight_pieces;
    uint64_t detached = 0;
    struct output_piece *before = NULL, *next; /* `before`: not in flight */
    for (struct output_piece *piece = queue->first; piece != NULL; piece = next) {
        bool is_in_flight = in_flight > 0;
        next = piece->next;
        in_flight -= is_in_flight;
        if (piece->scratch != NULL)
            detached += piece->scratch->detached;
        if (is_in_flight)
            continue;
        if (piece->memory != NULL) {
            detached += piece->length;
            if (detached > queue_max || queue->pools->detached_bytes + piece->length > total_max)
                return;
            if (join_detached(queue, before, piece))
                continue;
            if (!detach_piece(queue, piece))
                return;
        }
        before = piece;
    }
}
