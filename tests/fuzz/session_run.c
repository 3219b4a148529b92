#include "tests/fuzz/session_run.h"

#include <errno.h>
#include <fcntl.h>

uint8_t session_run_next(struct session_run *run)
{
    return run->at < run->end ? *run->at++ : 0;
}

void session_run_adjust(struct scene *scene)
{
    struct exchange_shape *shape = &scene->core.setup.shape;
    shape->slots = 8;
    shape->request_entries = 8;
    shape->reply_entries = 16;
    shape->recv_buffers = 4;
    shape->recv_buffer_bytes = 512;
    shape->upload_buffers = 2;
    shape->upload_buffer_bytes = 4'096;
    shape->staging_small = 2;
    shape->staging_large = 2;
    shape->outbound_small = 4;
    shape->outbound_large = 1;
    scene->core.settings.health_path = (char *)(uintptr_t) "/health";
    scene->core.settings.queue_size = 2;
    scene->core.settings.pipeline_max = 4;
    scene->core.settings.response_buffer_max = 65'536;
    scene->core.settings.request_buffer_max = 4'096;
}

/* ---- clients ---------------------------------------------------------------------------------------------------- */

static struct scripted_socket *client(struct session_run *run, uint8_t which)
{
    return scripted_at(run->scene->core.ring, run->fds[which % RUN_CLIENTS]);
}

void session_run_connect(struct session_run *run, uint8_t which)
{
    if (run->sockets >= RUN_SOCKETS_MAX)
        return;
    run->sockets++;
    run->connect(run, which % RUN_CLIENTS);
}

static void disturb(struct session_run *run, uint8_t which)
{
    static const int errors[] = {-ECONNRESET, -EAGAIN, -ENOBUFS, -EPIPE, -ETIMEDOUT, -EINTR};
    struct scripted_socket *socket = client(run, which);
    uint8_t how = session_run_next(run);
    int error = errors[how / 8 % (sizeof errors / sizeof errors[0])];
    switch (how % 8) {
    case 0:
        socket->receive_error = error;
        break;
    case 1:
        socket->send_error = error == -ENOBUFS ? -EPIPE : error;
        break;
    case 2:
        socket->send_stalled = !socket->send_stalled;
        break;
    case 3:
        socket->send_max = 1U + how / 8;
        break;
    case 4:
        socket->receive_max = 1U + how / 8;
        break;
    case 5:
        scripted_client_ends(run->scene->core.ring, run->fds[which % RUN_CLIENTS]);
        break;
    case 6:
        socket->receive_max = socket->send_max = 0;
        break;
    default:
        session_run_connect(run, which);
    }
}

/* ---- applications ----------------------------------------------------------------------------------------------- */

static void forget(struct session_run *run, uint32_t index)
{
    run->open_count--;
    run->open[index] = run->open[run->open_count];
    run->open_at[index] = run->open_at[run->open_count];
}

static void forget_app(struct session_run *run, uint32_t app)
{
    for (uint32_t i = run->open_count; i-- > 0;)
        if (run->open_at[i] == app)
            forget(run, i);
}

static void take(struct session_run *run, uint8_t app, bool claims)
{
    struct message message;
    if (!run->scene->apps[app].up || run->open_count == RUN_OPEN_MAX || !scene_take(run->scene, app, &message))
        return;
    if (message.kind != MESSAGE_REQUEST || (claims && !scene_claim(run->scene, app, &message)))
        return;
    run->open[run->open_count] = message;
    run->open_at[run->open_count++] = app;
}

/* A reply that may be right, or wrong in any of its parts. */
static void reply(struct session_run *run)
{
    if (run->open_count == 0)
        return;
    uint32_t index = session_run_next(run) % run->open_count;
    uint8_t app = run->open_at[index];
    const struct message *request = &run->open[index];
    uint8_t how = session_run_next(run);
    static const enum message_kind kinds[] = {MESSAGE_RESPONSE, MESSAGE_BODY, MESSAGE_RESPONSE, MESSAGE_INTERIM};
    static const uint16_t statuses[] = {200, 204, 304, 103, 500, 100, 0, 999};
    if (spsc_writer_room(&run->scene->apps[app].replies) == 0)
        return;
    struct message message = scene_piece(run->scene, app, request, kinds[how % 4], how / 4 % 5, bytes_of(NULL, 0));
    uint8_t what = session_run_next(run);
    static const uint32_t lengths[] = {0, 1, 100, 2'048, 2'049, 4'096, 60'000, 0xffffffff};
    message.body_length = lengths[what % 8];
    message.flags = what / 8 % 8; /* END, WAS_DONE, FAILED */
    message.status = kinds[how % 4] == MESSAGE_INTERIM ? 103 : 200;
    if (what >= 0x80)
        message.status = statuses[session_run_next(run) % 8];
    if (what >= 0xc0)
        message.content_length = (int64_t)session_run_next(run) * 100 - 1'000;
    if (what >= 0xe0) {
        message.head_offset = message.body_offset;
        message.head_length = session_run_next(run);
        message.head_block = session_run_next(run);
    }
    scene_reply(run->scene, app, &message);
    if ((message.flags & MESSAGE_WAS_DONE) != 0)
        forget(run, index);
}

