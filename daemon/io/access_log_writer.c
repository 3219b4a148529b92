#include "daemon/io/access_log_writer.h"

#include "daemon/io/io_core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { DROPS_SAID_EVERY_MS = 10'000 };

void access_log_writer_init(struct access_log_writer *writer, struct io_core *core)
{
    *writer = (struct access_log_writer){.core = core, .fd = -1};
}

void access_log_writer_deinit(struct access_log_writer *writer)
{
    access_log_destroy(writer->core->access_log);
    writer->core->access_log = NULL;
    if (writer->fd >= 0)
        close(writer->fd);
    writer->fd = -1;
}

static void complain_of_format(const char *problem)
{
    log_error("access_log_format: %s", problem != NULL ? problem : "out of memory");
}

static int replace(const struct access_log_writer *writer, int fd)
{
    int r = dup3(fd, writer->fd, O_CLOEXEC) < 0 ? -errno : 0;
    if (r < 0)
        log_error("the access log could not be opened again: %s", strerror(-r));
    close(fd);
    return r;
}

int access_log_writer_open(struct access_log_writer *writer, int fd)
{
    const char *problem = NULL;
    struct io_core *core = writer->core;
    if (writer->fd >= 0)
        return replace(writer, fd);
    writer->fd = fd;
    int r = access_log_create(core->settings.access_log_format, &core->access_log, &problem);
    if (r < 0)
        complain_of_format(problem);
    return r;
}

void access_log_writer_set_format(struct access_log_writer *writer, const char *format)
{
    const char *problem = NULL;
    struct access_log *log = writer->core->access_log;
    if (log != NULL && access_log_set_format(log, format, &problem) < 0)
        complain_of_format(problem);
}

void access_log_writer_turn(struct access_log_writer *writer)
{
    struct bytes lines;
    struct access_log *log = writer->core->access_log;
    if (log == NULL || writer->writing || !access_log_take(log, &lines))
        return;
    writer->writing = true;
    ring_write(writer->core->ring, writer->fd, lines.data, lines.length, ring_token_make(RING_LOG_WRITE, 0, 0));
}

void access_log_writer_on_written(struct access_log_writer *writer, const struct ring_event *event)
{
    uint64_t suppressed;
    struct io_core *core = writer->core;
    writer->writing = false;
    access_log_written(core->access_log, event->result);
    uint64_t drops = access_log_drops(core->access_log);
    metrics_set(core->metrics, METRIC_ACCESS_LOG_DROPS, drops);
    if (drops == writer->drops_said || !log_limit_pass(&writer->limit, core->now_ms, DROPS_SAID_EVERY_MS, &suppressed))
        return;
    log_warning("%llu access log lines were dropped: the log could not keep up",
                (unsigned long long)(drops - writer->drops_said));
    writer->drops_said = drops;
}

void access_log_writer_finish(struct access_log_writer *writer)
{
    struct bytes lines;
    struct access_log *log = writer->core->access_log;
    while (log != NULL && !writer->writing && access_log_take(log, &lines)) {
        ssize_t written = write(writer->fd, lines.data, lines.length);
        access_log_written(log, written < 0 ? -EIO : written);
    }
}
