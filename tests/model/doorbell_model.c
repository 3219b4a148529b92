/*
 * Model of the doorbell: the code of doorbell.h and spsc_ring.c itself, run under every interleaving.
 *
 * The atomics of those two files are replaced by steps of a small machine, so a change of a memory order there is a
 * change of the model. The machine is weaker than any processor we know: every store waits in its thread's buffer
 * and becomes visible at any later time, in order; only a seq_cst load that follows a seq_cst store of the same thread
 * waits for that store, as the language promises. Two threads take turns at each step, and a depth-first search
 * tries all turns, once from each state. Where nothing can move and the sleeper still sleeps, a wake was lost.
 *
 * The same search then runs with one of the four accesses weakened, and must find a lost wake each time: it proves
 * that the search can fail, and that none of the four orders is there for nothing.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t machine_load(const volatile void *address, size_t bytes, memory_order order);
static void machine_store(volatile void *address, size_t bytes, uint64_t value, memory_order order);
static uint64_t machine_exchange(volatile void *address, size_t bytes, uint64_t value);
static ssize_t machine_write(void);

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#define atomic_load_explicit(address, order)            machine_load(address, sizeof *(address), order)
#define atomic_store_explicit(address, value, order)    machine_store(address, sizeof *(address), value, order)
#define atomic_exchange_explicit(address, value, order) machine_exchange(address, sizeof *(address), value)
#define write(fd, data, bytes)                          ((void)(fd), (void)(data), machine_write())

#include "daemon/exchange/doorbell.h"
#include "daemon/exchange/spsc_ring.c"

enum { SLEEPER, WAKER, THREADS };
enum { STORES_MAX = 16, STEPS_MAX = 256, CAPACITY = 4, STATES_MAX = 1 << 20 };

enum weakened { NOTHING, SLEEPING_STORE, TAIL_LOAD, TAIL_STORE, SLEEPING_LOAD };
enum wake_kind { WAKE_READS, WAKE_EDGE }; /* an app reads its eventfd empty; a ring polls it by edge, never reading */

struct store {
    volatile void *address;
    size_t bytes;
    uint64_t value;
    memory_order order;
};

struct machine_thread {
    sem_t turn;
    bool done;
    bool waits;       /* for an event that has not come */
    uint64_t history; /* of all it has seen, which is where it stands */
    struct store stores[STORES_MAX];
    uint32_t store_count;
};

/* One execution. Shared words are plain here: only the thread whose turn it is touches them. */
static struct machine {
    struct machine_thread threads[THREADS];
    sem_t scheduler;
    uint32_t current;
    bool abandoned; /* the state is known: run to the end without taking turns */
    enum weakened weakened;
    enum wake_kind wake_kind;
    uint32_t messages, batch;

    struct spsc_position tail, head;
    _Atomic uint32_t sleeping;
    uint64_t event;
    uint64_t event_seen;
    struct message entries[CAPACITY];
    struct spsc_writer writer;
    struct spsc_reader reader;
    uint32_t received;
} machine;

/* The choices that lead here, and how many there were at each step: the search is a counter over them. */
static struct {
    uint8_t taken[STEPS_MAX];
    uint8_t possible[STEPS_MAX];
    uint32_t depth;
} path;

/* Hashes of the states that were searched from; 0 is an empty place. */
static uint64_t states[STATES_MAX];
static uint32_t state_count;

static struct machine_thread *self(void)
{
    return &machine.threads[machine.current];
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
    return hash ^ hash >> 29;
}

static uint64_t state_hash(void)
{
    uint64_t hash = mix(mix(mix(1, machine.tail.value), machine.head.value), machine.sleeping);
    hash = mix(mix(hash, machine.event), machine.event_seen);
    for (uint32_t i = 0; i < THREADS; i++) {
        const struct machine_thread *thread = &machine.threads[i];
        hash = mix(mix(mix(hash, thread->done), thread->waits), thread->history);
        for (uint32_t n = 0; n < thread->store_count; n++)
            hash = mix(mix(hash, (uintptr_t)thread->stores[n].address), thread->stores[n].value);
        hash = mix(hash, thread->store_count);
    }
    return hash != 0 ? hash : 1;
}

static bool state_is_known(void)
{
    uint64_t hash = state_hash();
    uint32_t at = hash % STATES_MAX;
    for (; states[at] != 0; at = (at + 1) % STATES_MAX)
        if (states[at] == hash)
            return true;
    states[at] = hash;
    state_count++;
    assert(state_count < STATES_MAX / 2);
    return false;
}

/* Gives the turn back and waits for the next one. */
static void step(void)
{
    struct machine_thread *thread = self();
    thread->history = mix(thread->history, 2);
    if (machine.abandoned)
        return;
    sem_post(&machine.scheduler);
    sem_wait(&thread->turn);
}

