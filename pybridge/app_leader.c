#include "pybridge/app_exchange_state.h"

#include <poll.h>
#include <unistd.h>

enum { ROOM_LOOK_MS = 50 };

bool app_exchange_prepare_wait(struct app_exchange *exchange, struct app_waiter *waiter,
                               const struct app_request *request, bool wants_room)
{
    app_exchange_flush(exchange);
    *waiter = (struct app_waiter){.request = request, .wants_room = wants_room};
    app_waiter_link(exchange, waiter);
    if (exchange->queue_first != NULL && (request != NULL || wants_room))
        app_waiter_hand_on(exchange); /* whoever took them from the queues is about to wait for something else */
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

void app_exchange_sleep(struct app_exchange *exchange, struct app_waiter *waiter, int timeout_ms)
{
    /* Room in a queue comes without a message, and may have come before we slept: look again before long. */
    if (waiter->wants_room && (timeout_ms < 0 || timeout_ms > ROOM_LOOK_MS))
        timeout_ms = ROOM_LOOK_MS;
    if (waiter->leads)
        sleep_leading(exchange, waiter, timeout_ms);
    else
        app_waiter_follow(exchange, waiter, timeout_ms);
}

static void drain_doorbell(const struct app_exchange *exchange)
{
    uint64_t count;
    ssize_t r = read(exchange->doorbell_fd, &count, sizeof count);
    (void)r; /* EAGAIN: the control socket or the time limit woke us */
}

void app_exchange_finish_wait(struct app_exchange *exchange, struct app_waiter *waiter)
{
    app_waiter_unlink(exchange, waiter);
    if (waiter->leads) {
        atomic_store_explicit(&exchange->leader_present, 0, memory_order_seq_cst);
        app_exchange_disarm(exchange);
        if (waiter->doorbell_rang)
            drain_doorbell(exchange);
        if (waiter->supervisor_spoke)
            app_exchange_control(exchange);
    }
    app_exchange_pump(exchange);
    if (waiter->request == NULL && !waiter->wants_room)
        return;
    if (exchange->queue_first != NULL)
        app_waiter_hand_on(exchange);
    else if (waiter->leads) /* it goes back to the application, and may never wait again */
        app_waiter_lead_on(exchange);
}
