#include "pybridge/workers/thread_loop.h"

#include "pybridge/app_log.h"
#include "pybridge/app_wait.h"
#include "pybridge/wsgi/wsgi_adapter.h"

#include <time.h>

/*
 * A doorbell costs about as much as a quick request, so quick ones share it. One that takes its time would hold back
 * the answers before it: the more so the less the thread is expected to be quick.
 */
enum { QUICK_NS = 50'000, UNRUNG_MAX = 16, AVERAGE_OVER = 8 };

struct thread_loop {
    struct app_process *process;
    struct wsgi_thread *thread;
    int64_t usual_ns; /* what an application call took lately: an exponential average */
    int64_t mark_ns;  /* when the last one ended, or the thread woke */
    unsigned unrung;
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

static void serve(struct thread_loop *loop, struct app_request *request)
{
    if (loop->unrung >= UNRUNG_MAX || (loop->unrung > 0 && loop->usual_ns > QUICK_NS)) {
        app_exchange_flush(loop->process->exchange);
        loop->unrung = 0;
    }
    wsgi_thread_serve(loop->thread, request);
    loop->unrung++;
    int64_t now = now_ns();
    loop->usual_ns += (now - loop->mark_ns - loop->usual_ns) / AVERAGE_OVER;
    loop->mark_ns = now;
}

/* On the main thread handlers of the application's own run between requests too. One may raise: it has no caller. */
static void handle_signals(const struct thread_loop *loop)
{
    if (PyErr_CheckSignals() < 0)
        app_log_exception(loop->process, NULL, "a signal handler of the application failed");
}

/* The answers leave first: a signal may be what a client does upon one, and must not find the thread about to sleep. */
static void rest(struct thread_loop *loop)
{
    app_exchange_flush(loop->process->exchange);
    handle_signals(loop);
    app_wait(loop->process->exchange, NULL, APP_WAIT_REQUEST);
    handle_signals(loop);
    loop->unrung = 0;
    loop->mark_ns = now_ns();
}

static void run(struct thread_loop *loop)
{
    struct app_exchange *exchange = loop->process->exchange;
    while (!app_exchange_stopping(exchange)) {
        struct app_request *request = app_exchange_next(exchange);
        if (request != NULL)
            serve(loop, request);
        else if (app_exchange_pump(exchange))
            continue;
        else if (app_exchange_draining(exchange))
            break;
        else
            rest(loop);
    }
    app_exchange_flush(exchange);
}

int thread_loop_run(struct app_process *process)
{
    struct thread_loop loop = {.process = process, .mark_ns = now_ns()};
    loop.thread = wsgi_thread_create(process->wsgi);
    if (loop.thread == NULL)
        return -1;
    run(&loop);
    wsgi_thread_destroy(loop.thread);
    return 0;
}
