#include "daemon/exchange/layout.h"

#include <errno.h>

enum { PAGE_BYTES = 4096 };

static bool power_of_two(uint32_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static uint64_t pages(uint64_t bytes)
{
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static uint64_t block_bytes(uint32_t small, uint32_t large)
{
    return (uint64_t)small * LAYOUT_SMALL_BLOCK_BYTES + (uint64_t)large * LAYOUT_LARGE_BLOCK_BYTES;
}

static uint64_t record_bytes(const struct exchange_shape *shape)
{
    uint64_t bytes = sizeof(struct slot_record) + (uint64_t)shape->fields_max * sizeof(struct slot_field);
    return (bytes + 63) / 64 * 64;
}

static uint64_t inbound_bytes(const struct exchange_shape *shape)
{
    return PAGE_BYTES + pages((uint64_t)shape->apps * sizeof(struct queue_ends)) +
           pages((uint64_t)shape->apps * shape->request_entries * sizeof(struct message)) +
           pages(shape->slots * record_bytes(shape)) + pages((uint64_t)shape->recv_buffers * shape->recv_buffer_bytes) +
           pages((uint64_t)shape->upload_buffers * shape->upload_buffer_bytes) +
           block_bytes(shape->staging_small, shape->staging_large);
}

static uint64_t outbound_bytes(const struct exchange_shape *shape)
{
    return PAGE_BYTES + pages((uint64_t)shape->rings * sizeof(struct queue_ends)) +
           pages((uint64_t)shape->rings * shape->reply_entries * sizeof(struct message)) +
           block_bytes(shape->outbound_small, shape->outbound_large);
}

int exchange_shape_check(const struct exchange_shape *shape)
{
    const uint32_t buffer_bytes_max = 1 << 20;
    const uint32_t buffers_max = 32'768;
    const uint32_t blocks_max = 1 << 16;

    if (shape->version != EXCHANGE_VERSION)
        return -EINVAL;
    if (shape->rings == 0 || shape->rings > LAYOUT_RINGS_MAX || shape->apps == 0 || shape->apps > LAYOUT_APPS_MAX)
        return -EINVAL;
    if (shape->slots == 0 || shape->slots > LAYOUT_SLOTS_MAX || shape->fields_max > LAYOUT_FIELDS_MAX)
        return -EINVAL;
    if (!power_of_two(shape->request_entries) || shape->request_entries > LAYOUT_QUEUE_MAX ||
        !power_of_two(shape->reply_entries) || shape->reply_entries > LAYOUT_QUEUE_MAX)
        return -EINVAL;
    if (!power_of_two(shape->recv_buffers) || shape->recv_buffers > buffers_max ||
        !power_of_two(shape->upload_buffers) || shape->upload_buffers > buffers_max)
        return -EINVAL;
    if (shape->recv_buffer_bytes > buffer_bytes_max || shape->upload_buffer_bytes > buffer_bytes_max)
        return -EINVAL;
    if (shape->staging_small > blocks_max || shape->staging_large > blocks_max || shape->outbound_small > blocks_max ||
        shape->outbound_large > blocks_max)
        return -EINVAL;
    if (inbound_bytes(shape) > UINT32_MAX || outbound_bytes(shape) > UINT32_MAX)
        return -EINVAL;
    return 0;
}

void inbound_layout_compute(const struct exchange_shape *shape, struct inbound_layout *ret_layout)
{
    struct inbound_layout layout = {.record_bytes = (uint32_t)record_bytes(shape)};
    uint64_t at = PAGE_BYTES;

    layout.queues = (uint32_t)at;
    at += pages((uint64_t)shape->apps * sizeof(struct queue_ends));
    layout.entries = (uint32_t)at;
    at += pages((uint64_t)shape->apps * shape->request_entries * sizeof(struct message));
    layout.records = (uint32_t)at;
    at += pages((uint64_t)shape->slots * layout.record_bytes);
    layout.recv_buffers = (uint32_t)at;
    at += pages((uint64_t)shape->recv_buffers * shape->recv_buffer_bytes);
    layout.upload_buffers = (uint32_t)at;
    at += pages((uint64_t)shape->upload_buffers * shape->upload_buffer_bytes);
    layout.staging = (uint32_t)at;
    at += block_bytes(shape->staging_small, shape->staging_large);
    layout.bytes = (uint32_t)at;
    *ret_layout = layout;
}

void outbound_layout_compute(const struct exchange_shape *shape, struct outbound_layout *ret_layout)
{
    struct outbound_layout layout = {};
    uint64_t at = PAGE_BYTES;

    layout.queues = (uint32_t)at;
    at += pages((uint64_t)shape->rings * sizeof(struct queue_ends));
    layout.entries = (uint32_t)at;
    at += pages((uint64_t)shape->rings * shape->reply_entries * sizeof(struct message));
    layout.blocks = (uint32_t)at;
    at += block_bytes(shape->outbound_small, shape->outbound_large);
    layout.bytes = (uint32_t)at;
    *ret_layout = layout;
}

size_t pair_page_bytes(const struct exchange_shape *shape)
{
    return pages(sizeof(struct pair_page) + (uint64_t)shape->slots * sizeof(uint32_t));
}

static struct queue_ends *ends_at(const struct arena *arena, uint32_t queues, uint32_t index)
{
    return (struct queue_ends *)(void *)(arena->base + queues) + index;
}

static struct message *entries_at(const struct arena *arena, uint32_t entries, uint32_t index, uint32_t count)
{
    return (struct message *)(void *)(arena->base + entries) + (size_t)index * count;
}

void layout_request_writer(const struct exchange_shape *shape, const struct arena *inbound,
                           const struct arena *outbound, uint32_t ring, uint32_t app, uint32_t epoch,
                           struct spsc_writer *ret_writer)
{
    struct inbound_layout in;
    struct outbound_layout out;
    inbound_layout_compute(shape, &in);
    outbound_layout_compute(shape, &out);
    *ret_writer = (struct spsc_writer){
        .entries = entries_at(inbound, in.entries, app, shape->request_entries),
        .tail = &ends_at(inbound, in.queues, app)->tail,
        .head = &ends_at(outbound, out.queues, ring)->head,
        .capacity = shape->request_entries,
        .epoch = epoch,
    };
}

void layout_request_reader(const struct exchange_shape *shape, const struct arena *inbound,
                           const struct arena *outbound, uint32_t ring, uint32_t app, uint32_t epoch,
                           struct spsc_reader *ret_reader)
{
    struct spsc_writer writer;
    layout_request_writer(shape, inbound, outbound, ring, app, epoch, &writer);
    *ret_reader = (struct spsc_reader){
        .entries = writer.entries,
        .tail = writer.tail,
        .head = (struct spsc_position *)(uintptr_t)writer.head,
        .capacity = writer.capacity,
        .epoch = epoch,
    };
}

void layout_reply_writer(const struct exchange_shape *shape, const struct arena *inbound, const struct arena *outbound,
                         uint32_t ring, uint32_t app, uint32_t epoch, struct spsc_writer *ret_writer)
{
    struct inbound_layout in;
    struct outbound_layout out;
    inbound_layout_compute(shape, &in);
    outbound_layout_compute(shape, &out);
    *ret_writer = (struct spsc_writer){
        .entries = entries_at(outbound, out.entries, ring, shape->reply_entries),
        .tail = &ends_at(outbound, out.queues, ring)->tail,
        .head = &ends_at(inbound, in.queues, app)->head,
        .capacity = shape->reply_entries,
        .epoch = epoch,
    };
}

void layout_reply_reader(const struct exchange_shape *shape, const struct arena *inbound, const struct arena *outbound,
                         uint32_t ring, uint32_t app, uint32_t epoch, struct spsc_reader *ret_reader)
{
    struct spsc_writer writer;
    layout_reply_writer(shape, inbound, outbound, ring, app, epoch, &writer);
    *ret_reader = (struct spsc_reader){
        .entries = writer.entries,
        .tail = writer.tail,
        .head = (struct spsc_position *)(uintptr_t)writer.head,
        .capacity = writer.capacity,
        .epoch = epoch,
    };
}
