/*
 * Backoff: how long to wait before a child that died is replaced.
 *
 * The first deaths are answered at once. From the third within ten seconds on, each waits twice as long as the one
 * before it, from 0.1 to 10 s; after a calm time all is forgiven.
 *
 * Owns:    nothing; time is an argument. A zeroed object is ready.
 */
#ifndef DAEMON_SUPERVISOR_BACKOFF_H
#define DAEMON_SUPERVISOR_BACKOFF_H

#include <stdint.h>

enum {
    BACKOFF_DEATHS = 3,
    BACKOFF_WINDOW_MS = 10'000,
    BACKOFF_DELAY_MIN_MS = 100,
    BACKOFF_DELAY_MAX_MS = 10'000,
};

struct backoff {
    uint64_t deaths_ms[BACKOFF_DEATHS]; /* the last ones, as a ring */
    uint32_t count;                     /* of the deaths since the last calm */
    uint32_t delay_ms;
};

/* Records a death; how long to wait with the replacement. */
uint32_t backoff_after_death(struct backoff *backoff, uint64_t now_ms);

#endif
