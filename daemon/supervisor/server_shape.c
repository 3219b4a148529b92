#include "daemon/supervisor/server_shape.h"

#include "daemon/exchange/message.h"

#include <errno.h>
#include <stdio.h>

enum {
    SPARE_APPS = 8,            /* beyond two generations: those that still drain, and more of them by SIGTTIN */
    QUEUED_BEYOND_PLACES = 64, /* DESIGN 3: requests that a pair may hold unbegun */
    REQUEST_ENTRIES_MIN = 256,
    REQUEST_ENTRIES_SPARE = 64, /* cancels and returned blocks want room too */
    REPLY_ENTRIES = 1'024,
    STAGING_SMALL = 1'024,
    STAGING_LARGE = 256,
    OUTBOUND_SMALL = 1'024,
};

/* The class is not known before the application is loaded, unless the settings name it. */
static uint32_t places_hint(const struct settings *settings)
{
    int64_t threads = settings->worker_class == WORKER_CLASS_ASGI ? 0 : settings->threads;
    bool connections_count = settings->worker_class == WORKER_CLASS_ASGI || settings->worker_class == WORKER_CLASS_AUTO;
    int64_t connections = connections_count ? settings->worker_connections : 0;
    int64_t places = threads > connections ? threads : connections;
    return places < LAYOUT_QUEUE_MAX / 4 ? (uint32_t)places : LAYOUT_QUEUE_MAX / 4;
}

static uint32_t power_of_two_from(uint32_t least)
{
    uint32_t value = 1;
    while (value < least)
        value *= 2;
    return value;
}

static uint32_t request_entries(const struct settings *settings)
{
    uint32_t wanted = 2 * (places_hint(settings) + QUEUED_BEYOND_PLACES) + REQUEST_ENTRIES_SPARE;
    return power_of_two_from(wanted > REQUEST_ENTRIES_MIN ? wanted : REQUEST_ENTRIES_MIN);
}

static uint32_t outbound_large(const struct settings *settings)
{
    const int64_t small_bytes = (int64_t)OUTBOUND_SMALL * LAYOUT_SMALL_BLOCK_BYTES;
    int64_t count = (settings->outbound_arena - small_bytes) / LAYOUT_LARGE_BLOCK_BYTES;
    return count > 1 ? (uint32_t)count : 1;
}

static uint32_t apps(const struct settings *settings)
{
    const int64_t templates = settings->preload_app ? 2 : 0;
    int64_t count = 2 * settings->workers + SPARE_APPS + templates;
    return count < LAYOUT_APPS_MAX ? (uint32_t)count : LAYOUT_APPS_MAX;
}

int server_shape_compute(const struct settings *settings, struct exchange_shape *ret_shape, char *why, size_t bytes)
{
    const struct exchange_shape shape = {
        .version = EXCHANGE_VERSION,
        .rings = (uint32_t)settings->rings,
        .apps = apps(settings),
        .slots = (uint32_t)settings->request_slots,
        .fields_max = (uint32_t)settings->limit_request_fields + 1, /* `host`, which HTTP/2 sends as no field */
        .request_entries = request_entries(settings),
        .reply_entries = REPLY_ENTRIES,
        .recv_buffers = (uint32_t)settings->recv_buffers,
        .recv_buffer_bytes = (uint32_t)settings->recv_buffer_size,
        .upload_buffers = (uint32_t)settings->upload_buffers,
        .upload_buffer_bytes = (uint32_t)settings->upload_buffer_size,
        .staging_small = STAGING_SMALL,
        .staging_large = STAGING_LARGE,
        .outbound_small = OUTBOUND_SMALL,
        .outbound_large = outbound_large(settings),
    };
    if (settings->workers > server_shape_workers_max(&shape)) {
        snprintf(why, bytes, "workers = %lld: at most %u fit, so that a reload finds room for as many again",
                 (long long)settings->workers, server_shape_workers_max(&shape));
        return -EINVAL;
    }
    int r = exchange_shape_check(&shape);
    if (r < 0) {
        snprintf(why, bytes,
                 "rings, workers, request_slots, outbound_arena, recv_buffers and upload_buffers together "
                 "ask for more shared memory than 4 GiB, or one of them is out of bounds");
        return r;
    }
    *ret_shape = shape;
    return 0;
}

uint32_t server_shape_workers_max(const struct exchange_shape *shape)
{
    return shape->apps / 2;
}

uint32_t server_shape_places_max(const struct exchange_shape *shape)
{
    return (shape->request_entries - REQUEST_ENTRIES_SPARE) / 2 - QUEUED_BEYOND_PLACES;
}
