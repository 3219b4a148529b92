/*
 * Model of the exchange: an I/O process and an app process that do everything at random, and one that is killed.
 *
 * The survivor is this process, the victim is forked for each round and killed by SIGKILL after a random number of
 * steps; a step is one access to shared memory, so death comes between any two of claim, publish and release. After
 * it the survivor drains, sweeps, and counts: no slot lost, none owned twice, no answer for a recalled one, every
 * block home. Then a successor of the next generation attaches to the arena that survived, and the last round ends
 * without a death. Last, both sides run as threads of one process, for the thread sanitizer.
 *
 * The two sides here are small stand-ins for dispatch and app_exchange: what is modelled is the protocol of DESIGN
 * section 3 over the real arena, layout, slot, ring and block code.
 */
#include "daemon/exchange/block_pool.h"
#include "daemon/exchange/layout.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { ROUNDS = 60, REQUESTS = 500 };
#else
enum { ROUNDS = 300, REQUESTS = 2'000 };
#endif

enum { SLOTS = 16, ENTRIES = 8, SMALL = 6, LARGE = 1, OPEN_MAX = 5, ANSWER_BYTES = 200, DEADLINE_S = 60 };
enum { OUTBOUND_BYTES_MAX = 1 << 30, PLENTY = 1 << 20 };

static const struct exchange_shape SHAPE = {.version = EXCHANGE_VERSION,
                                            .rings = 1,
                                            .apps = 1,
                                            .slots = SLOTS,
                                            .fields_max = 4,
                                            .request_entries = ENTRIES,
                                            .reply_entries = ENTRIES,
                                            .recv_buffers = 1,
                                            .recv_buffer_bytes = 4096,
                                            .upload_buffers = 1,
                                            .upload_buffer_bytes = 4096,
                                            .staging_small = 1,
                                            .staging_large = 1,
                                            .outbound_small = SMALL,
                                            .outbound_large = LARGE};

#define CHECK(condition) ((condition) ? (void)0 : fail(#condition, __LINE__))

static void fail(const char *condition, int line)
{
    fprintf(stderr, "exchange_model: line %d: not so: %s\n", line, condition);
    _exit(1);
}

struct random {
    uint64_t state;
};

static uint32_t draw(struct random *random, uint32_t below)
{
    random->state = random->state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(random->state >> 33) % below;
}

/* What is written into record and answer of one life of a slot. */
static uint64_t token_of(uint32_t slot, uint32_t generation)
{
    return ((uint64_t)slot << 32 | generation) * 0x9e3779b97f4a7c15ULL;
}

static void stop_when_stuck(time_t *since, bool progress)
{
    time_t now = time(NULL);
    if (progress || *since == 0)
        *since = now;
    CHECK(now - *since < DEADLINE_S);
    if (!progress)
        sched_yield();
}

/* ---- death ---- */

/* Steps until the victim kills itself; 0: immortal. Of the victim's process only. */
static uint32_t steps_to_live;

static void step(void)
{
    if (steps_to_live != 0 && --steps_to_live == 0)
        kill(getpid(), SIGKILL);
}

/* ---- the I/O process ---- */

enum io_slot { IO_FREE, IO_ASSIGNED };

struct io {
    struct arena inbound, outbound;
    struct inbound_layout layout;
    struct pair_page *pair;
    struct spsc_writer requests;
    struct spsc_reader replies;
    struct random random;
    enum io_slot slots[SLOTS];
    uint32_t generations[SLOTS];
    uint32_t home[SMALL + LARGE];
    uint32_t home_count; /* blocks to give back, waiting for a place in the queue */
    uint32_t to_publish;
    uint32_t published, answered, recalled, unbegun, begun;
};

static void io_publish(struct io *io)
{
    uint32_t slot = draw(&io->random, SLOTS);
    if (io->to_publish == 0 || io->slots[slot] != IO_FREE || spsc_writer_room(&io->requests) == 0)
        return;
    const uint32_t generation = ++io->generations[slot];
    struct slot_record *record = layout_record(&io->inbound, &io->layout, slot);
    step();
    *record = (struct slot_record){.generation = generation, .request_id = token_of(slot, generation)};
    step();
    slot_claim_set(&io->pair->claims[slot], generation, SLOT_QUEUED);
    io->slots[slot] = IO_ASSIGNED;
    io->to_publish--;
    io->published++;
    step();
    CHECK(spsc_push(&io->requests, &(struct message){.kind = MESSAGE_REQUEST, .slot = slot, .generation = generation}));
    step();
}

static void io_free(struct io *io, uint32_t slot)
{
    slot_claim_set(&io->pair->claims[slot], io->generations[slot], SLOT_FREE);
    io->slots[slot] = IO_FREE;
    step();
}

/* A recalled request goes back to those that are still to be published. */
static void io_recall(struct io *io, uint32_t slot)
{
    if (io->slots[slot] != IO_ASSIGNED ||
        !slot_claim_take(&io->pair->claims[slot], io->generations[slot], SLOT_RECALLED))
        return;
    step();
    io->recalled++;
    io->to_publish++;
    io_free(io, slot);
}

static void io_check_answer(const struct io *io, const struct message *message)
{
    const uint32_t slot = message->slot;
    CHECK(message->kind == MESSAGE_RESPONSE);
    CHECK(slot < SLOTS && io->slots[slot] == IO_ASSIGNED);
    CHECK(message->generation == io->generations[slot]);
    uint32_t word = atomic_load_explicit(&io->pair->claims[slot], memory_order_acquire);
    CHECK(word == slot_claim_word(message->generation, SLOT_BEGUN));
    const uint8_t *body = arena_at(&io->outbound, message->body_offset, message->body_length);
    CHECK(body != NULL && message->body_length == ANSWER_BYTES);
    const uint64_t token = token_of(slot, message->generation);
    for (uint32_t i = 0; i + sizeof token <= ANSWER_BYTES; i += sizeof token)
        CHECK(memcmp(body + i, &token, sizeof token) == 0);
}

static void io_give_back(struct io *io)
{
    if (io->home_count == 0 || spsc_writer_room(&io->requests) == 0)
        return;
    struct message message = {.kind = MESSAGE_BLOCKS, .count = io->home_count};
    memcpy(message.blocks, io->home, io->home_count * sizeof io->home[0]);
    io->home_count = 0;
    step();
    CHECK(spsc_push(&io->requests, &message));
    step();
}

static bool io_take_answer(struct io *io)
{
    struct message message;
    int r = spsc_pop(&io->replies, &message);
    CHECK(r >= 0);
    if (r == 0)
        return false;
    step();
    io_check_answer(io, &message);
    CHECK(io->home_count < SMALL + LARGE);
    io->home[io->home_count++] = message.body_block;
    io->answered++;
    io_free(io, message.slot);
    return true;
}

static bool io_idle(const struct io *io)
{
    return io->to_publish == 0 && io->published == io->answered + io->recalled + io->unbegun + io->begun;
}

static bool io_turn(struct io *io)
{
    bool progress = false;
    switch (draw(&io->random, 8)) {
    case 0:
    case 1:
    case 2:
        io_publish(io);
        break;
    case 3:
        io_recall(io, draw(&io->random, SLOTS));
        break;
    case 4:
        io_give_back(io);
        break;
    default:
        progress = io_take_answer(io);
        break;
    }
    return progress;
}

/* The app is dead: its last answers first, then every slot is either unbegun (for another app) or a 502. */
static void io_sweep(struct io *io)
{
    while (io_take_answer(io)) {
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (io->slots[slot] != IO_ASSIGNED)
            continue;
        if (slot_claim_take(&io->pair->claims[slot], io->generations[slot], SLOT_RECALLED)) {
            io->unbegun++;
            io->to_publish++;
        } else {
            uint32_t word = atomic_load_explicit(&io->pair->claims[slot], memory_order_acquire);
            CHECK(word == slot_claim_word(io->generations[slot], SLOT_BEGUN));
            io->begun++;
        }
        io_free(io, slot);
    }
    io->home_count = 0; /* they died with their arena */
    CHECK(io->published == io->answered + io->recalled + io->unbegun + io->begun);
}

/* ---- the app process ---- */

struct app {
    struct arena inbound, outbound;
    struct inbound_layout layout;
    struct outbound_layout out_layout;
    struct pair_page *pair;
    struct spsc_reader requests;
    struct spsc_writer replies;
    struct random random;
    struct block_pool pool;
    struct message waiting[ENTRIES + SLOTS]; /* requests taken from the queue, not yet claimed */
    uint32_t waiting_count;
    struct message open[OPEN_MAX];
    uint32_t open_count;
    uint32_t answered, stale;
    bool pool_made;
};

static bool app_take_message(struct app *app)
{
    struct message message;
    if (app->waiting_count == ENTRIES + SLOTS)
        return false;
    int r = spsc_pop(&app->requests, &message);
    CHECK(r >= 0);
    if (r == 0)
        return false;
    step();
    if (message.kind == MESSAGE_BLOCKS) {
        CHECK(message.count <= MESSAGE_BLOCKS_MAX);
        for (uint32_t i = 0; i < message.count; i++)
            CHECK(block_pool_give_back(&app->pool, message.blocks[i], NULL));
        return true;
    }
    CHECK(message.kind == MESSAGE_REQUEST && message.slot < SLOTS);
    app->waiting[app->waiting_count++] = message;
    return true;
}

static void app_begin(struct app *app)
{
    if (app->waiting_count == 0 || app->open_count == OPEN_MAX)
        return;
    const struct message message = app->waiting[0];
    memmove(app->waiting, app->waiting + 1, --app->waiting_count * sizeof message);
    if (!slot_claim_take(&app->pair->claims[message.slot], message.generation, SLOT_BEGUN)) {
        app->stale++;
        return;
    }
    step();
    const struct slot_record *record = layout_record(&app->inbound, &app->layout, message.slot);
    CHECK(record->generation == message.generation);
    CHECK(record->request_id == token_of(message.slot, message.generation));
    for (uint32_t i = 0; i < app->open_count; i++)
        CHECK(app->open[i].slot != message.slot);
    app->open[app->open_count++] = message;
}

static bool app_answer(struct app *app)
{
    if (app->open_count == 0 || spsc_writer_room(&app->replies) == 0)
        return false;
    int64_t block = block_pool_borrow_small(&app->pool, 0);
    if (block < 0)
        return false;
    uint32_t pick = draw(&app->random, app->open_count);
    const struct message request = app->open[pick];
    const uint64_t token = token_of(request.slot, request.generation);
    const uint32_t offset = block_pool_offset(&app->pool, (uint32_t)block);
    for (uint32_t i = 0; i + sizeof token <= ANSWER_BYTES; i += sizeof token)
        memcpy(app->outbound.base + offset + i, &token, sizeof token);
    step();
    CHECK(spsc_push(&app->replies, &(struct message){.kind = MESSAGE_RESPONSE,
                                                     .flags = MESSAGE_END | MESSAGE_WAS_DONE,
                                                     .status = 200,
                                                     .slot = request.slot,
                                                     .generation = request.generation,
                                                     .body_offset = offset,
                                                     .body_length = ANSWER_BYTES,
                                                     .body_block = (uint32_t)block}));
    app->open[pick] = app->open[--app->open_count];
    app->answered++;
    step();
    return true;
}

static bool app_turn(struct app *app)
{
    switch (draw(&app->random, 3)) {
    case 0:
        return app_take_message(app);
    case 1:
        app_begin(app);
        return false;
    default:
        return app_answer(app);
    }
}

/* The I/O process is dead and reaped: its requests are nobody's, the blocks lent to it come home. */
static void app_sweep(struct app *app)
{
    app->waiting_count = app->open_count = 0;
    for (uint32_t block = 0; block < SMALL + LARGE; block++)
        block_pool_give_back(&app->pool, block, NULL);
    CHECK(block_pool_lent(&app->pool) == 0);
    for (uint32_t i = 0; i < SMALL; i++)
        CHECK(block_pool_borrow_small(&app->pool, 0) >= 0);
    for (uint32_t i = 0; i < SMALL; i++)
        CHECK(block_pool_give_back(&app->pool, i, NULL));
}

/* ---- the supervisor ---- */

struct world {
    struct arena inbound, outbound, pair;
    uint32_t ring_generation, app_generation;
};

static struct arena made(size_t bytes, enum arena_seal seal)
{
    struct arena arena;
    CHECK(arena_create(&arena, "model", bytes, seal) == 0);
    return arena;
}

static struct arena inbound_made(void)
{
    struct inbound_layout layout;
    inbound_layout_compute(&SHAPE, &layout);
    return made(layout.bytes, ARENA_SEAL_WRITER);
}

static struct arena outbound_made(void)
{
    struct outbound_layout layout;
    outbound_layout_compute(&SHAPE, &layout);
    return made(layout.bytes, ARENA_SEAL_SIZE);
}

/* Another process's view of an arena. */
static struct arena adopted(const struct arena *arena, bool writable)
{
    struct arena view;
    CHECK(arena_adopt(&view, dup(arena_fd(arena)), writable, 1, OUTBOUND_BYTES_MAX) == 0);
    return view;
}

static void io_attach(struct io *io, struct world *world)
{
    const uint32_t epoch = layout_epoch(world->ring_generation, world->app_generation);
    io->inbound = world->inbound; /* its maker's own mapping is the only one that may write */
    io->outbound = adopted(&world->outbound, false);
    io->pair = (struct pair_page *)(void *)world->pair.base;
    inbound_layout_compute(&SHAPE, &io->layout);
    layout_request_writer(&SHAPE, &io->inbound, &io->outbound, 0, 0, epoch, &io->requests);
    layout_reply_reader(&SHAPE, &io->inbound, &io->outbound, 0, 0, epoch, &io->replies);
}

static void app_attach(struct app *app, struct world *world)
{
    const uint32_t epoch = layout_epoch(world->ring_generation, world->app_generation);
    app->inbound = adopted(&world->inbound, false);
    app->outbound = world->outbound;
    app->pair = (struct pair_page *)(void *)world->pair.base;
    inbound_layout_compute(&SHAPE, &app->layout);
    outbound_layout_compute(&SHAPE, &app->out_layout);
    layout_request_reader(&SHAPE, &app->inbound, &app->outbound, 0, 0, epoch, &app->requests);
    layout_reply_writer(&SHAPE, &app->inbound, &app->outbound, 0, 0, epoch, &app->replies);
    if (!app->pool_made)
        CHECK(block_pool_init(&app->pool, app->out_layout.blocks, SMALL, LARGE) == 0);
    app->pool_made = true;
}

static struct world world_made(void)
{
    return (struct world){.inbound = inbound_made(),
                          .outbound = outbound_made(),
                          .pair = made(pair_page_bytes(&SHAPE), ARENA_SEAL_SIZE),
                          .ring_generation = 1,
                          .app_generation = 1};
}

static void world_unmake(struct world *world)
{
    arena_deinit(&world->inbound);
    arena_deinit(&world->outbound);
    arena_deinit(&world->pair);
}

static void replace(struct arena *arena, struct arena successor)
{
    arena_deinit(arena);
    *arena = successor;
}

static bool child_gone(pid_t child)
{
    int status;
    pid_t r = waitpid(child, &status, WNOHANG);
    CHECK(r >= 0);
    if (r == child)
        CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    return r == child;
}

/* ---- an app process that is killed, again and again, under an I/O process that lives on ---- */

/* Until it is killed, by itself or by the survivor who has all its answers. */
__attribute__((noreturn)) static void app_child(struct world *world, uint64_t seed, uint32_t steps)
{
    struct app app = {.random = {seed}};
    app_attach(&app, world);
    steps_to_live = steps;
    for (;;)
        if (!app_turn(&app))
            sched_yield();
}

static void run_io_with_app(struct io *io, pid_t child)
{
    time_t since = 0;
    while (!child_gone(child)) {
        if (io_idle(io))
            kill(child, SIGKILL);
        stop_when_stuck(&since, io_turn(io));
    }
}

static void app_dies(uint64_t seed)
{
    struct world world = world_made();
    struct io io = {.random = {seed}, .to_publish = REQUESTS};
    for (int round = 0; round < ROUNDS && (!io_idle(&io) || round == 0); round++) {
        /* The successor is born, and looks, before the survivor has heard of it. */
        uint32_t steps = round == ROUNDS - 1 ? 0 : 1 + draw(&io.random, 100);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            app_child(&world, seed + (uint64_t)round, steps);
        if (round % 2 == 1)
            sched_yield();
        io_attach(&io, &world);
        run_io_with_app(&io, child);
        io_sweep(&io);
        arena_deinit(&io.outbound);
        replace(&world.outbound, outbound_made());
        replace(&world.pair, made(pair_page_bytes(&SHAPE), ARENA_SEAL_SIZE));
        world.app_generation++;
    }
    CHECK(io_idle(&io));
    CHECK(io.answered + io.begun == REQUESTS);
    printf("exchange_model: app killed %u times: %u answered, %u recalled, %u redispatched, %u answered 502\n",
           world.app_generation - 1, io.answered, io.recalled, io.unbegun, io.begun);
    world_unmake(&world);
}

/* ---- an I/O process that is killed under an app process that lives on ---- */

__attribute__((noreturn)) static void io_child(struct world *world, uint64_t seed, uint32_t steps)
{
    struct io io = {.random = {seed}, .to_publish = steps == 0 ? REQUESTS : PLENTY};
    io_attach(&io, world);
    steps_to_live = steps;
    while (!io_idle(&io))
        if (!io_turn(&io))
            sched_yield();
    while (io.home_count > 0)
        io_give_back(&io);
    CHECK(io.answered == REQUESTS);
    _exit(0);
}

static void io_dies(uint64_t seed)
{
    struct world world = world_made();
    struct app app = {.random = {seed}};
    for (int round = 0; round <= ROUNDS; round++) {
        uint32_t steps = round == ROUNDS ? 0 : 1 + draw(&app.random, 300);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            io_child(&world, seed + (uint64_t)round, steps);
        app_attach(&app, &world);
        time_t since = 0;
        while (!child_gone(child))
            stop_when_stuck(&since, app_turn(&app));
        if (round == ROUNDS) {
            while (app_take_message(&app)) {
            }
            CHECK(block_pool_lent(&app.pool) == 0); /* a clean end brings them home without a sweep */
        }
        app_sweep(&app);
        arena_deinit(&app.inbound);
        replace(&world.inbound, inbound_made());
        replace(&world.pair, made(pair_page_bytes(&SHAPE), ARENA_SEAL_SIZE));
        world.ring_generation++;
    }
    printf("exchange_model: I/O process killed %d times: %u answered, %u stale entries refused\n", ROUNDS, app.answered,
           app.stale);
    block_pool_deinit(&app.pool);
    world_unmake(&world);
}

/* ---- both as threads, for the thread sanitizer ---- */

static _Atomic bool app_thread_ends;

static void *app_thread(void *argument)
{
    struct app *app = argument;
    while (!atomic_load_explicit(&app_thread_ends, memory_order_acquire))
        if (!app_turn(app))
            sched_yield();
    while (app_take_message(app)) {
    }
    return NULL;
}

static void both_live(uint64_t seed)
{
    struct world world = world_made();
    struct io io = {.random = {seed}, .to_publish = 5 * REQUESTS};
    struct app app = {.random = {seed + 1}};
    pthread_t thread;
    time_t since = 0;
    io_attach(&io, &world);
    app_attach(&app, &world);
    CHECK(pthread_create(&thread, NULL, app_thread, &app) == 0);
    while (!io_idle(&io) || io.home_count > 0)
        stop_when_stuck(&since, io_turn(&io));
    atomic_store_explicit(&app_thread_ends, true, memory_order_release);
    pthread_join(thread, NULL);
    CHECK(io.answered == 5 * REQUESTS && app.answered == io.answered);
    CHECK(block_pool_lent(&app.pool) == 0);
    printf("exchange_model: threads: %u answered, %u recalled, %u stale entries refused\n", io.answered, io.recalled,
           app.stale);
    block_pool_deinit(&app.pool);
    arena_deinit(&app.inbound);
    arena_deinit(&io.outbound);
    world_unmake(&world);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("exchange_model: seed %" PRIu64 "\n", seed);
    app_dies(seed);
    io_dies(seed);
    both_live(seed);
    return 0;
}
