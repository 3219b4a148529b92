/*
 * Ring: the engine of the I/O process. Typed operations in, events out; nobody else knows io_uring.
 *
 * Owns:    the ring, its restrictions, the provided-buffer rings registered with it.
 * Threads: one, from ring_create() to ring_destroy() (SINGLE_ISSUER, DEFER_TASKRUN).
 * Life:    events of one ring_wait() are drained first and handled afterwards, so a handler may submit freely.
 *
 * An operation carries a token: kind (what completed), generation and index (for whom). The kernel gives it back
 * untouched, so a completion that comes after its owner has gone is recognised by its generation.
 *
 * The interface is this narrow so that another engine (epoll, or a script in a test) can stand behind the same
 * connection code: see struct ring_event for all that is ever learnt.
 */
#ifndef DAEMON_IO_RING_H
#define DAEMON_IO_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct ring;
struct io_uring_buf_ring;

/* What completed. The loop has one handler for each (io_loop.c). */
#define RING_KINDS(X) \
    X(IGNORED)        \
    X(ACCEPT) X(RECEIVE) X(SEND) X(IDLE_POLL) X(CLOSE) X(DOORBELL) X(CONTROL) X(LOG_WRITE) X(SIGNATURE) X(FILE_READ)

enum ring_kind {
#define RING_KIND_ENUM(name) RING_##name,
    RING_KINDS(RING_KIND_ENUM)
#undef RING_KIND_ENUM
        RING_KIND_COUNT
};

typedef uint64_t ring_token;

enum { RING_GENERATION_MASK = 0xffffff };

static inline ring_token ring_token_make(enum ring_kind kind, uint32_t generation, uint32_t index)
{
    return (uint64_t)kind << 56 | (uint64_t)(generation & RING_GENERATION_MASK) << 32 | index;
}

static inline enum ring_kind ring_token_kind(ring_token token)
{
    return (enum ring_kind)(token >> 56);
}

static inline uint32_t ring_token_generation(ring_token token)
{
    return (uint32_t)(token >> 32) & RING_GENERATION_MASK;
}

static inline uint32_t ring_token_index(ring_token token)
{
    return (uint32_t)token;
}

struct ring_event {
    ring_token token;
    int32_t result; /* as the system call would say: octets, descriptor, or a negative errno */
    int32_t buffer; /* number of the provided buffer that was filled, or -1 */
    bool more;      /* the operation stays armed */
};

enum { RING_FILE_STEP_BYTES = 65'536 };
enum { RING_SQ_ENTRIES = 1'024, RING_CQ_ENTRIES = 16'384, RING_EVENTS_MAX = 512 };

/* -EPERM, -ENOSYS, -ENOMEM, -EINVAL: ring_explain() says why in a sentence for the operator. */
[[nodiscard]] int ring_create(struct ring **ret_ring);
void ring_destroy(struct ring *ring);
void ring_explain(int error, char *text, size_t capacity);

/* Between create and enable: `count` buffers (a power of two) of one group, given to the kernel by ring_buffer_add().
 */
[[nodiscard]] int ring_buffers_register(struct ring *ring, uint16_t group, uint32_t count,
                                        struct io_uring_buf_ring **ret_buffers);
/* The caller commits all additions of a turn at once. */
void ring_buffer_add(struct io_uring_buf_ring *buffers, uint32_t count, uint8_t *memory, uint32_t bytes, uint16_t id,
                     int offset);
void ring_buffers_commit(struct io_uring_buf_ring *buffers, int added);

/* Locks the restrictions and starts the ring; from now on only the operations below are possible, by this thread. */
[[nodiscard]] int ring_enable(struct ring *ring);

/* Stays armed; or, of a `shared` socket, for one connection: who asks again stands behind the others who wait, so
 * connections go round. Of those who stay armed the kernel would always wake the first. */
void ring_accept(struct ring *ring, int fd, bool shared, ring_token token);
void ring_receive(struct ring *ring, int fd, uint16_t group, ring_token token); /* stays armed */
/* With `more`, more follows at once: what does not fill a segment, or a record of the kernel's TLS, may wait for it. */
void ring_send(struct ring *ring, int fd, const void *data, size_t bytes, bool more, ring_token token);
void ring_send_message(struct ring *ring, int fd, const struct msghdr *message, bool more, ring_token token);
void ring_poll(struct ring *ring, int fd, uint32_t events, bool stays_armed, ring_token token);
void ring_cancel(struct ring *ring, ring_token victim);
/* The sending half, at once and without an event. */
void ring_shutdown(struct ring *ring, int fd);
void ring_close(struct ring *ring, int fd, ring_token token);
void ring_write(struct ring *ring, int fd, const void *data, size_t bytes, ring_token token);
/* Of a file; what is in the page cache is there at once, for the rest nobody waits but the event. */
void ring_read(struct ring *ring, int fd, void *memory, size_t bytes, uint64_t offset, ring_token token);

/* At once and without an event: octets of a file from the page cache to a socket. How many, or a negative errno; 0: the
 * file ends before `offset`. A page that is not there is waited for, hence the next. */
[[nodiscard]] int64_t ring_send_file(struct ring *ring, int fd, int file, uint64_t offset, size_t bytes);
/* At once: how many octets from `offset` on ring_send_file() need not wait for, also where the file ends; looked at in
 * steps of RING_FILE_STEP_BYTES. 0: those that are first have to be read. -EOPNOTSUPP: nobody can tell. */
[[nodiscard]] int64_t ring_file_at_hand(struct ring *ring, int file, uint64_t offset, size_t bytes);

/*
 * Submits all that was queued, waits until something completes or `timeout_ms` passes (0: does not wait, -1: no
 * limit), and copies at most `capacity` events out. Returns how many, or a negative errno that is fatal.
 */
[[nodiscard]] int ring_wait(struct ring *ring, int64_t timeout_ms, struct ring_event *events, uint32_t capacity);

/* Completion queue overflows so far; each ends the multishot operations it hit. */
uint64_t ring_overflows(const struct ring *ring);

#endif
