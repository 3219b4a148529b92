#include "tests/unit/io/io_scene.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64, CLOCK_START_MS = 1'000'000, GROUND_TURNS = 8 };

/* ---- birth and death -------------------------------------------------------------------------------------------- */

static void set_defaults(struct scene *scene)
{
    struct settings *settings = &scene->core.settings;
    settings->timeout_ms = 30'000;
    settings->keepalive_ms = 75'000;
    settings->head_timeout_ms = 10'000;
    settings->body_timeout_ms = 30'000;
    settings->body_rate_min = 1'024;
    settings->write_timeout_ms = 30'000;
    settings->write_rate_min = 1'024;
    settings->queue_timeout_ms = 30'000;
    settings->limit_request_fields = 100;
    settings->limit_request_body = 1 << 30;
    settings->pipeline_max = 16;
    settings->queue_size = 2'048;
    settings->max_connections = CONNECTIONS_MAX;
    settings->request_buffering = BUFFERING_OFF;
    settings->response_buffering = BUFFERING_OFF;
    settings->request_buffer_max = 1 << 20;
    settings->response_buffer_max = 1 << 20;
    settings->response_buffer_total = 1 << 24;
    scene->core.head_limits = (struct http1_limits){
        .request_line_max = 8'190,
        .field_size_max = 8'190,
        .field_count_max = 100,
        .head_bytes_max = LAYOUT_LARGE_BLOCK_BYTES - 1,
        .method_bytes_max = 32,
        .body_bytes_max = 1 << 30,
    };
    scene->core.body_limits = (struct http1_body_limits){
        .body_bytes_max = 1 << 30,
        .trailer_bytes_max = 16'384,
        .trailer_count_max = 50,
        .chunk_extension_max = 256,
        .extensions_bytes_max = 16'384,
    };
    scene->core.setup.generation = 1;
    scene->core.setup.index = SCENE_RING_INDEX;
    scene->core.setup.shape = (struct exchange_shape){
        .version = EXCHANGE_VERSION,
        .rings = 1,
        .apps = SCENE_APPS,
        .slots = 128,
        .fields_max = 101,
        .request_entries = 256,
        .reply_entries = 256,
        .recv_buffers = 16,
        .recv_buffer_bytes = 4'096,
        .upload_buffers = 4,
        .upload_buffer_bytes = 16'384,
        .staging_small = 4,
        .staging_large = 4,
        .outbound_small = 16,
        .outbound_large = 4,
    };
}

static void set_clock(struct scene *scene, uint64_t now_ms)
{
    scene->core.now_ms = now_ms;
    scene->core.now_us = now_ms * 1'000;
    scene->core.wall_us = now_ms * 1'000;
    scene->core.date = BYTES_LITERAL("Sun, 22 Nov 2026 17:00:00 GMT");
}

/* Words to the supervisor go through a number, CONTROL_FD, whatever this program has there. */
static void open_control(struct scene *scene)
{
    int fds[2];
    int r = control_pair(fds);
    assert(r == 0);
    if (fds[0] == CONTROL_FD) {
        int moved = dup(fds[0]);
        close(fds[0]);
        fds[0] = moved;
    }
    if (fds[1] != CONTROL_FD) {
        dup2(fds[1], CONTROL_FD);
        close(fds[1]);
    }
    scene->control = fds[0];
}

static void open_slabs(struct io_core *core)
{
    slab_init(&core->exchanges, sizeof(struct http_exchange), 4);
    slab_init(&core->bodies, sizeof(struct body_piece), 16);
    slab_init(&core->replies, sizeof(struct reply), 4);
    slab_init(&core->sessions, sizeof(struct http1_session), 1);
    output_pools_init(&core->outputs);
}

