/*
 * Histogram of latencies: log-linear, 64 steps for each doubling, so a quantile is wrong by less than 1.6 %.
 *
 * Owns:    its counters, no heap. Values are nanoseconds; everything above about 18 minutes is counted as that.
 * Threads: one.
 */
#ifndef PERF_LOAD_HISTOGRAM_H
#define PERF_LOAD_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 64, HISTOGRAM_DOUBLINGS = 36, HISTOGRAM_BUCKETS = HISTOGRAM_STEPS * HISTOGRAM_DOUBLINGS };

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t max;
};

void histogram_add(struct histogram *histogram, uint64_t value, uint64_t count);

/* The value below which `share` (0 to 1) of all values lie; 0 when there are none. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

#endif
