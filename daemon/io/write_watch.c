#include "daemon/io/write_watch.h"

#include <linux/tcp.h>

static bool is_writing(const struct connection *connection)
{
    return connection->send_in_flight || (connection->out != NULL && connection->out->queue.bytes > 0);
}

void write_watch_note(struct write_watch *watch, const struct io_core *core, const struct connection *connection)
{
    bool now = is_writing(connection);
    if (now && !watch->writing)
        watch->progress_ms = core->now_ms;
    watch->writing = now;
}

void write_watch_sent(struct write_watch *watch, const struct io_core *core)
{
    watch->progress_ms = core->now_ms;
}

uint64_t write_watch_deadline(const struct write_watch *watch, const struct io_core *core)
{
    int64_t limit = core->settings.write_timeout_ms;
    return watch->writing && limit > 0 ? watch->progress_ms + (uint64_t)limit : 0;
}

static uint64_t acknowledged(const struct connection *connection)
{
    struct tcp_info info = {};
    socklen_t length = sizeof info;
    if (getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
        return 0;
    return info.tcpi_bytes_acked;
}

bool write_watch_is_stuck(struct write_watch *watch, const struct io_core *core, const struct connection *connection)
{
    uint64_t deadline = write_watch_deadline(watch, core);
    if (deadline == 0 || core->now_ms < deadline || !is_writing(connection))
        return false;
    uint64_t acked = acknowledged(connection);
    uint64_t period_ms = core->now_ms - watch->progress_ms;
    uint64_t needed = (uint64_t)core->settings.write_rate_min * period_ms / 1000;
    bool stuck = acked <= watch->acked || acked - watch->acked < needed;
    watch->acked = acked;
    watch->progress_ms = core->now_ms;
    return stuck;
}