static void apply(const struct store *store)
{
    if (store->bytes == sizeof(uint64_t))
        *(volatile uint64_t *)store->address = store->value;
    else
        *(volatile uint32_t *)store->address = (uint32_t)store->value;
}

static void flush(struct machine_thread *thread, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        apply(&thread->stores[i]);
    thread->store_count -= count;
    memmove(thread->stores, thread->stores + count, thread->store_count * sizeof thread->stores[0]);
}

static uint64_t look(const volatile void *address, size_t bytes)
{
    const struct machine_thread *thread = self();
    for (uint32_t i = thread->store_count; i > 0; i--)
        if (thread->stores[i - 1].address == address)
            return thread->stores[i - 1].value;
    return bytes == sizeof(uint64_t) ? *(const volatile uint64_t *)address : *(const volatile uint32_t *)address;
}

static memory_order weaken(const volatile void *address, bool store, memory_order order)
{
    const enum weakened what = address == &machine.sleeping     ? (store ? SLEEPING_STORE : SLEEPING_LOAD)
                               : address == &machine.tail.value ? (store ? TAIL_STORE : TAIL_LOAD)
                                                                : NOTHING;
    if (what == NOTHING || what != machine.weakened || order != memory_order_seq_cst)
        return order;
    return store ? memory_order_release : memory_order_acquire;
}

static uint64_t machine_load(const volatile void *address, size_t bytes, memory_order order)
{
    step();
    struct machine_thread *thread = self();
    if (weaken(address, false, order) == memory_order_seq_cst)
        for (uint32_t i = thread->store_count; i > 0; i--)
            if (thread->stores[i - 1].order == memory_order_seq_cst) {
                flush(thread, i);
                break;
            }
    uint64_t value = look(address, bytes);
    thread->history = mix(thread->history, value);
    return value;
}

static void machine_store(volatile void *address, size_t bytes, uint64_t value, memory_order order)
{
    step();
    struct machine_thread *thread = self();
    if (machine.abandoned)
        flush(thread, thread->store_count);
    assert(thread->store_count < STORES_MAX);
    thread->stores[thread->store_count++] = (struct store){address, bytes, value, weaken(address, true, order)};
}

static uint64_t machine_exchange(volatile void *address, size_t bytes, uint64_t value)
{
    step();
    struct machine_thread *thread = self();
    flush(thread, thread->store_count);
    uint64_t before = look(address, bytes);
    thread->history = mix(thread->history, before);
    apply(&(struct store){address, bytes, value, memory_order_seq_cst});
    return before;
}

/* A write to the eventfd becomes visible after the stores before it, in its own time. */
static ssize_t machine_write(void)
{
    machine_store(&machine.event, sizeof machine.event, look(&machine.event, sizeof machine.event) + 1,
                  memory_order_release);
    return sizeof(uint64_t);
}

static bool event_came(void)
{
    return machine.event != machine.event_seen;
}

static void wait_for_event(void)
{
    step();
    self()->waits = true;
    step(); /* scheduled again only when event_came() */
    self()->waits = false;
    if (machine.wake_kind == WAKE_READS)
        machine.event = machine.event_seen = 0;
    else
        machine.event_seen = machine.event;
}

static void take_all(void)
{
    struct message message;
    while (spsc_pop(&machine.reader, &message) == 1) {
        assert(message.slot == machine.received);
        machine.received++;
    }
}

static void sleeper(void)
{
    for (;;) {
        take_all();
        if (machine.received == machine.messages)
            return;
        doorbell_sleeping(&machine.sleeping);
        if (!spsc_reader_pending(&machine.reader))
            wait_for_event();
        doorbell_awake(&machine.sleeping);
    }
}

static void waker(void)
{
    for (uint32_t i = 0; i < machine.messages; i++) {
        bool pushed = spsc_push(&machine.writer, &(struct message){.slot = i});
        assert(pushed);
        if ((i + 1) % machine.batch == 0)
            doorbell_ring(&machine.sleeping, -1);
    }
}

static void *thread_main(void *argument)
{
    struct machine_thread *thread = argument;
    for (;;) {
        sem_wait(&thread->turn);
        if (thread == &machine.threads[SLEEPER])
            sleeper();
        else
            waker();
        thread->done = true;
        sem_post(&machine.scheduler);
    }
    return NULL;
}

static bool can_run(uint32_t index)
{
    const struct machine_thread *thread = &machine.threads[index];
    return !thread->done && (!thread->waits || event_came());
}

/* Choices in a fixed order: run a thread, or let its oldest store become visible. Returns how many there are; does
 * the `wanted`th. */
