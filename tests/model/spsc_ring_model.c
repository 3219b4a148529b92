/*
 * Model of the SPSC ring: a writer thread and a reader thread, every message checked for order and wholeness.
 *
 * Positions start shortly before their 32 bits run over. Small rings keep the writer at the full ring and the reader
 * at the empty one; random pauses move the two against each other. Run it under the thread sanitizer too: it sees a
 * release or an acquire that is missing, which x86 forgives.
 */
#include "daemon/exchange/spsc_ring.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
enum { MESSAGES = 60'000 };
#else
enum { MESSAGES = 600'000 };
#endif

enum { CAPACITY_MAX = 1024, EPOCH = 9 };

struct ring {
    struct spsc_position tail, head;
    struct message entries[CAPACITY_MAX];
    struct spsc_writer writer;
    struct spsc_reader reader;
};

static void fail(const char *what, uint64_t number)
{
    fprintf(stderr, "spsc_ring_model: %s at message %" PRIu64 "\n", what, number);
    exit(1);
}

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void pause_at_random(uint32_t *random)
{
    uint32_t draw = next_random(random);
    if (draw % 64 == 0)
        sched_yield();
    for (uint32_t i = 0; i < draw % 16; i++)
        __asm__ volatile("" ::: "memory");
}

/* Every octet follows from the number, so a torn or stale entry cannot pass. */
static struct message message_of(uint32_t number)
{
    struct message message = {.kind = MESSAGE_REQUEST, .slot = number, .generation = number * 2654435761U};
    for (uint32_t i = 0; i < MESSAGE_BLOCKS_MAX; i++)
        message.blocks[i] = number ^ (i * 0x9e3779b9U);
    return message;
}

static void *write_all(void *argument)
{
    struct ring *ring = argument;
    uint32_t random = 0x1234567;
    for (uint32_t number = 0; number < MESSAGES; number++) {
        const struct message message = message_of(number);
        while (!spsc_push(&ring->writer, &message))
            sched_yield();
        pause_at_random(&random);
    }
    return NULL;
}

static void read_all(struct ring *ring)
{
    uint32_t random = 0x7654321;
    for (uint32_t number = 0; number < MESSAGES;) {
        struct message message;
        bool pending = spsc_reader_pending(&ring->reader);
        int r = spsc_pop(&ring->reader, &message);
        if (r < 0)
            fail("impossible tail", number);
        if (r == 0 && pending)
            fail("pending, yet nothing to pop", number);
        if (r == 0) {
            sched_yield();
            continue;
        }
        const struct message expected = message_of(number);
        if (memcmp(&message, &expected, sizeof message) != 0)
            fail("another message than was pushed", number);
        number++;
        pause_at_random(&random);
    }
    if (spsc_reader_pending(&ring->reader))
        fail("more than was pushed", MESSAGES);
}

static void run(uint32_t capacity)
{
    struct ring *ring = aligned_alloc(64, sizeof *ring);
    if (ring == NULL)
        fail("no memory", 0);
    memset(ring, 0, sizeof *ring);
    const uint32_t start = UINT32_MAX - MESSAGES / 2;
    atomic_init(&ring->tail.value, (uint64_t)EPOCH << 32 | start);
    atomic_init(&ring->head.value, (uint64_t)EPOCH << 32 | start);
    ring->writer = (struct spsc_writer){.entries = ring->entries,
                                        .tail = &ring->tail,
                                        .head = &ring->head,
                                        .capacity = capacity,
                                        .epoch = EPOCH,
                                        .position = start,
                                        .head_seen = start};
    ring->reader = (struct spsc_reader){.entries = ring->entries,
                                        .tail = &ring->tail,
                                        .head = &ring->head,
                                        .capacity = capacity,
                                        .epoch = EPOCH,
                                        .position = start,
                                        .tail_seen = start};
    pthread_t writer;
    if (pthread_create(&writer, NULL, write_all, ring) != 0)
        fail("no thread", 0);
    read_all(ring);
    pthread_join(writer, NULL);
    free(ring);
    printf("spsc_ring_model: capacity %u: %d messages in order\n", capacity, MESSAGES);
}

int main(void)
{
    static const uint32_t capacities[] = {1, 2, 64, CAPACITY_MAX};
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++)
        run(capacities[i]);
    return 0;
}
