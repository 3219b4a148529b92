#include "daemon/supervisor/event_loop.h"

#include "daemon/base/owned.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <time.h>

int event_loop_init(struct event_loop *ret_loop)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret_loop = (struct event_loop){.epoll = fd};
    return 0;
}

void event_loop_deinit(struct event_loop *loop)
{
    fd_drop(&loop->epoll);
    loop->alarms = NULL;
}

int event_loop_watch(struct event_loop *loop, struct event_watch *watch)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};

    assert(!watch->watched);
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, watch->fd, &event) < 0)
        return -errno;
    watch->watched = true;
    return 0;
}

void event_loop_unwatch(struct event_loop *loop, struct event_watch *watch)
{
    if (!watch->watched)
        return;
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->watched = false;
}

void event_loop_arm(struct event_loop *loop, struct event_alarm *alarm, uint64_t at_ms)
{
    event_loop_disarm(loop, alarm);
    struct event_alarm **at = &loop->alarms;
    while (*at != NULL && (*at)->at_ms <= at_ms)
        at = &(*at)->next;
    alarm->at_ms = at_ms;
    alarm->armed = true;
    alarm->next = *at;
    *at = alarm;
}

void event_loop_disarm(struct event_loop *loop, struct event_alarm *alarm)
{
    if (!alarm->armed)
        return;
    struct event_alarm **at = &loop->alarms;
    while (*at != alarm)
        at = &(*at)->next;
    *at = alarm->next;
    alarm->armed = false;
    alarm->next = NULL;
}

/* One alarm at a time: its handler may disarm the next one, or free it. */
static bool ring_due_alarm(struct event_loop *loop)
{
    struct event_alarm *alarm = loop->alarms;
    if (alarm == NULL || alarm->at_ms > event_loop_now_ms())
        return false;
    event_loop_disarm(loop, alarm);
    alarm->on_alarm(alarm);
    return true;
}

static int wait_ms(const struct event_loop *loop)
{
    if (loop->alarms == NULL)
        return -1;
    uint64_t now_ms = event_loop_now_ms();
    uint64_t at_ms = loop->alarms->at_ms;
    if (at_ms <= now_ms)
        return 0;
    return at_ms - now_ms > INT_MAX ? INT_MAX : (int)(at_ms - now_ms);
}

int event_loop_turn(struct event_loop *loop)
{
    struct epoll_event event;

    if (ring_due_alarm(loop))
        return 0;
    int count = epoll_wait(loop->epoll, &event, 1, wait_ms(loop));
    if (count < 0)
        return errno == EINTR ? 0 : -errno;
    if (count == 1) {
        struct event_watch *watch = event.data.ptr;
        watch->on_event(watch);
    }
    return 0;
}

uint64_t event_loop_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1'000 + (uint64_t)now.tv_nsec / 1'000'000;
}
