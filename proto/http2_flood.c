#include "proto/http2_flood.h"

enum { OVERHEAD_SPAN_MS = 60'000, OVERHEAD_EXCESS_MAX = 1'048'576, FREE_LEFT_MAX = 1'000'000 };

static const struct flood_rule {
    uint32_t free_count;
    uint32_t span_ms; /* 0: of the connection's whole life */
    uint32_t weight;  /* of each beyond */
} flood_rules[HTTP2_FLOODS] = {
    [HTTP2_FLOOD_SETTINGS] = {100, 10'000, HTTP2_WEIGHT_ALL}, [HTTP2_FLOOD_PING] = {10, 10'000, HTTP2_WEIGHT_ODD},
    [HTTP2_FLOOD_PRIORITY] = {100, 0, HTTP2_WEIGHT_ODD},      [HTTP2_FLOOD_WINDOW_UPDATE] = {100, 0, HTTP2_WEIGHT_ODD},
    [HTTP2_FLOOD_UNKNOWN] = {100, 0, HTTP2_WEIGHT_ODD},
};

void http2_flood_init(struct http2_counts *counts, struct http2_glitches *glitches, uint64_t now_ms)
{
    *counts = (struct http2_counts){.overhead_since_ms = now_ms};
    for (int i = 0; i < HTTP2_FLOODS; i++) {
        counts->floods[i].free_left = flood_rules[i].free_count;
        counts->floods[i].since_ms = now_ms;
    }
    *glitches = (struct http2_glitches){.tokens = HTTP2_GLITCH_BURST, .refilled_ms = now_ms};
}

static void refill(struct http2_glitches *glitches, uint64_t now_ms)
{
    if (glitches->tokens == HTTP2_GLITCH_BURST)
        glitches->refilled_ms = now_ms;
    uint64_t gained = (now_ms - glitches->refilled_ms) * HTTP2_GLITCHES_PER_SECOND / 1'000;
    if (gained >= HTTP2_GLITCH_BURST - glitches->tokens) {
        glitches->tokens = HTTP2_GLITCH_BURST;
        glitches->refilled_ms = now_ms;
        return;
    }
    glitches->tokens += (uint32_t)gained;
    /* What is left of a token's time stays to its credit: who is odd every 20 ms would never gain anything else. */
    glitches->refilled_ms += gained * 1'000 / HTTP2_GLITCHES_PER_SECOND;
}

bool http2_flood_take(struct http2_glitches *glitches, uint32_t weight, uint64_t now_ms)
{
    refill(glitches, now_ms);
    if (weight > glitches->tokens) {
        glitches->tokens = 0;
        return false;
    }
    glitches->tokens -= weight;
    return true;
}

uint32_t http2_flood_weight(struct http2_counts *counts, enum http2_flood flood, uint64_t now_ms)
{
    const struct flood_rule *rule = &flood_rules[flood];
    if (rule->span_ms > 0 && now_ms - counts->floods[flood].since_ms >= rule->span_ms) {
        if (counts->floods[flood].free_left < rule->free_count)
            counts->floods[flood].free_left = rule->free_count;
        counts->floods[flood].since_ms = now_ms;
    }
    if (counts->floods[flood].free_left == 0)
        return rule->weight;
    counts->floods[flood].free_left--;
    return 0;
}

void http2_flood_allow(struct http2_counts *counts, enum http2_flood flood, uint32_t count)
{
    uint32_t *left = &counts->floods[flood].free_left;
    *left = *left + count < FREE_LEFT_MAX ? *left + count : FREE_LEFT_MAX;
}

bool http2_flood_ratio(struct http2_counts *counts, uint32_t overhead, uint32_t payload, uint64_t now_ms)
{
    if (now_ms - counts->overhead_since_ms >= OVERHEAD_SPAN_MS) {
        counts->overhead_since_ms = now_ms;
        counts->overhead_excess = 0;
    }
    counts->overhead_excess += (int64_t)overhead - payload;
    return counts->overhead_excess <= OVERHEAD_EXCESS_MAX;
}