static void consume(struct session_run *run)
{
    if (run->open_count == 0)
        return;
    uint32_t index = session_run_next(run) % run->open_count;
    uint8_t app = run->open_at[index];
    struct message message = {.kind = session_run_next(run) % 4 == 0 ? MESSAGE_DONE : MESSAGE_CONSUMED,
                              .slot = run->open[index].slot,
                              .generation = run->open[index].generation,
                              .count = (uint32_t)session_run_next(run) * 64};
    if (spsc_writer_room(&run->scene->apps[app].replies) == 0)
        return;
    scene_reply(run->scene, app, &message);
    if (message.kind == MESSAGE_DONE)
        forget(run, index);
}

static void nonsense(struct session_run *run, uint8_t app)
{
    struct message message = {.kind = session_run_next(run),
                              .flags = session_run_next(run),
                              .status = session_run_next(run),
                              .slot = session_run_next(run) % 10,
                              .generation = session_run_next(run) % 8,
                              .count = session_run_next(run)};
    message.body_offset = session_run_next(run);
    message.body_length = session_run_next(run);
    message.body_block = session_run_next(run);
    if (run->scene->apps[app].up && spsc_writer_room(&run->scene->apps[app].replies) > 0)
        scene_reply(run->scene, app, &message);
}

static void app_life(struct session_run *run, uint8_t app)
{
    if (run->scene->apps[app].up) {
        forget_app(run, app);
        scene_app_gone(run->scene, app, session_run_next(run) % 2 == 0 ? 502 : 504);
    } else {
        scene_app_up(run->scene, app, 1U + session_run_next(run) % 2, session_run_next(run) % 8);
    }
}

/* ---- one run ---------------------------------------------------------------------------------------------------- */

void session_run_command(struct session_run *run, uint8_t what)
{
    static const uint16_t steps_ms[] = {0, 20, 1'000, 5'100, 10'100, 31'000};
    const uint8_t which = what / 16 % 2;
    switch (what % 16) {
    case 4:
        disturb(run, which);
        return;
    case 5:
    case 6:
        take(run, which, true);
        return;
    case 7:
        take(run, which, false);
        return;
    case 8:
    case 9:
        reply(run);
        return;
    case 10:
        consume(run);
        return;
    case 11:
        nonsense(run, which);
        return;
    case 12:
        app_life(run, which);
        return;
    case 13:
        scene_wait(run->scene, steps_ms[session_run_next(run) % (sizeof steps_ms / sizeof steps_ms[0])]);
        return;
    case 14:
        if (run->scene->apps[which].up)
            dispatch_app_drain(&run->scene->dispatch, which, run->scene->apps[which].generation);
        return;
    default:
        return;
    }
}

void session_run_quiet(void)
{
    static bool quiet;
    if (!quiet)
        log_init("fuzz", LOG_LEVEL_CRITICAL, open("/dev/null", O_WRONLY | O_CLOEXEC));
    quiet = true;
}

void session_run_begin(struct session_run *run)
{
    struct io_core *core = &run->scene->core;
    uint8_t settings = session_run_next(run);
    if ((settings & 1) != 0)
        core->settings.request_buffering = BUFFERING_ON;
    if ((settings & 2) != 0)
        core->settings.response_buffering = BUFFERING_ON;
    if ((settings & 4) != 0)
        core->settings.request_timeout_ms = 2'000;
    core->leaving = (settings & 0xe0) == 0xe0;
    core->draining = (settings & 0xf0) == 0xf0;
    scene_app_up(run->scene, 0, 1, settings >> 3 & 7);
    for (uint8_t i = 0; i < RUN_CLIENTS; i++)
        session_run_connect(run, i);
}
