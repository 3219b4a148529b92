#include "daemon/supervisor/backoff.h"

#include <stdbool.h>

static uint64_t last_death_ms(const struct backoff *backoff)
{
    return backoff->deaths_ms[(backoff->count - 1) % BACKOFF_DEATHS];
}

/* Calm is counted from the moment at which the last replacement was allowed. */
static bool was_calm(const struct backoff *backoff, uint64_t now_ms)
{
    return backoff->count > 0 && now_ms - last_death_ms(backoff) > BACKOFF_WINDOW_MS + backoff->delay_ms;
}

static uint32_t longer(uint32_t delay_ms)
{
    if (delay_ms == 0)
        return BACKOFF_DELAY_MIN_MS;
    return delay_ms > BACKOFF_DELAY_MAX_MS / 2 ? BACKOFF_DELAY_MAX_MS : delay_ms * 2;
}

uint32_t backoff_after_death(struct backoff *backoff, uint64_t now_ms)
{
    if (was_calm(backoff, now_ms))
        *backoff = (struct backoff){};
    backoff->deaths_ms[backoff->count % BACKOFF_DEATHS] = now_ms;
    backoff->count++;
    if (backoff->count < BACKOFF_DEATHS)
        return 0;
    /* The oldest one kept. Once slowed down it stays so until it was calm: the delays themselves stretch the window. */
    uint64_t oldest_ms = backoff->deaths_ms[backoff->count % BACKOFF_DEATHS];
    if (backoff->delay_ms > 0 || now_ms - oldest_ms <= BACKOFF_WINDOW_MS)
        backoff->delay_ms = longer(backoff->delay_ms);
    return backoff->delay_ms;
}
