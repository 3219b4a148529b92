#include "daemon/io/timer_wheel.h"

#include <assert.h>

enum { DIGIT_BITS = 6, DIGIT_MASK = TIMER_WHEEL_SLOTS - 1 };
static_assert(TIMER_WHEEL_SLOTS == 1 << DIGIT_BITS, "a digit of the tick is the index of a slot");

/* The last tick of 64-bit time. It is never reached, so a deadline of UINT64_MAX never comes. */
#define TICK_MAX (UINT64_MAX / TIMER_WHEEL_TICK_MS)
static_assert(TICK_MAX >> (DIGIT_BITS * (TIMER_WHEEL_LEVELS - 1)) < TIMER_WHEEL_SLOTS, "the levels hold any tick");

static uint64_t tick_of_deadline(uint64_t deadline_ms)
{
    uint64_t tick = deadline_ms / TIMER_WHEEL_TICK_MS;
    bool round_up = deadline_ms % TIMER_WHEEL_TICK_MS != 0 && tick < TICK_MAX;
    return round_up ? tick + 1 : tick;
}

static uint64_t tick_of_now(uint64_t now_ms)
{
    uint64_t tick = now_ms / TIMER_WHEEL_TICK_MS;
    return tick < TICK_MAX ? tick : TICK_MAX - 1;
}

/* Which level an entry of `tick` stands on: that of the highest digit in which it differs from the wheel's. */
static unsigned level_of(const struct timer_wheel *wheel, uint64_t tick)
{
    uint64_t difference = (tick ^ wheel->tick) | DIGIT_MASK;
    return (63 - (unsigned)__builtin_clzll(difference)) / DIGIT_BITS;
}

static unsigned index_of(uint64_t tick, unsigned level)
{
    return (unsigned)(tick >> (level * DIGIT_BITS)) & DIGIT_MASK;
}

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms)
{
    *wheel = (struct timer_wheel){.tick = tick_of_now(now_ms)};
    wheel->floor_tick = wheel->tick + 1;
    for (unsigned level = 0; level < TIMER_WHEEL_LEVELS; level++)
        for (unsigned i = 0; i < TIMER_WHEEL_SLOTS; i++) {
            struct timer_entry *head = &wheel->slots[level][i];
            head->next = head->prev = head;
        }
}

static void place(struct timer_wheel *wheel, struct timer_entry *entry, uint64_t tick)
{
    unsigned level = level_of(wheel, tick);
    unsigned i = index_of(tick, level);
    struct timer_entry *head = &wheel->slots[level][i];

    entry->next = head;
    entry->prev = head->prev;
    head->prev->next = entry;
    head->prev = entry;
    wheel->occupied[level] |= 1ULL << i;
}

/* The head of a list is known by its address, so an entry need not remember where it stands. */
static void forget_slot(struct timer_wheel *wheel, const struct timer_entry *head)
{
    size_t position = (size_t)(head - &wheel->slots[0][0]);
    wheel->occupied[position / TIMER_WHEEL_SLOTS] &= ~(1ULL << (position % TIMER_WHEEL_SLOTS));
}

static void unlink_entry(struct timer_wheel *wheel, struct timer_entry *entry)
{
    struct timer_entry *next = entry->next;
    struct timer_entry *prev = entry->prev;
    next->prev = prev;
    prev->next = next;
    if (next == prev) /* only the head is left: two entries cannot be the same neighbour on both sides */
        forget_slot(wheel, next);
    entry->next = entry->prev = NULL;
}

void timer_wheel_arm(struct timer_wheel *wheel, struct timer_entry *entry, uint64_t deadline_ms)
{
    timer_wheel_disarm(wheel, entry);

    /* The moved deadline is stored, for a fall from level to level computes the tick anew and must find the same. */
    uint64_t tick = tick_of_deadline(deadline_ms);
    if (tick < wheel->floor_tick) {
        tick = wheel->floor_tick;
        deadline_ms = tick * TIMER_WHEEL_TICK_MS;
    }
    entry->deadline_ms = deadline_ms;
    place(wheel, entry, tick);
    wheel->count++;
}