void scene_open(struct scene *scene, void (*adjust)(struct scene *scene))
{
    struct io_core *core = &scene->core;
    *scene = (struct scene){.listener = {.fd = -1, .port = 80, .server = "192.0.2.1"}};
    set_defaults(scene);
    if (adjust != NULL)
        adjust(scene);
    open_control(scene);
    set_clock(scene, CLOCK_START_MS);
    timer_wheel_init(&core->wheel, core->now_ms);
    timer_wheel_init(&core->exchange_wheel, core->now_ms);
    inbound_layout_compute(&core->setup.shape, &core->layout);
    int r = arena_create(&core->inbound, "test-inbound", core->layout.bytes, ARENA_SEAL_WRITER);
    assert(r == 0);
    r = arena_create(&scene->board, "test-board", sizeof(uint32_t) * LAYOUT_RINGS_MAX * LAYOUT_APPS_MAX,
                     ARENA_SEAL_SIZE);
    assert(r == 0);
    r = arena_create(&core->metrics_memory, "test-metrics", CONTROL_METRICS_PAGE_BYTES, ARENA_SEAL_SIZE);
    assert(r == 0);
    scene->metrics = core->metrics = io_core_metrics_of(core, SCENE_RING_INDEX);
    open_slabs(core);
    r = ring_create(&core->ring);
    assert(r == 0);
    r = buffer_pool_init(&core->buffers, core->ring, &core->inbound, &core->setup.shape);
    assert(r == 0);
    r = dispatch_init(&scene->dispatch, core, dup(arena_fd(&scene->board)));
    assert(r == 0);
    r = io_scratch_init(&core->scratch, core->setup.shape.fields_max);
    assert(r == 0);
    http1_sessions_init(&scene->http1, core, &scene->connections, &scene->dispatch);
    r = connections_init(&scene->connections, core, &scene->http1.protocol, CONNECTIONS_MAX);
    assert(r == 0);
}

static void app_deinit(struct scene_app *app)
{
    close(app->files);
    arena_deinit(&app->outbound);
    arena_deinit(&app->pair_memory);
    *app = (struct scene_app){};
}

void scene_abandon(struct scene *scene)
{
    struct io_core *core = &scene->core;
    buffer_pool_detach(&core->buffers);
    ring_destroy(core->ring);
    connections_deinit(&scene->connections);
    dispatch_deinit(&scene->dispatch);
    buffer_pool_deinit(&core->buffers);
    file_sources_deinit(core);
    output_pools_deinit(&core->outputs);
    io_scratch_deinit(&core->scratch);
    slab_deinit(&core->exchanges);
    slab_deinit(&core->bodies);
    slab_deinit(&core->replies);
    slab_deinit(&core->sessions);
    arena_deinit(&core->inbound);
    arena_deinit(&scene->board);
    for (uint32_t i = 0; i < SCENE_APPS; i++)
        if (scene->apps[i].up)
            app_deinit(&scene->apps[i]);
    arena_deinit(&core->metrics_memory);
    close(scene->control);
    close(CONTROL_FD);
}

static void drain_app(struct scene *scene, uint32_t index)
{
    struct message message;
    while (scene_take(scene, index, &message)) {
        if (message.kind == MESSAGE_REQUEST && scene_claim(scene, index, &message))
            scene_done(scene, index, &message);
        else if (message.kind == MESSAGE_CANCEL)
            scene_done(scene, index, &message);
    }
}

