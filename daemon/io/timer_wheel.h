/*
 * Timer wheel: every timeout of the I/O process, in one hierarchical wheel. Pure: time is an argument.
 *
 * Owns:    the lists; the entries lie inside the objects that wait, which disarm them before they go.
 * Threads: one.
 * Life:    an entry may be armed, armed again and disarmed at any time, also from the expiry callback.
 *
 * Level 0 has one slot per tick, each level above has slots 64 times as wide. An entry stands on the level of the
 * highest 6-bit digit in which its tick differs from the wheel's, so everything on a lower level comes before
 * everything on a higher one, and the next event is one bit scan away however far time jumps:
 *
 *      wheel at digits   ..  2  5 63          level 0: tick  ..  2  5 63 + n  within the same 64 ticks
 *      entry at digits   ..  2  9  7    ->    level 1, slot 9; falls to level 0 when the wheel reaches 2 9 0
 *
 * All ten levels together hold any 64-bit time, so there is no deadline too far away.
 */
#ifndef DAEMON_IO_TIMER_WHEEL_H
#define DAEMON_IO_TIMER_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TIMER_WHEEL_TICK_MS = 16, TIMER_WHEEL_SLOTS = 64, TIMER_WHEEL_LEVELS = 10 };

/* Embedded in what waits. A zeroed entry is a disarmed one. */
struct timer_entry {
    struct timer_entry *next; /* NULL: disarmed */
    struct timer_entry *prev;
    uint64_t deadline_ms; /* private once armed: one that was already past has been moved to the next tick */
};

struct timer_wheel {
    uint64_t tick;       /* all up to this one have expired */
    uint64_t floor_tick; /* the earliest one to arm for; beyond the target while timer_wheel_advance() runs */
    size_t count;        /* armed entries */
    uint64_t occupied[TIMER_WHEEL_LEVELS];
    struct timer_entry slots[TIMER_WHEEL_LEVELS][TIMER_WHEEL_SLOTS]; /* list heads */
};

/* The object this entry is a member of, for expiry callbacks. */
#define TIMER_OWNER(entry, type, member) ((type *)(void *)((char *)(entry)-offsetof(type, member)))

typedef void timer_expired(struct timer_entry *entry, void *context);

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms);

static inline bool timer_armed(const struct timer_entry *entry)
{
    return entry->next != NULL;
}

/* Expires in the first advance at or after `deadline_ms`, rounded up to a tick: never early, at most a tick late.
 * An armed entry is moved. Armed from an expiry callback it waits for a later advance, however small the deadline. */
void timer_wheel_arm(struct timer_wheel *wheel, struct timer_entry *entry, uint64_t deadline_ms);

/* A disarmed entry stays so. */
void timer_wheel_disarm(struct timer_wheel *wheel, struct timer_entry *entry);

/* Calls `expired` for each entry that is due, already disarmed, in the order of ticks. Returns how many. A time
 * before the last one changes nothing. */
size_t timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms, timer_expired *expired, void *context);

/* When to advance next; UINT64_MAX when nothing is armed. It may be before the first deadline, when entries have to
 * change level first; advancing then costs a few list moves and expires nothing. */
uint64_t timer_wheel_next_ms(const struct timer_wheel *wheel);

static inline size_t timer_wheel_count(const struct timer_wheel *wheel)
{
    return wheel->count;
}

/* Asserts every invariant. For tests: it visits every entry. */
void timer_wheel_validate(const struct timer_wheel *wheel);

#endif