static uint32_t choose(uint32_t wanted, bool act)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        if (can_run(i) && count++ == wanted && act) {
            machine.current = i;
            sem_post(&machine.threads[i].turn);
            sem_wait(&machine.scheduler);
            return count;
        }
        if (machine.threads[i].store_count > 0 && count++ == wanted && act) {
            flush(&machine.threads[i], 1);
            return count;
        }
    }
    return count;
}

static void reset(void)
{
    for (uint32_t i = 0; i < THREADS; i++) {
        machine.threads[i].done = machine.threads[i].waits = false;
        machine.threads[i].store_count = 0;
        machine.threads[i].history = 0;
    }
    machine.abandoned = false;
    machine.tail = machine.head = (struct spsc_position){};
    machine.sleeping = 0;
    machine.event = machine.event_seen = 0;
    machine.received = 0;
    machine.writer = (struct spsc_writer){machine.entries, &machine.tail, &machine.head, CAPACITY, 0, 0, 0};
    machine.reader = (struct spsc_reader){machine.entries, &machine.tail, &machine.head, CAPACITY, 0, 0, 0};
}

/* Lets both threads come to their end, the waker first, so that the sleeper finds all it waits for. */
static void abandon(void)
{
    machine.abandoned = true;
    for (uint32_t i = THREADS; i-- > 0;) {
        if (machine.threads[i].done)
            continue;
        machine.current = i;
        sem_post(&machine.threads[i].turn);
        sem_wait(&machine.scheduler);
        flush(&machine.threads[i], machine.threads[i].store_count);
    }
}

/*
 * Runs one schedule: the choices of `path`, known up to `known_depth`, then always the first possible one, until a
 * state comes that was searched before or where nothing can move. Returns whether a wake was lost.
 */
static bool execute(uint32_t known_depth)
{
    reset();
    for (path.depth = 0; path.depth <= known_depth || !state_is_known(); path.depth++) {
        uint32_t possible = choose(UINT32_MAX, false);
        if (possible == 0)
            break;
        assert(path.depth < STEPS_MAX - 1);
        path.possible[path.depth] = (uint8_t)possible;
        choose(path.taken[path.depth], true);
    }
    bool lost = choose(UINT32_MAX, false) == 0 && !machine.threads[SLEEPER].done;
    abandon();
    return lost;
}

/* The next schedule in depth-first order; false when all were tried. */
static bool advance(void)
{
    while (path.depth > 0) {
        path.depth--;
        if (++path.taken[path.depth] < path.possible[path.depth])
            return true;
        path.taken[path.depth] = 0;
    }
    return false;
}

/* Tries all schedules, or until one loses a wake. */
static bool loses_a_wake(enum weakened weakened, enum wake_kind kind, uint32_t messages, uint32_t batch)
{
    memset(&path, 0, sizeof path);
    memset(states, 0, sizeof states);
    state_count = 0;
    machine.weakened = weakened;
    machine.wake_kind = kind;
    machine.messages = messages;
    machine.batch = batch;
    do
        if (execute(path.depth))
            return true;
    while (advance());
    return false;
}

static const struct {
    const char *name;
    enum weakened weakened;
    bool loses;
} CASES[] = {
    {"as it is", NOTHING, false},
    {"the store of `sleeping` weakened", SLEEPING_STORE, true},
    {"the sleeper's second look weakened", TAIL_LOAD, true},
    {"the store of the tail weakened", TAIL_STORE, true},
    {"the load of `sleeping` weakened", SLEEPING_LOAD, true},
};

static int check(enum wake_kind kind, uint32_t messages, uint32_t batch)
{
    int failures = 0;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        bool lost = loses_a_wake(CASES[i].weakened, kind, messages, batch);
        bool right = lost == CASES[i].loses;
        failures += !right;
        printf("doorbell_model: %s, %u messages in batches of %u, %s: %s, %u states%s\n",
               kind == WAKE_READS ? "eventfd read" : "eventfd by edge", messages, batch, CASES[i].name,
               lost ? "a lost wake" : "no lost wake", state_count, right ? "" : "  FAILED");
    }
    return failures;
}

int main(void)
{
    sem_init(&machine.scheduler, 0, 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_t thread;
        sem_init(&machine.threads[i].turn, 0, 0);
        if (pthread_create(&thread, NULL, thread_main, &machine.threads[i]) != 0)
            return 1;
        pthread_detach(thread);
    }
    static const struct {
        enum wake_kind kind;
        uint32_t messages, batch;
    } scenarios[] = {{WAKE_READS, 1, 1}, {WAKE_EDGE, 1, 1}, {WAKE_READS, 2, 1}, {WAKE_EDGE, 2, 1}, {WAKE_EDGE, 2, 2}};
    int failures = 0;
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        failures += check(scenarios[i].kind, scenarios[i].messages, scenarios[i].batch);
    return failures != 0;
}