void timer_wheel_disarm(struct timer_wheel *wheel, struct timer_entry *entry)
{
    if (!timer_armed(entry))
        return;
    unlink_entry(wheel, entry);
    wheel->count--;
}

/* The first tick of the first occupied slot; everything on a lower level comes before everything on a higher one. */
static bool first_slot(const struct timer_wheel *wheel, unsigned *ret_level, uint64_t *ret_tick)
{
    for (unsigned level = 0; level < TIMER_WHEEL_LEVELS; level++) {
        if (!wheel->occupied[level])
            continue;
        uint64_t i = (uint64_t)__builtin_ctzll(wheel->occupied[level]);
        unsigned shift = level * DIGIT_BITS;
        uint64_t digits_above = wheel->tick >> shift & ~(uint64_t)DIGIT_MASK;
        *ret_level = level;
        *ret_tick = (digits_above | i) << shift;
        return true;
    }
    return false;
}

/* The wheel has reached the first tick of a wide slot: its entries now differ from the wheel in lower digits only. */
static void spread(struct timer_wheel *wheel, struct timer_entry *head)
{
    struct timer_entry *entry = head->next;
    head->next = head->prev = head;
    forget_slot(wheel, head);

    while (entry != head) {
        struct timer_entry *next = entry->next;
        place(wheel, entry, tick_of_deadline(entry->deadline_ms));
        entry = next;
    }
}

/* One at a time from the front, because the callback may disarm any of the others. */
static size_t expire(struct timer_wheel *wheel, struct timer_entry *head, timer_expired *expired, void *context)
{
    size_t count = 0;
    while (head->next != head) {
        struct timer_entry *entry = head->next;
        timer_wheel_disarm(wheel, entry);
        count++;
        expired(entry, context);
    }
    return count;
}

size_t timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms, timer_expired *expired, void *context)
{
    uint64_t target = tick_of_now(now_ms);
    if (target <= wheel->tick)
        return 0;
    wheel->floor_tick = target + 1;

    size_t count = 0;
    unsigned level;
    uint64_t tick;
    while (first_slot(wheel, &level, &tick) && tick <= target) {
        struct timer_entry *head = &wheel->slots[level][index_of(tick, level)];
        wheel->tick = tick;
        if (level == 0)
            count += expire(wheel, head, expired, context);
        else
            spread(wheel, head);
    }
    wheel->tick = target;
    return count;
}

uint64_t timer_wheel_next_ms(const struct timer_wheel *wheel)
{
    unsigned level;
    uint64_t tick;
    return first_slot(wheel, &level, &tick) ? tick * TIMER_WHEEL_TICK_MS : UINT64_MAX;
}

static size_t validate_slot(const struct timer_wheel *wheel, unsigned level, unsigned i)
{
    const struct timer_entry *head = &wheel->slots[level][i];
    size_t count = 0;
    for (const struct timer_entry *entry = head->next; entry != head; entry = entry->next) {
        uint64_t tick = tick_of_deadline(entry->deadline_ms);
        assert(entry->next->prev == entry);
        assert(entry->prev->next == entry);
        assert(tick > wheel->tick);
        assert(level_of(wheel, tick) == level);
        assert(index_of(tick, level) == i);
        count++;
    }
    assert((count != 0) == ((wheel->occupied[level] >> i & 1) != 0));
    return count;
}

void timer_wheel_validate(const struct timer_wheel *wheel)
{
    size_t count = 0;
    for (unsigned level = 0; level < TIMER_WHEEL_LEVELS; level++)
        for (unsigned i = 0; i < TIMER_WHEEL_SLOTS; i++)
            count += validate_slot(wheel, level, i);
    assert(count == wheel->count);
    assert(wheel->floor_tick > wheel->tick);
}
