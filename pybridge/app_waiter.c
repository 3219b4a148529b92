#include "pybridge/app_exchange_state.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    STANDBY_TICK_MS = 1,
    STANDBY_IDLE_TICKS = 10,
    SLOW_APPLICATION_NS = 200'000,
};

enum waiter_word { WAITER_SLEEPS, WAITER_WOKEN, WAITER_TICKS };

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static bool futex_wait(_Atomic uint32_t *word, uint32_t expected, int timeout_ms)
{
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1'000'000L};
    long r = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, timeout_ms < 0 ? NULL : &timeout, NULL, 0);
    return !(r < 0 && errno == ETIMEDOUT);
}

static void waiter_signal(struct app_waiter *waiter, enum waiter_word word)
{
    uint32_t expected = WAITER_SLEEPS;
    /* Release: what the waiter will find was stored before; pairs with the acquire in app_exchange_sleep(). */
    if (word == WAITER_WOKEN)
        atomic_store_explicit(&waiter->word, WAITER_WOKEN, memory_order_release);
    else if (!atomic_compare_exchange_strong_explicit(&waiter->word, &expected, word, memory_order_release,
                                                      memory_order_relaxed))
        return;
    futex_wake(&waiter->word);
}

void app_waiter_wake_for_request(struct app_exchange *exchange, const struct app_request *request)
{
    for (struct app_waiter *waiter = exchange->waiters; waiter != NULL; waiter = waiter->next)
        if (waiter->request == request && !waiter->leads)
            waiter_signal(waiter, WAITER_WOKEN);
}

void app_waiter_wake_for_room(struct app_exchange *exchange)
{
    for (struct app_waiter *waiter = exchange->waiters; waiter != NULL; waiter = waiter->next)
        if (waiter->wants_room && !waiter->leads)
            waiter_signal(waiter, WAITER_WOKEN);
}

void app_waiter_wake_all(struct app_exchange *exchange)
{
    for (struct app_waiter *waiter = exchange->waiters; waiter != NULL; waiter = waiter->next)
        if (!waiter->leads)
            waiter_signal(waiter, WAITER_WOKEN);
}

/*
 * A thread is about to run application code. Somebody should look at the doorbell meanwhile; waking a thread for that
 * costs more than a quick request takes. So: where requests are slow one is woken at once; where they are quick the
 * standby looks in every millisecond whether anybody has looked at the queues, and takes over when not.
 */
void app_waiter_lead_on(struct app_exchange *exchange)
{
    if (exchange->waiters == NULL || atomic_load_explicit(&exchange->leader_present, memory_order_relaxed) != 0)
        return;
    if (exchange->application_ns >= SLOW_APPLICATION_NS || exchange->standby == NULL)
        waiter_signal(exchange->waiters, WAITER_WOKEN);
    else if (atomic_load_explicit(&exchange->standby_ticking, memory_order_seq_cst) == 0)
        waiter_signal(exchange->standby, WAITER_TICKS);
}

void app_waiter_link(struct app_exchange *exchange, struct app_waiter *waiter)
{
    waiter->previous = NULL;
    waiter->next = exchange->waiters;
    if (waiter->next != NULL)
        waiter->next->previous = waiter;
    exchange->waiters = waiter;
}

void app_waiter_unlink(struct app_exchange *exchange, struct app_waiter *waiter)
{
    if (waiter->previous != NULL)
        waiter->previous->next = waiter->next;
    else
        exchange->waiters = waiter->next;
    if (waiter->next != NULL)
        waiter->next->previous = waiter->previous;
    if (exchange->standby != waiter)
        return;
    exchange->standby = NULL;
    atomic_store_explicit(&exchange->standby_ticking, 0, memory_order_seq_cst);
}

void app_waiter_hand_on(struct app_exchange *exchange)
{
    for (struct app_waiter *waiter = exchange->waiters; waiter != NULL; waiter = waiter->next) {
        if (waiter->request != NULL || waiter->wants_room || waiter->leads)
            continue;
        waiter_signal(waiter, WAITER_WOKEN);
        return;
    }
}

/* The standby's tick: false when it has to take over, because no thread has looked at the queues for a whole tick. */
static bool standby_tick(struct app_exchange *exchange, uint64_t *epoch_seen, uint32_t *idle_ticks, bool *ticking)
{
    if (atomic_load_explicit(&exchange->leader_present, memory_order_seq_cst) != 0) {
        if (++*idle_ticks < STANDBY_IDLE_TICKS)
            return true;
        /* seq_cst: the store and the load pair with the load and store of app_waiter_lead_on(); one of us sees the
         * other. */
        atomic_store_explicit(&exchange->standby_ticking, 0, memory_order_seq_cst);
        if (atomic_load_explicit(&exchange->leader_present, memory_order_seq_cst) != 0) {
            *ticking = false;
            return true;
        }
        atomic_store_explicit(&exchange->standby_ticking, 1, memory_order_seq_cst);
    }
    *idle_ticks = 0;
    uint64_t epoch = atomic_load_explicit(&exchange->epoch, memory_order_relaxed);
    bool moved = epoch != *epoch_seen;
    *epoch_seen = epoch;
    return moved;
}

void app_waiter_follow(struct app_exchange *exchange, struct app_waiter *waiter, int timeout_ms)
{
    uint64_t epoch_seen = 0;
    uint32_t idle_ticks = 0;
    bool ticking = false;
    for (;;) {
        bool woken = futex_wait(&waiter->word, WAITER_SLEEPS, ticking ? STANDBY_TICK_MS : timeout_ms);
        uint32_t word = atomic_load_explicit(&waiter->word, memory_order_acquire);
        if (word == WAITER_WOKEN)
            return;
        if (word == WAITER_TICKS) {
            uint32_t expected = WAITER_TICKS;
            atomic_compare_exchange_strong(&waiter->word, &expected, WAITER_SLEEPS);
            atomic_store_explicit(&exchange->standby_ticking, 1, memory_order_seq_cst);
            ticking = true;
        } else if (!woken) {
            if (!ticking || !standby_tick(exchange, &epoch_seen, &idle_ticks, &ticking))
                return;
        }
    }
}
