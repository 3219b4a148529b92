#include "daemon/exchange/doorbell.h"
#include "pybridge/app_exchange_state.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    STANDBY_TICK_MS = 1,
    STANDBY_IDLE_TICKS = 10,
    SLOW_APPLICATION_NS = 200'000,
    ROOM_LOOK_MS = 50,
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

static void waiter_link(struct app_exchange *exchange, struct app_waiter *waiter)
{
    waiter->previous = NULL;
    waiter->next = exchange->waiters;
    if (waiter->next != NULL)
        waiter->next->previous = waiter;
    exchange->waiters = waiter;
}

static void waiter_unlink(struct app_exchange *exchange, struct app_waiter *waiter)
{
    if (waiter->previous != NULL)
        waiter->previous->next = waiter->next;
    else
        exchange->waiters = waiter->next;
    if (waiter->next != NULL)
        waiter->next->previous = waiter->previous;
}

/* Requests came to a thread that waited for something else: one that waits for requests takes them. */
static void hand_on(struct app_exchange *exchange)
{
    for (struct app_waiter *waiter = exchange->waiters; waiter != NULL; waiter = waiter->next) {
        if (waiter->request != NULL || waiter->wants_room || waiter->leads)
            continue;
        waiter_signal(waiter, WAITER_WOKEN);
        return;
    }
}

bool app_exchange_prepare_wait(struct app_exchange *exchange, struct app_waiter *waiter,
                               const struct app_request *request, bool wants_room)
{
    app_exchange_flush(exchange);
    *waiter = (struct app_waiter){.request = request, .wants_room = wants_room};
    waiter_link(exchange, waiter);
    if (exchange->queue_first != NULL && (request != NULL || wants_room))
        hand_on(exchange); /* whoever took them from the queues is about to wait for something else */
    if (atomic_load_explicit(&exchange->leader_present, memory_order_relaxed) != 0) {
        if (exchange->standby == NULL)
            exchange->standby = waiter;
        /* A waiting request in the queue is for any thread that wants one. */
        return request != NULL || wants_room || exchange->queue_first == NULL;
    }
    waiter->leads = true;
    atomic_store_explicit(&exchange->leader_present, 1, memory_order_seq_cst);
    return app_exchange_arm_for(exchange, request == NULL && !wants_room);
}

void app_exchange_set_spin(struct app_exchange *exchange, bool spins, bool adapts, uint32_t workers)
{
    spin_policy_init(&exchange->spin, spins, adapts, spin_usable_cpus(), exchange->setup.shape.rings + workers);
}

/* By the descriptors, not the queues: without the lock another thread may take the memory of a dead I/O process away.
 * What spinning saves is the wake. */
static int poll_spinning(struct app_exchange *exchange, struct pollfd fds[2], int timeout_ms)
{
    const uint64_t begin_ns = spin_now_ns();
    int r;
    do
        r = poll(fds, 2, 0);
    while (r == 0 && spin_now_ns() - begin_ns < exchange->spin.spin_ns);
    if (r == 0)
        r = poll(fds, 2, timeout_ms);
    spin_policy_learn(&exchange->spin, spin_now_ns() - begin_ns);
    return r;
}

static void sleep_leading(struct app_exchange *exchange, struct app_waiter *waiter, int timeout_ms)
{
    struct pollfd fds[2] = {{.fd = exchange->doorbell_fd, .events = POLLIN},
                            {.fd = exchange->control_fd, .events = POLLIN}};
    int r = exchange->spin.spin_ns > 0 ? poll_spinning(exchange, fds, timeout_ms) : poll(fds, 2, timeout_ms);
    if (r <= 0)
        return;
    waiter->doorbell_rang = fds[0].revents != 0;
    waiter->supervisor_spoke = fds[1].revents != 0;
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

static void sleep_following(struct app_exchange *exchange, struct app_waiter *waiter, int timeout_ms)
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

void app_exchange_sleep(struct app_exchange *exchange, struct app_waiter *waiter, int timeout_ms)
{
    /* Room in a queue comes without a message, and may have come before we slept: look again before long. */
    if (waiter->wants_room && (timeout_ms < 0 || timeout_ms > ROOM_LOOK_MS))
        timeout_ms = ROOM_LOOK_MS;
    if (waiter->leads)
        sleep_leading(exchange, waiter, timeout_ms);
    else
        sleep_following(exchange, waiter, timeout_ms);
}

static void drain_doorbell(const struct app_exchange *exchange)
{
    uint64_t count;
    ssize_t r = read(exchange->doorbell_fd, &count, sizeof count);
    (void)r; /* EAGAIN: the control socket or the time limit woke us */
}

void app_exchange_finish_wait(struct app_exchange *exchange, struct app_waiter *waiter)
{
    waiter_unlink(exchange, waiter);
    if (exchange->standby == waiter) {
        exchange->standby = NULL;
        atomic_store_explicit(&exchange->standby_ticking, 0, memory_order_seq_cst);
    }
    if (waiter->leads) {
        atomic_store_explicit(&exchange->leader_present, 0, memory_order_seq_cst);
        app_exchange_disarm(exchange);
        if (waiter->doorbell_rang)
            drain_doorbell(exchange);
        if (waiter->supervisor_spoke)
            app_exchange_control(exchange);
    }
    app_exchange_pump(exchange);
    if (exchange->queue_first != NULL && (waiter->request != NULL || waiter->wants_room))
        hand_on(exchange);
}
