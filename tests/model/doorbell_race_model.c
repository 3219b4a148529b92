/*
 * Race model of the doorbell: two processes throw one message to and fro over two rings, with real eventfds.
 *
 * Whoever has nothing sleeps, so every message meets the race between "I sleep" and "is anyone asleep". One side reads
 * its eventfd empty, as an app process does, the other watches by edge and never reads, as a ring does. A sleep longer
 * than the deadline, with a message lying in the queue, is a lost wake. doorbell_model.c is the proof; this shows that
 * the compiler and the kernel do what it supposes.
 */
#include "daemon/exchange/doorbell.h"
#include "daemon/exchange/spsc_ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { ROUNDS = 20'000 };
#else
enum { ROUNDS = 100'000 };
#endif

enum { CAPACITY = 8, DEADLINE_MS = 20'000, BURST_MAX = 4 };
enum side_index { READS, EDGE, SIDES };

struct queue {
    struct spsc_position tail, head;
    struct message entries[CAPACITY];
};

struct shared {
    struct queue to[SIDES];
    _Alignas(64) _Atomic uint32_t sleeping[SIDES];
    int doorbell[SIDES];
};

struct side {
    struct shared *shared;
    enum side_index index;
    struct spsc_reader reader;
    struct spsc_writer writer;
    int epoll;
    uint32_t wakes_sent;
};

static void fail(enum side_index index, const char *what)
{
    fprintf(stderr, "doorbell_race_model: side %d: %s\n", (int)index, what);
    exit(1);
}

static void side_init(struct side *side, struct shared *shared, enum side_index index)
{
    struct queue *in = &shared->to[index];
    struct queue *out = &shared->to[1 - index];
    *side = (struct side){
        .shared = shared,
        .index = index,
        .reader = {.entries = in->entries, .tail = &in->tail, .head = &in->head, .capacity = CAPACITY},
        .writer = {.entries = out->entries, .tail = &out->tail, .head = &out->head, .capacity = CAPACITY},
        .epoll = epoll_create1(EPOLL_CLOEXEC),
    };
    struct epoll_event event = {.events = EPOLLIN | (index == EDGE ? EPOLLET : 0)};
    if (epoll_ctl(side->epoll, EPOLL_CTL_ADD, shared->doorbell[index], &event) < 0)
        fail(index, "epoll");
}

static void sleep_unless_pending(struct side *side)
{
    _Atomic uint32_t *sleeping = &side->shared->sleeping[side->index];
    doorbell_sleeping(sleeping);
    if (!spsc_reader_pending(&side->reader)) {
        struct epoll_event event;
        if (epoll_wait(side->epoll, &event, 1, DEADLINE_MS) == 0)
            fail(side->index, spsc_reader_pending(&side->reader) ? "a lost wake" : "the other side is gone");
        uint64_t count;
        if (side->index == READS && read(side->shared->doorbell[READS], &count, sizeof count) < 0)
            fail(side->index, "read");
    }
    doorbell_awake(sleeping);
}

static void send_burst(struct side *side, uint32_t *sent, uint32_t burst)
{
    for (uint32_t i = 0; i < burst; i++)
        if (!spsc_push(&side->writer, &(struct message){.slot = (*sent)++}))
            fail(side->index, "no room");
    enum side_index other = 1 - side->index;
    side->wakes_sent += doorbell_ring(&side->shared->sleeping[other], side->shared->doorbell[other]);
}

static void receive_burst(struct side *side, uint32_t *received, uint32_t burst)
{
    for (uint32_t i = 0; i < burst;) {
        struct message message;
        if (spsc_pop(&side->reader, &message) == 0) {
            sleep_unless_pending(side);
            continue;
        }
        if (message.slot != (*received)++)
            fail(side->index, "a message out of order");
        i++;
    }
}

static void play(struct side *side)
{
    uint32_t sent = 0, received = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t burst = 1 + round % BURST_MAX;
        if (side->index == EDGE)
            send_burst(side, &sent, burst);
        receive_burst(side, &received, burst);
        if (side->index == READS)
            send_burst(side, &sent, burst);
    }
    close(side->epoll);
    printf("doorbell_race_model: side %d: %u messages, %u wakes sent\n", (int)side->index, received, side->wakes_sent);
}

int main(void)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    for (int i = 0; i < SIDES; i++)
        shared->doorbell[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct side side;
    pid_t child = fork();
    side_init(&side, shared, child == 0 ? READS : EDGE);
    play(&side);
    if (child == 0)
        return 0;
    int status = -1;
    if (waitpid(child, &status, 0) != child || status != 0)
        fail(EDGE, "the other side failed");
    return 0;
}
