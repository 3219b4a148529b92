#include "daemon/io/metrics_page.h"

#include "daemon/exchange/field_block.h"

#include <assert.h>
#include <errno.h>

enum {
    HEAD_BYTES = 256,
    FAMILY_BYTES = 256, /* help and type */
    SAMPLE_BYTES = 160,
};

void metrics_page_deinit(struct metrics_page *page)
{
    app_memory_drop(page->memory);
    *page = (struct metrics_page){};
}

static struct bytes span_bytes(const struct io_core *core, struct arena_span span)
{
    return bytes_of(core->inbound.base + span.offset, span.length);
}

bool metrics_page_is_asked_for(const struct io_core *core, const struct http_exchange *exchange)
{
    const char *path = core->settings.metrics_path;
    if (path == NULL || !bytes_equal(span_bytes(core, exchange->record->path), bytes_of_string(path)))
        return false;
    return exchange->is_head || bytes_equal(span_bytes(core, exchange->record->method), BYTES_LITERAL("GET"));
}

static size_t write_head(uint8_t *head)
{
    size_t used = 0;
    bool fits =
        field_block_append(head, HEAD_BYTES, &used, BYTES_LITERAL("Content-Type"), BYTES_LITERAL(METRICS_CONTENT_TYPE));
    fits =
        fits && field_block_append(head, HEAD_BYTES, &used, BYTES_LITERAL("Cache-Control"), BYTES_LITERAL("no-store"));
    assert(fits);
    return used;
}

static size_t write_body(const struct io_core *core, char *body, size_t capacity)
{
    struct metrics_source sources[LAYOUT_RINGS_MAX];
    const uint32_t rings = core->setup.shape.rings;
    for (uint32_t ring = 0; ring < rings; ring++)
        sources[ring] = (struct metrics_source){.metrics = io_core_metrics_of(core, ring), .ring = ring};
    int64_t length = metrics_expose(sources, rings, body, capacity);
    assert(length > 0); /* names and numbers are of bounded length */
    return (size_t)length;
}

static int make(struct metrics_page *page, const struct io_core *core)
{
    const size_t capacity = (size_t)METRIC_COUNT * (FAMILY_BYTES + (size_t)core->setup.shape.rings * SAMPLE_BYTES);
    struct app_memory *memory;
    int r = app_memory_create_private(HEAD_BYTES + capacity, &memory);
    if (r < 0)
        return r;
    uint8_t *at = memory->outbound.base;
    metrics_page_deinit(page);
    *page = (struct metrics_page){
        .memory = memory,
        .made_ms = core->now_ms,
        .head = bytes_of(at, write_head(at)),
        .body = bytes_of(at + HEAD_BYTES, write_body(core, (char *)at + HEAD_BYTES, capacity)),
    };
    return 0;
}

int metrics_page_reply(struct metrics_page *page, const struct io_core *core, struct reply *ret_reply)
{
    if (page->memory == NULL || core->now_ms - page->made_ms >= METRICS_PAGE_FRESH_MS) {
        int r = make(page, core);
        if (r < 0)
            return r;
    }
    *ret_reply = (struct reply){
        .kind = MESSAGE_RESPONSE,
        .flags = MESSAGE_END,
        .status = 200,
        .content_length = (int64_t)page->body.length,
        .head = page->head,
        .body = page->body,
        .head_block = MESSAGE_NO_BLOCK,
        .body_block = MESSAGE_NO_BLOCK,
        .memory = page->memory,
    };
    return 0;
}
