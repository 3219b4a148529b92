/*
 * Fuzzer of whole connections: two clients over the scripted engine, interleaved by cuts that the input chooses, before
 * two applications that answer, read, break the protocol and die when the input says so.
 *
 * The input is a list of commands; what a client sends is taken from it too, or from a table of promising texts. After
 * each run scene_close() asserts that nothing is left alive: buffers, blocks, slots, timers, memory.
 */
#include <errno.h>
#include <fcntl.h>

#include "tests/unit/io/io_scene.h"

enum { CLIENTS = 2, OPEN_MAX = 16, COMMANDS_MAX = 400, SOCKETS_MAX = 24 };

static const char *const TEXTS[] = {
    "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD /h?q=1 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\nExpect: 100-continue\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n",
    "3\r\nabc\r\n",
    "zz\r\n",
    "0\r\n\r\n",
    "BAD\r\n\r\n",
    "GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\n",
};

struct input {
    const uint8_t *at, *end;
};

struct run {
    struct scene scene;
    struct input input;
    int fds[CLIENTS];
    uint32_t sockets;
    struct message open[OPEN_MAX]; /* requests that an application works on */
    uint8_t open_at[OPEN_MAX];
    uint32_t open_count;
};

static uint8_t next(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

static void adjust(struct scene *scene)
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

static struct scripted_socket *client(struct run *run, uint8_t which)
{
    return scripted_at(run->scene.core.ring, run->fds[which % CLIENTS]);
}

static void connect_anew(struct run *run, uint8_t which)
{
    if (run->sockets >= SOCKETS_MAX)
        return;
    run->sockets++;
    run->fds[which % CLIENTS] = scene_connect(&run->scene);
}

static void say(struct run *run, uint8_t which)
{
    uint8_t choice = next(&run->input);
    struct bytes text = bytes_of_string(TEXTS[choice % (sizeof TEXTS / sizeof TEXTS[0])]);
    if (choice >= 0xe0) {
        size_t left = (size_t)(run->input.end - run->input.at);
        size_t length = choice - 0xdf < left ? choice - 0xdf : left;
        text = bytes_of(run->input.at, length);
        run->input.at += length;
    } else if (choice >= 0x80) { /* a part of it: the cut */
        uint8_t cut = next(&run->input);
        text.length = cut < text.length ? cut : text.length;
    }
    scripted_client_sends(run->scene.core.ring, run->fds[which % CLIENTS], text);
}

static void say_much(struct run *run, uint8_t which)
{
    static const uint8_t much[8'192];
    scripted_client_sends(run->scene.core.ring, run->fds[which % CLIENTS], bytes_of(much, sizeof much));
}

static void disturb(struct run *run, uint8_t which)
{
    static const int errors[] = {-ECONNRESET, -EAGAIN, -ENOBUFS, -EPIPE, -ETIMEDOUT, -EINTR};
    struct scripted_socket *socket = client(run, which);
    uint8_t how = next(&run->input);
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
        scripted_client_ends(run->scene.core.ring, run->fds[which % CLIENTS]);
        break;
    case 6:
        socket->receive_max = socket->send_max = 0;
        break;
    default:
        connect_anew(run, which);
    }
}

/* ---- applications ----------------------------------------------------------------------------------------------- */

static void forget(struct run *run, uint32_t index)
{
    run->open_count--;
    run->open[index] = run->open[run->open_count];
    run->open_at[index] = run->open_at[run->open_count];
}

static void forget_app(struct run *run, uint32_t app)
{
    for (uint32_t i = run->open_count; i-- > 0;)
        if (run->open_at[i] == app)
            forget(run, i);
}

static void take(struct run *run, uint8_t app, bool claims)
{
    struct message message;
    if (!run->scene.apps[app].up || run->open_count == OPEN_MAX || !scene_take(&run->scene, app, &message))
        return;
    if (message.kind != MESSAGE_REQUEST || (claims && !scene_claim(&run->scene, app, &message)))
        return;
    run->open[run->open_count] = message;
    run->open_at[run->open_count++] = app;
}

/* A reply that may be right, or wrong in any of its parts. */
static void reply(struct run *run)
{
    if (run->open_count == 0)
        return;
    uint32_t index = next(&run->input) % run->open_count;
    uint8_t app = run->open_at[index];
    const struct message *request = &run->open[index];
    uint8_t how = next(&run->input);
    static const enum message_kind kinds[] = {MESSAGE_RESPONSE, MESSAGE_BODY, MESSAGE_RESPONSE, MESSAGE_INTERIM};
    static const uint16_t statuses[] = {200, 204, 304, 103, 500, 100, 0, 999};
    if (spsc_writer_room(&run->scene.apps[app].replies) == 0)
        return;
    struct message message = scene_piece(&run->scene, app, request, kinds[how % 4], how / 4 % 5, bytes_of(NULL, 0));
    uint8_t what = next(&run->input);
    static const uint32_t lengths[] = {0, 1, 100, 2'048, 2'049, 4'096, 60'000, 0xffffffff};
    message.body_length = lengths[what % 8];
    message.flags = what / 8 % 8; /* END, WAS_DONE, FAILED */
    message.status = kinds[how % 4] == MESSAGE_INTERIM ? 103 : 200;
    if (what >= 0x80)
        message.status = statuses[next(&run->input) % 8];
    if (what >= 0xc0)
        message.content_length = (int64_t)next(&run->input) * 100 - 1'000;
    if (what >= 0xe0) {
        message.head_offset = message.body_offset;
        message.head_length = next(&run->input);
        message.head_block = next(&run->input);
    }
    scene_reply(&run->scene, app, &message);
    if ((message.flags & MESSAGE_WAS_DONE) != 0)
        forget(run, index);
}

static void consume(struct run *run)
{
    if (run->open_count == 0)
        return;
    uint32_t index = next(&run->input) % run->open_count;
    uint8_t app = run->open_at[index];
    struct message message = {.kind = next(&run->input) % 4 == 0 ? MESSAGE_DONE : MESSAGE_CONSUMED,
                              .slot = run->open[index].slot,
                              .generation = run->open[index].generation,
                              .count = (uint32_t)next(&run->input) * 64};
    if (spsc_writer_room(&run->scene.apps[app].replies) == 0)
        return;
    scene_reply(&run->scene, app, &message);
    if (message.kind == MESSAGE_DONE)
        forget(run, index);
}

static void nonsense(struct run *run, uint8_t app)
{
    struct message message = {.kind = next(&run->input),
                              .flags = next(&run->input),
                              .status = next(&run->input),
                              .slot = next(&run->input) % 10,
                              .generation = next(&run->input) % 8,
                              .count = next(&run->input)};
    message.body_offset = next(&run->input);
    message.body_length = next(&run->input);
    message.body_block = next(&run->input);
    if (run->scene.apps[app].up && spsc_writer_room(&run->scene.apps[app].replies) > 0)
        scene_reply(&run->scene, app, &message);
}

static void app_life(struct run *run, uint8_t app)
{
    if (run->scene.apps[app].up) {
        forget_app(run, app);
        scene_app_gone(&run->scene, app, next(&run->input) % 2 == 0 ? 502 : 504);
    } else {
        scene_app_up(&run->scene, app, 1U + next(&run->input) % 2, next(&run->input) % 8);
    }
}

/* ---- one run ---------------------------------------------------------------------------------------------------- */

static void command(struct run *run)
{
    static const uint16_t steps_ms[] = {0, 20, 1'000, 5'100, 10'100, 31'000};
    uint8_t what = next(&run->input);
    uint8_t which = what / 16 % 2;
    switch (what % 16) {
    case 0:
    case 1:
    case 2:
        say(run, which);
        break;
    case 3:
        say_much(run, which);
        break;
    case 4:
        disturb(run, which);
        break;
    case 5:
    case 6:
        take(run, which, true);
        break;
    case 7:
        take(run, which, false);
        break;
    case 8:
    case 9:
        reply(run);
        break;
    case 10:
        consume(run);
        break;
    case 11:
        nonsense(run, which);
        break;
    case 12:
        app_life(run, which);
        break;
    case 13:
        scene_wait(&run->scene, steps_ms[next(&run->input) % (sizeof steps_ms / sizeof steps_ms[0])]);
        break;
    case 14:
        if (run->scene.apps[which].up)
            dispatch_app_drain(&run->scene.dispatch, which, run->scene.apps[which].generation);
        break;
    default:
        break;
    }
    scene_turns(&run->scene, 1U + (what >= 128));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool quiet;
    static struct run run;
    if (!quiet)
        log_init("fuzz", LOG_LEVEL_CRITICAL, open("/dev/null", O_WRONLY | O_CLOEXEC));
    quiet = true;
    run = (struct run){.input = {data, data + size}};
    scene_open(&run.scene, adjust);
    uint8_t settings = next(&run.input);
    if ((settings & 1) != 0)
        run.scene.core.settings.request_buffering = BUFFERING_ON;
    if ((settings & 2) != 0)
        run.scene.core.settings.response_buffering = BUFFERING_ON;
    if ((settings & 4) != 0)
        run.scene.core.settings.request_timeout_ms = 2'000;
    run.scene.core.draining = (settings & 0xf0) == 0xf0;
    scene_app_up(&run.scene, 0, 1, settings >> 3 & 7);
    for (uint8_t i = 0; i < CLIENTS; i++)
        connect_anew(&run, i);
    for (uint32_t i = 0; i < COMMANDS_MAX && run.input.at < run.input.end; i++)
        command(&run);
    scene_close(&run.scene);
    return 0;
}