void scene_close(struct scene *scene)
{
    struct io_core *core = &scene->core;
    for (uint32_t i = 0; i < scene->connections.allocated; i++)
        if (scene->connections.by_index[i] != NULL)
            connection_abort(&scene->connections, scene->connections.by_index[i], CLOSE_SHUTDOWN, false);
    for (uint32_t turns = 0; turns < GROUND_TURNS; turns++) {
        for (uint32_t i = 0; i < SCENE_APPS; i++)
            if (scene->apps[i].up)
                drain_app(scene, i);
        scene_turn(scene);
    }
    for (uint32_t i = 0; i < SCENE_APPS; i++)
        scene_app_gone(scene, i, 502);
    scene_turn(scene);
    assert(scene->connections.live == 0);
    assert(core->exchanges.live == 0);
    assert(core->sessions.live == 0);
    assert(core->bodies.live == 0);
    assert(core->replies.live == 0);
    assert(core->outputs.pieces.live == 0);
    assert(core->outputs.scratches.live == 0);
    assert(core->outputs.detached_bytes == 0);
    assert(core->outputs.file_bytes == 0);
    assert(core->files.live == 0);
    assert(buffer_pool_live(&core->buffers) == 0);
    assert(scripted_buffers_free(core->ring, LOAN_RECEIVE) == core->setup.shape.recv_buffers);
    assert(scripted_buffers_free(core->ring, LOAN_UPLOAD) == core->setup.shape.upload_buffers);
    assert(timer_wheel_count(&core->wheel) == 0);
    assert(timer_wheel_count(&core->exchange_wheel) == 0);
    assert(scripted_armed(core->ring) == 0);
    scene_abandon(scene);
}

/* ---- the loop, as in io_process.c ------------------------------------------------------------------------------- */

static void on_event(struct scene *scene, const struct ring_event *event)
{
    enum ring_kind kind = ring_token_kind(event->token);
    if (kind == RING_DOORBELL) {
        dispatch_on_doorbell(&scene->dispatch, event);
        return;
    }
    if (kind == RING_FILE_READ) {
        file_sources_on_read(&scene->core, event);
        return;
    }
    struct connection *connection = connection_find(&scene->connections, event->token);
    assert(connection != NULL);
    if (kind == RING_RECEIVE)
        connection_on_receive(&scene->connections, connection, event);
    else if (kind == RING_SEND)
        connection_on_send(&scene->connections, connection, event);
    else if (kind == RING_IDLE_POLL)
        connection_on_poll(&scene->connections, connection, event);
    else if (kind == RING_CLOSE)
        connection_on_closed(&scene->connections, connection);
}

static void on_connection_timer(struct timer_entry *entry, void *context)
{
    struct scene *scene = context;
    connection_on_timer(&scene->connections, TIMER_OWNER(entry, struct connection, timer));
}

static void on_exchange_timer(struct timer_entry *entry, void *context)
{
    struct scene *scene = context;
    dispatch_on_timer(&scene->dispatch, TIMER_OWNER(entry, struct http_exchange, timer));
}

void scene_turn(struct scene *scene)
{
    static struct ring_event events[RING_EVENTS_MAX];
    struct io_core *core = &scene->core;
    dispatch_pump(&scene->dispatch);
    timer_wheel_advance(&core->wheel, core->now_ms, on_connection_timer, scene);
    timer_wheel_advance(&core->exchange_wheel, core->now_ms, on_exchange_timer, scene);
    gone_watch_turn(&scene->gone, &scene->connections);
    if (scene->tls != NULL)
        (void)tls_intake_turn(scene->tls);
    (void)connections_decrypt(&scene->connections);
    http1_sessions_turn(&scene->http1);
    dispatch_turn(&scene->dispatch);
    connections_turn(&scene->connections);
    int count = ring_wait(core->ring, 0, events, RING_EVENTS_MAX);
    assert(count >= 0);
    for (int i = 0; i < count; i++)
        on_event(scene, &events[i]);
}

void scene_turns(struct scene *scene, uint32_t count)
{
    while (count-- > 0)
        scene_turn(scene);
}

void scene_wait(struct scene *scene, uint64_t ms)
{
    set_clock(scene, scene->core.now_ms + ms);
    scene_turns(scene, GROUND_TURNS);
}

/* ---- clients ---------------------------------------------------------------------------------------------------- */

int scene_connect(struct scene *scene)
{
    int fd = scripted_socket(scene->core.ring);
    struct connection *connection = connection_create(&scene->connections, fd, &scene->listener);
    assert(connection != NULL);
    http1_session_accepted(&scene->http1, connection);
    return fd;
}

