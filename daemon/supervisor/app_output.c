#include "daemon/supervisor/app_output.h"

#include "daemon/base/owned.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PIECE_BYTES = 16'384, LAST_BYTES_MAX = 1 << 20 };

static void close_output(struct event_loop *loop, struct app_output *output)
{
    event_loop_unwatch(loop, &output->watch);
    fd_drop(&output->watch.fd);
    log_lines_finish(&output->lines, log_lines_to_log, NULL);
}

/* One piece: its length, 0 at the end, or -EAGAIN. */
static ssize_t read_piece(struct app_output *output)
{
    char piece[PIECE_BYTES];
    ssize_t length;
    do
        length = read(output->watch.fd, piece, sizeof piece);
    while (length < 0 && errno == EINTR);
    if (length < 0)
        return -errno;
    log_lines_feed(&output->lines, piece, (size_t)length, log_lines_to_log, NULL);
    return length;
}

void app_output_take(struct event_loop *loop, struct app_output *output)
{
    ssize_t length = read_piece(output);
    if (length == 0 || (length < 0 && length != -EAGAIN))
        close_output(loop, output);
}

/* Bounded: children that the application left behind may write for ever. */
void app_output_finish(struct event_loop *loop, struct app_output *output)
{
    ssize_t left = LAST_BYTES_MAX;
    while (output->watch.fd >= 0 && left > 0) {
        ssize_t length = read_piece(output);
        if (length <= 0)
            break;
        left -= length;
    }
    close_output(loop, output);
}

/* A full pipe costs the application lines, not time. */
int app_output_open(struct event_loop *loop, struct app_output *output, event_watch_handler *handler, void *owner,
                    int *ret_theirs)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    OWNED_FD theirs = ends[1];
    output->watch = (struct event_watch){.fd = ends[0], .on_event = handler, .owner = owner};
    int r = event_loop_watch(loop, &output->watch);
    if (r < 0)
        return r;
    *ret_theirs = fd_take(&theirs);
    return 0;
}
