/*
 * Fuzzer of whole HTTP/2 connections: two clients over the scripted engine, interleaved by cuts that the input chooses,
 * before two applications that answer, read, break the protocol and die when the input says so (session_run.h).
 *
 * What a client sends are frames whose every part the input chooses, good ones being likely, so that streams are reset
 * at every point where something waits. After each run http2_scene_close() asserts that nothing is left alive.
 */
#include "tests/fuzz/session_run.h"
#include "tests/unit/io/http2_scene.h"

enum { DATA_MAX = 16'385, RAW_MAX = 64 };

struct http2_run {
    struct session_run run; /* first */
    struct http2_scene scene;
    uint32_t next_id[RUN_CLIENTS];
};

#define BLOCK(text)            \
    {                          \
        text, sizeof(text) - 1 \
    }
#define TO_A         "\x86\x84\x41\x01\x61"
#define HEALTH       "\x86\x04\x07/health\x41\x01\x61"
#define LENGTH(text) "\x0f\x0d" text

static const struct block {
    const char *data;
    size_t length;
} BLOCKS[] = {
    BLOCK("\x82" TO_A),                    /* GET / */
    BLOCK("\x83" TO_A),                    /* POST / */
    BLOCK("\x83" TO_A LENGTH("\x01\x35")), /* content-length: 5 */
    BLOCK("\x83" TO_A LENGTH("\x07"
                             "2000000")), /* longer than is kept in memory */
    BLOCK("\x82" HEALTH),
    BLOCK("\x02\x04HEAD" HEALTH),
    BLOCK("\x83" TO_A "\x0f\x14\x0c"
          "100-continue"), /* expect */
    BLOCK("\x82" TO_A "\x00\x08priority\x05u=1,i"),
    BLOCK("\x40\x01x\x01y"),             /* trailers, with an entry for the table */
    BLOCK("\x82" TO_A "\xbe\xbe\xbe"),   /* which is named here */
    BLOCK("\x82" TO_A "\x00\x01X\x01y"), /* malformed */
    BLOCK("\x82\x86\x84"),               /* neither :authority nor host */
    BLOCK("\x80"),                       /* no HPACK */
    BLOCK(""),
};

static const uint32_t NUMBERS[] = {0, 1, 10, 1'000, 16'384, 65'535, 0x7fffffff, 0xffffffff};

static uint32_t number(struct session_run *run)
{
    return NUMBERS[session_run_next(run) % (sizeof NUMBERS / sizeof NUMBERS[0])];
}

/* A new stream, one of the last, or none. */
static uint32_t stream_id(struct http2_run *run, uint8_t which, bool opens)
{
    uint8_t choice = session_run_next(&run->run);
    uint32_t next = run->next_id[which];
    if (choice >= 0xf8)
        return choice & 3;
    if (opens && choice < 0xc0) {
        run->next_id[which] += 2;
        return next;
    }
    uint32_t back = 2 + 2 * (choice & 7U);
    return back < next ? next - back : next;
}

/* The frame goes out whole, or cut by a turn. */
static void put_frame(struct http2_run *run, uint8_t which, enum http2_frame_type type, uint8_t flags, uint32_t stream,
                      struct bytes payload)
{
    static uint8_t octets[HTTP2_FRAME_HEAD_BYTES + DATA_MAX];
    struct ring *ring = run->scene.io.core.ring;
    const int fd = run->run.fds[which];
    uint8_t cut = session_run_next(&run->run);
    const struct http2_frame_head head = {
        .length = (uint32_t)payload.length, .stream_id = stream, .type = (uint8_t)type, .flags = flags};
    http2_frame_write_head(&head, octets);
    if (payload.length > 0)
        memcpy(octets + HTTP2_FRAME_HEAD_BYTES, payload.data, payload.length);
    const size_t length = HTTP2_FRAME_HEAD_BYTES + payload.length;
    if (cut >= 0x80 && cut - 0x80U < length) {
        scripted_client_sends(ring, fd, bytes_of(octets, cut - 0x80U));
        http2_scene_turns(&run->scene, 1);
        scripted_client_sends(ring, fd, bytes_of(octets + cut - 0x80, length - (cut - 0x80U)));
    } else {
        scripted_client_sends(ring, fd, bytes_of(octets, length));
    }
}

static void send_number(struct http2_run *run, uint8_t which, enum http2_frame_type type, uint32_t stream)
{
    uint8_t payload[4];
    http2_put_uint32(payload, number(&run->run));
    put_frame(run, which, type, 0, stream, bytes_of(payload, sizeof payload));
}

static void say_headers(struct http2_run *run, uint8_t which, enum http2_frame_type type)
{
    uint8_t choice = session_run_next(&run->run);
    const struct block *block = &BLOCKS[choice % (sizeof BLOCKS / sizeof BLOCKS[0])];
    uint8_t flags = choice >= 0xe0 ? session_run_next(&run->run) : HTTP2_FLAG_END_HEADERS;
    if (choice % 3 != 0)
        flags |= HTTP2_FLAG_END_STREAM;
    uint32_t stream = stream_id(run, which, type == HTTP2_FRAME_HEADERS);
    put_frame(run, which, type, flags, stream, bytes_of((const uint8_t *)block->data, block->length));
}

static void say_data(struct http2_run *run, uint8_t which)
{
    static const uint8_t zeros[DATA_MAX];
    static const uint16_t lengths[] = {0, 1, 5, 100, 1'000, 5'000, 16'384, DATA_MAX};
    uint8_t choice = session_run_next(&run->run);
    uint8_t flags = (choice & 0x10) != 0 ? HTTP2_FLAG_END_STREAM : 0;
    if (choice >= 0xc0)
        flags |= HTTP2_FLAG_PADDED;
    put_frame(run, which, HTTP2_FRAME_DATA, flags, stream_id(run, which, false), bytes_of(zeros, lengths[choice % 8]));
}

static void say_settings(struct http2_run *run, uint8_t which)
{
    uint8_t choice = session_run_next(&run->run);
    uint8_t payload[6] = {0, choice % 8};
    http2_put_uint32(payload + 2, number(&run->run));
    if (choice >= 0x80)
        put_frame(run, which, HTTP2_FRAME_SETTINGS, HTTP2_FLAG_ACK, 0, bytes_of(payload, 0));
    else
        put_frame(run, which, HTTP2_FRAME_SETTINGS, 0, 0, bytes_of(payload, sizeof payload));
}

static void say_raw(struct http2_run *run, uint8_t which)
{
    const size_t left = (size_t)(run->run.end - run->run.at);
    size_t length = session_run_next(&run->run) % RAW_MAX;
    if (left == 0)
        return;
    length = length < left - 1 ? length : left - 1;
    scripted_client_sends(run->scene.io.core.ring, run->run.fds[which], bytes_of(run->run.at, length));
    run->run.at += length;
}

static void say(struct http2_run *run, uint8_t which)
{
    static const uint8_t priority[] = {0, 0, 0, 1, 'u', '=', '0', ',', 'i'};
    switch (session_run_next(&run->run) % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
        say_headers(run, which, HTTP2_FRAME_HEADERS);
        return;
    case 4:
        say_headers(run, which, HTTP2_FRAME_CONTINUATION);
        return;
    case 5:
    case 6:
        say_data(run, which);
        return;
    case 7:
    case 8:
        send_number(run, which, HTTP2_FRAME_RST_STREAM, stream_id(run, which, false));
        return;
    case 9:
    case 10:
        send_number(run, which, HTTP2_FRAME_WINDOW_UPDATE, stream_id(run, which, false));
        return;
    case 11:
        send_number(run, which, HTTP2_FRAME_WINDOW_UPDATE, 0);
        return;
    case 12:
        say_settings(run, which);
        return;
    case 13:
        put_frame(run, which, HTTP2_FRAME_PING, session_run_next(&run->run) & 1, 0, bytes_of(priority, 8));
        return;
    case 14:
        put_frame(run, which, session_run_next(&run->run), 0, 0, bytes_of(priority, sizeof priority));
        return;
    default:
        say_raw(run, which);
    }
}

static void connect_http2(struct session_run *run, uint8_t which)
{
    struct http2_run *all = (struct http2_run *)run;
    uint8_t how = session_run_next(run);
    all->next_id[which] = 1;
    if (how == 0xff)
        run->fds[which] = http2_scene_connect_silently(&all->scene);
    else
        run->fds[which] = http2_scene_connect(&all->scene, how < 0x80 ? 65'535 : how & 0x7f);
}

static void adjust(struct scene *scene)
{
    session_run_adjust(scene);
    scene->core.settings.http2_max_concurrent_streams = 4;
    scene->core.settings.http2_max_requests_per_connection = 40;
    scene->core.settings.http2_initial_window_size = 512;
    scene->core.settings.http2_window_max = 300'000;
    scene->core.settings.http2_ping_interval_ms = 20'000;
}

static void command(struct http2_run *run)
{
    uint8_t what = session_run_next(&run->run);
    if (what % 16 < 4)
        say(run, what / 16 % 2);
    else if (what == 0xff)
        connections_drain(&run->scene.io.connections);
    else
        session_run_command(&run->run, what);
    http2_scene_turns(&run->scene, 1U + (what >= 128));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http2_run run;
    run.run = (struct session_run){.scene = &run.scene.io, .at = data, .end = data + size, .connect = connect_http2};
    session_run_quiet();
    http2_scene_open(&run.scene, adjust);
    run.scene.sessions.warm.most = size % 2; /* idle sessions are packed */
    session_run_begin(&run.run);
    for (uint32_t i = 0; i < RUN_COMMANDS_MAX && run.run.at < run.run.end; i++)
        command(&run);
    http2_scene_close(&run.scene);
    return 0;
}