void scene_say(struct scene *scene, int fd, const char *text)
{
    scripted_client_sends(scene->core.ring, fd, bytes_of_string(text));
    scene_turns(scene, GROUND_TURNS);
}

const char *scene_heard(struct scene *scene, int fd)
{
    const struct scripted_socket *socket = scripted_at(scene->core.ring, fd);
    return socket->output != NULL ? (const char *)socket->output : "";
}

bool scene_is_closed(struct scene *scene, int fd)
{
    return scripted_at(scene->core.ring, fd)->closed;
}

/* ---- apps ------------------------------------------------------------------------------------------------------- */

void scene_app_up(struct scene *scene, uint32_t index, uint32_t places, uint32_t flags)
{
    static uint32_t last_generation;
    struct scene_app *app = &scene->apps[index];
    const struct exchange_shape *shape = &scene->core.setup.shape;
    *app = (struct scene_app){.up = true, .index = index, .generation = ++last_generation};
    outbound_layout_compute(shape, &app->layout);
    int r = arena_create(&app->outbound, "test-outbound", app->layout.bytes, ARENA_SEAL_SIZE);
    assert(r == 0);
    r = arena_create(&app->pair_memory, "test-pair", pair_page_bytes(shape), ARENA_SEAL_SIZE);
    assert(r == 0);
    app->pair = (struct pair_page *)(void *)app->pair_memory.base;
    const uint32_t epoch = layout_epoch(scene->core.setup.generation, app->generation);
    layout_request_reader(shape, &scene->core.inbound, &app->outbound, SCENE_RING_INDEX, index, epoch, &app->requests);
    layout_reply_writer(shape, &scene->core.inbound, &app->outbound, SCENE_RING_INDEX, index, epoch, &app->replies);
    int files[2];
    r = file_handover_pair(files);
    assert(r == 0);
    app->files = files[1];
    const struct control_peer peer = {
        .index = index, .generation = app->generation, .places = places, .flags = flags, .pid = 1'000 + (int)index};
    struct control_message message = {
        .fd_count = 5,
        .fds = {dup(arena_fd(&app->outbound)), dup(arena_fd(&app->pair_memory)), eventfd(0, EFD_NONBLOCK),
                eventfd(0, EFD_NONBLOCK), files[0]},
    };
    r = dispatch_app_up(&scene->dispatch, &peer, &message);
    assert(r == 0);
}

void scene_app_gone(struct scene *scene, uint32_t index, uint16_t status)
{
    struct scene_app *app = &scene->apps[index];
    if (!app->up)
        return;
    dispatch_app_gone(&scene->dispatch, index, app->generation, status);
    app_deinit(app);
}

bool scene_take(struct scene *scene, uint32_t app, struct message *ret_message)
{
    struct scene_app *at = &scene->apps[app];
    int r;
    while ((r = spsc_pop(&at->requests, ret_message)) == 1) {
        if (ret_message->kind != MESSAGE_BLOCKS)
            return true;
        at->blocks_returned += ret_message->count;
        at->last_block = ret_message->blocks[0];
    }
    assert(r == 0);
    return false;
}

bool scene_claim(struct scene *scene, uint32_t app, const struct message *request)
{
    return slot_claim_take(&scene->apps[app].pair->claims[request->slot], request->generation, SLOT_BEGUN);
}

struct message scene_begin(struct scene *scene, uint32_t app)
{
    struct message request;
    bool taken = scene_take(scene, app, &request);
    assert(taken);
    assert(request.kind == MESSAGE_REQUEST);
    bool claimed = scene_claim(scene, app, &request);
    assert(claimed);
    return request;
}

void scene_reply(struct scene *scene, uint32_t app, const struct message *reply)
{
    bool pushed = spsc_push(&scene->apps[app].replies, reply);
    assert(pushed);
}

static uint32_t block_offset(const struct scene *scene, const struct scene_app *app, uint32_t block)
{
    const uint32_t small = scene->core.setup.shape.outbound_small;
    const uint32_t larges = block < small ? 0 : block - small;
    return app->layout.blocks + (block - larges) * (uint32_t)LAYOUT_SMALL_BLOCK_BYTES +
           larges * (uint32_t)LAYOUT_LARGE_BLOCK_BYTES;
}

struct message scene_piece(struct scene *scene, uint32_t app, const struct message *request, enum message_kind kind,
                           uint32_t block, struct bytes body)
{
    const struct scene_app *at = &scene->apps[app];
    uint32_t offset = block_offset(scene, at, block);
    if (body.length > 0)
        memcpy(at->outbound.base + offset, body.data, body.length);
    return (struct message){
        .kind = (uint8_t)kind,
        .status = 200,
        .slot = request->slot,
        .generation = request->generation,
        .body_offset = offset,
        .body_length = (uint32_t)body.length,
        .body_block = block,
        .head_block = MESSAGE_NO_BLOCK,
        .content_length = -1,
    };
}

void scene_respond(struct scene *scene, uint32_t app, const struct message *request, uint16_t status, const char *body,
                   uint8_t flags)
{
    const uint32_t block = request->slot % scene->core.setup.shape.outbound_small;
    struct message reply = scene_piece(scene, app, request, MESSAGE_RESPONSE, block, bytes_of_string(body));
    reply.status = status;
    reply.flags = MESSAGE_END | flags;
    scene_reply(scene, app, &reply);
}

void scene_done(struct scene *scene, uint32_t app, const struct message *request)
{
    const struct message done = {.kind = MESSAGE_DONE, .slot = request->slot, .generation = request->generation};
    scene_reply(scene, app, &done);
}

struct bytes scene_body(const struct scene *scene, const struct message *message)
{
    return bytes_of(scene->core.inbound.base + message->body_offset, message->body_length);
}

/* ---- exchanges without a session -------------------------------------------------------------------------------- */

static void on_reply(struct http_exchange *exchange, struct reply *reply)
{
    struct scene_owner *owner = exchange->session;
    owner->replies++;
    owner->status = reply->status;
    exchange->response_ended = (reply->flags & MESSAGE_END) != 0;
    reply_discard(reply);
}

static void on_credit(struct http_exchange *exchange, uint32_t octets)
{
    ((struct scene_owner *)exchange->session)->credit += octets;
}

static void on_failure(struct http_exchange *exchange, uint16_t status, enum close_reason reason)
{
    struct scene_owner *owner = exchange->session;
    (void)reason;
    owner->failures++;
    owner->status = status;
}

static const struct http_exchange_owner OWNER = {
    .on_reply = on_reply, .on_credit = on_credit, .on_failure = on_failure, .file_read_bytes = FILE_READ_BYTES};

struct http_exchange *scene_exchange(struct scene *scene, struct scene_owner *owner)
{
    struct http_exchange *exchange = dispatch_exchange(&scene->dispatch);
    assert(exchange != NULL);
    exchange->owner = &OWNER;
    exchange->session = owner;
    exchange->body_ended = true;
    return exchange;
}

struct http_exchange *scene_submit(struct scene *scene, struct scene_owner *owner)
{
    struct http_exchange *exchange = scene_exchange(scene, owner);
    bool taken = dispatch_submit(&scene->dispatch, exchange);
    assert(taken);
    return exchange;
}

void scene_let_go(struct scene *scene, struct http_exchange *exchange)
{
    dispatch_let_go(&scene->dispatch, exchange, true);
}

bool scene_told_stuck(struct scene *scene)
{
    static struct control_message message;
    return control_receive(scene->control, &message) == 1 && message.kind == CONTROL_STUCK;
}
