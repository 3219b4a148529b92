/*
 * HTTP/2 flood: what a peer may do cheaply that costs us, counted and weighed (security.md, H2-01 to H2-25).
 *
 * Oddities have weights, called glitches, and are taken from a bucket that refills slowly. What is usual in small
 * numbers has a number that is free; beyond it each is a glitch, or ends the connection at once.
 */
#ifndef PROTO_HTTP2_FLOOD_H
#define PROTO_HTTP2_FLOOD_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HTTP2_GLITCH_BURST = 1'000,
    HTTP2_GLITCHES_PER_SECOND = 33,
    HTTP2_GLITCH_WARNING = 250, /* so many left, 75 % used: new streams should go elsewhere */

    HTTP2_WEIGHT_RESET_BY_PEER = 5,            /* H2-01: a client's RST_STREAM of what we have not finished */
    HTTP2_WEIGHT_MADE_RESET = 10,              /* H2-02: it broke a rule of the stream so that we reset it */
    HTTP2_WEIGHT_REFUSED = 2,                  /* H2-19 */
    HTTP2_WEIGHT_ODD = 1,                      /* H2-17, and others that are merely odd */
    HTTP2_WEIGHT_ALL = HTTP2_GLITCH_BURST + 1, /* more than any bucket holds */

    HTTP2_UPDATES_PER_DATA = 10,    /* H2-11: WINDOW_UPDATE for each DATA frame of ours */
    HTTP2_EMPTY_FRAMES_MAX = 10,    /* H2-09, of one stream */
    HTTP2_SETTINGS_ENTRIES_MAX = 32 /* H2-06, of one frame */
};

struct http2_glitches {
    uint32_t tokens;
    uint64_t refilled_ms;
    bool warned; /* 75 % used: a graceful GOAWAY has been asked for */
};

enum http2_flood {
    HTTP2_FLOOD_SETTINGS,      /* H2-06 */
    HTTP2_FLOOD_PING,          /* H2-07; one for each DATA frame of ours is usual, too */
    HTTP2_FLOOD_PRIORITY,      /* H2-10, PRIORITY and PRIORITY_UPDATE */
    HTTP2_FLOOD_WINDOW_UPDATE, /* H2-11 */
    HTTP2_FLOOD_UNKNOWN,       /* H2-25, unknown frames and GOAWAY */
    HTTP2_FLOODS
};

struct http2_counts {
    struct {
        uint32_t free_left;
        uint64_t since_ms;
    } floods[HTTP2_FLOODS];
    uint32_t request_count;
    int64_t overhead_excess; /* H2-20: framing and padding beyond payload */
    uint64_t overhead_since_ms;
};

void http2_flood_init(struct http2_counts *counts, struct http2_glitches *glitches, uint64_t now_ms);

/* Takes `weight` out of the bucket; false: so much was not in it. */
[[nodiscard]] bool http2_flood_take(struct http2_glitches *glitches, uint32_t weight, uint64_t now_ms);

/* One more of its kind: the glitches that it costs. */
uint32_t http2_flood_weight(struct http2_counts *counts, enum http2_flood flood, uint64_t now_ms);
/* What we did ourselves makes so many more of a kind usual. */
void http2_flood_allow(struct http2_counts *counts, enum http2_flood flood, uint32_t count);

/* H2-20: octets of framing and padding, and of payload. false: over a minute there was far more of the former. */
[[nodiscard]] bool http2_flood_ratio(struct http2_counts *counts, uint32_t overhead, uint32_t payload, uint64_t now_ms);

#endif
