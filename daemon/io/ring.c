#include "daemon/io/ring.h"

#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

enum { BUFFER_GROUPS_MAX = 4 };

struct buffer_memory {
    void *base;
    size_t bytes;
};

struct ring {
    struct io_uring uring;
    struct buffer_memory buffers[BUFFER_GROUPS_MAX];
    uint32_t buffer_groups;
    uint64_t overflows;
    bool created;
    bool enabled;
};

/* All that the I/O process ever asks of the kernel through the ring: a ring is a hole in a seccomp filter, so the list
 * is short and closed before the first client is accepted. */
static const uint8_t ALLOWED_OPERATIONS[] = {
    IORING_OP_ACCEPT,       IORING_OP_RECV,  IORING_OP_SEND,  IORING_OP_SENDMSG, IORING_OP_POLL_ADD,
    IORING_OP_ASYNC_CANCEL, IORING_OP_CLOSE, IORING_OP_WRITE, IORING_OP_READ,
};

static const uint8_t ALLOWED_REGISTRATIONS[] = {
    IORING_REGISTER_ENABLE_RINGS,
    IORING_REGISTER_RING_FDS,
    IORING_UNREGISTER_RING_FDS,
};

static int register_restrictions(struct ring *ring)
{
    struct io_uring_restriction rules[sizeof ALLOWED_OPERATIONS + sizeof ALLOWED_REGISTRATIONS + 1] = {};
    unsigned count = 0;
    for (size_t i = 0; i < sizeof ALLOWED_OPERATIONS; i++)
        rules[count++] =
            (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = ALLOWED_OPERATIONS[i]};
    for (size_t i = 0; i < sizeof ALLOWED_REGISTRATIONS; i++)
        rules[count++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_REGISTER_OP,
                                                       .register_op = ALLOWED_REGISTRATIONS[i]};
    rules[count++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
                                                   .sqe_flags = IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS};
    /* Debian 12's shared library declares io_uring_register_restrictions() but does not export it. */
    return io_uring_register((unsigned)ring->uring.ring_fd, IORING_REGISTER_RESTRICTIONS, rules, count);
}

int ring_create(struct ring **ret_ring)
{
    struct ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return -ENOMEM;
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED,
        .cq_entries = RING_CQ_ENTRIES,
    };
    int r = io_uring_queue_init_params(RING_SQ_ENTRIES, &ring->uring, &params);
    if (r < 0) {
        free(ring);
        return r;
    }
    ring->created = true;
    const uint32_t needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL |
                            IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP;
    r = (params.features & needed) == needed ? register_restrictions(ring) : -EINVAL;
    if (r < 0) {
        ring_destroy(ring);
        return r;
    }
    *ret_ring = ring;
    return 0;
}

void ring_destroy(struct ring *ring)
{
    if (ring == NULL)
        return;
    if (ring->created)
        io_uring_queue_exit(&ring->uring);
    for (uint32_t i = 0; i < ring->buffer_groups; i++)
        munmap(ring->buffers[i].base, ring->buffers[i].bytes);
    free(ring);
}

static int read_number(const char *path)
{
    FILE *file = fopen(path, "re");
    int value = -1;
    if (file == NULL)
        return -1;
    if (fscanf(file, "%d", &value) != 1)
        value = -1;
    fclose(file);
    return value;
}

static bool filtered_by_seccomp(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    int mode = 0;
    if (file == NULL)
        return false;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Seccomp: %d", &mode) == 1)
            break;
    fclose(file);
    return mode == 2;
}

void ring_explain(int error, char *text, size_t capacity)
{
    int disabled = read_number("/proc/sys/kernel/io_uring_disabled");
    struct rlimit memlock = {};
    getrlimit(RLIMIT_MEMLOCK, &memlock);
    if (error == -EPERM && disabled > 0)
        snprintf(text, capacity,
                 "io_uring is switched off here: sysctl kernel.io_uring_disabled is %d (kernel.io_uring_group %d); "
                 "set it to 0, or to 1 with this server's group as kernel.io_uring_group",
                 disabled, read_number("/proc/sys/kernel/io_uring_group"));
    else if ((error == -EPERM || error == -ENOSYS) && filtered_by_seccomp())
        snprintf(text, capacity,
                 "a seccomp filter denies io_uring (container runtimes do so by default): allow io_uring_setup, "
                 "io_uring_enter and io_uring_register in the profile");
    else if (error == -ENOSYS)
        snprintf(text, capacity, "this kernel has no io_uring; Linux 6.1 or newer is needed");
    else if (error == -ENOMEM)
        snprintf(text, capacity,
                 "not enough lockable memory for the ring: about 512 KiB a ring are needed, RLIMIT_MEMLOCK is %llu KiB "
                 "(LimitMEMLOCK= in a unit file, ulimit -l in a shell)",
                 (unsigned long long)memlock.rlim_cur / 1024);
    else if (error == -EINVAL)
        snprintf(text, capacity, "this kernel is too old for the io_uring engine; Linux 6.1 or newer is needed");
    else
        snprintf(text, capacity, "io_uring could not be set up: %s", strerror(-error));
}

int ring_buffers_register(struct ring *ring, uint16_t group, uint32_t count, struct io_uring_buf_ring **ret_buffers)
{
    if (ring->buffer_groups == BUFFER_GROUPS_MAX)
        return -ENOSPC;
    size_t bytes = count * sizeof(struct io_uring_buf);
    /* The kernel reads addresses from these pages: they are private, whatever the buffers themselves are. */
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return -errno;
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)base, .ring_entries = count, .bgid = group};
    int r = io_uring_register_buf_ring(&ring->uring, &registration, 0);
    if (r < 0) {
        munmap(base, bytes);
        return r;
    }
    ring->buffers[ring->buffer_groups++] = (struct buffer_memory){base, bytes};
    io_uring_buf_ring_init(base);
    *ret_buffers = base;
    return 0;
}

void ring_buffer_add(struct io_uring_buf_ring *buffers, uint32_t count, uint8_t *memory, uint32_t bytes, uint16_t id,
                     int offset)
{
    io_uring_buf_ring_add(buffers, memory, bytes, id, io_uring_buf_ring_mask(count), offset);
}

void ring_buffers_commit(struct io_uring_buf_ring *buffers, int added)
{
    io_uring_buf_ring_advance(buffers, added);
}

int ring_enable(struct ring *ring)
{
    /* Not exported by Debian 12's library either. */
    int r = io_uring_register((unsigned)ring->uring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (r < 0)
        return r;
    ring->enabled = true;
    r = io_uring_register_ring_fd(&ring->uring);
    return r < 0 ? r : 0;
}

static struct io_uring_sqe *next_entry(struct ring *ring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->uring);
    while (entry == NULL) {
        /* Full: what was queued so far goes now. With SUBMIT_ALL and a stable SQ nothing is lost. */
        io_uring_submit(&ring->uring);
        entry = io_uring_get_sqe(&ring->uring);
    }
    return entry;
}

/* liburing's prep functions clear user_data, so the token is set after them. */
static void finish_entry(struct io_uring_sqe *entry, ring_token token)
{
    io_uring_sqe_set_data64(entry, token);
}

void ring_accept(struct ring *ring, int fd, bool shared, ring_token token)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_accept(entry, fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (!shared)
        entry->ioprio |= IORING_ACCEPT_MULTISHOT;
    finish_entry(entry, token);
}

void ring_receive(struct ring *ring, int fd, uint16_t group, ring_token token)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_recv_multishot(entry, fd, NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = group;
    finish_entry(entry, token);
}

static unsigned int send_flags(bool more)
{
    return MSG_NOSIGNAL | (more ? MSG_MORE : 0);
}

void ring_send(struct ring *ring, int fd, const void *data, size_t bytes, bool more, ring_token token)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_send(entry, fd, data, bytes, (int)send_flags(more));
    finish_entry(entry, token);
}

void ring_send_message(struct ring *ring, int fd, const struct msghdr *message, bool more, ring_token token)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_sendmsg(entry, fd, message, send_flags(more));
    finish_entry(entry, token);
}

void ring_poll(struct ring *ring, int fd, uint32_t events, bool stays_armed, ring_token token)
{
    struct io_uring_sqe *entry = next_entry(ring);
    if (stays_armed)
        io_uring_prep_poll_multishot(entry, fd, events);
    else
        io_uring_prep_poll_add(entry, fd, events);
    finish_entry(entry, token);
}

void ring_cancel(struct ring *ring, ring_token victim)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_cancel64(entry, victim, 0);
    finish_entry(entry, ring_token_make(RING_IGNORED, 0, 0));
}

/*
 * Not by the ring: its shutdown always goes to a worker thread, which looks the descriptor up only when it runs. By
 * then the connection may be closed and the number another client's, who would be shut down in its place (seen: one new
 * connection in thousands ended before its first answer).
 */
void ring_shutdown(struct ring *ring, int fd)
{
    (void)ring;
    (void)shutdown(fd, SHUT_WR); /* ENOTCONN: the client was faster */
}

void ring_close(struct ring *ring, int fd, ring_token token)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_close(entry, fd);
    finish_entry(entry, token);
}

void ring_write(struct ring *ring, int fd, const void *data, size_t bytes, ring_token token)
{
    struct io_uring_sqe *entry = next_entry(ring);
    /* Offset -1: the file's own position, so that O_APPEND and pipes both work. */
    io_uring_prep_write(entry, fd, data, (unsigned)bytes, (uint64_t)-1);
    finish_entry(entry, token);
}

void ring_read(struct ring *ring, int fd, void *memory, size_t bytes, uint64_t offset, ring_token token)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_read(entry, fd, memory, (unsigned)bytes, offset);
    finish_entry(entry, token);
}

/* Not by the ring, which has no such operation: its splice needs a pipe, and goes to a worker thread for each piece. */
int64_t ring_send_file(struct ring *ring, int fd, int file, uint64_t offset, size_t bytes)
{
    (void)ring;
    off_t at = (off_t)offset;
    ssize_t sent = sendfile(fd, file, &at, bytes);
    return sent < 0 ? -errno : sent;
}

/* One octet: 1 when it is there, 0 behind the end of the file. */
static int64_t look_at(int file, uint64_t offset)
{
    uint8_t octet;
    const struct iovec part = {&octet, 1};
    ssize_t got = preadv2(file, &part, 1, (off_t)offset, RWF_NOWAIT);
    return got < 0 ? -errno : got;
}

/*
 * The last page of each step: the page cache fills and empties in runs, so a run that ends within a step does not reach
 * that page. (A look costs 0.7 us, so one at each page of a window would cost half of what sending it does.)
 */
int64_t ring_file_at_hand(struct ring *ring, int file, uint64_t offset, size_t bytes)
{
    (void)ring;
    int64_t found = look_at(file, offset);
    size_t ready = 0;
    while (found > 0 && ready < bytes) {
        size_t step = RING_FILE_STEP_BYTES - (size_t)((offset + ready) % RING_FILE_STEP_BYTES);
        step = step < bytes - ready ? step : bytes - ready;
        found = look_at(file, offset + ready + step - 1);
        if (found >= 0)
            ready += step;
    }
    if (ready > 0 || found >= 0)
        return ready > 0 ? (int64_t)ready : (int64_t)bytes;
    return found == -EAGAIN ? 0 : found;
}

static int submit_and_wait(struct ring *ring, int64_t timeout_ms)
{
    if (timeout_ms == 0)
        return io_uring_submit_and_get_events(&ring->uring);
    struct io_uring_cqe *cqe;
    struct __kernel_timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1'000'000};
    return io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, timeout_ms < 0 ? NULL : &timeout, NULL);
}

static bool harmless(int error)
{
    /* ETIME: the wait is over. EINTR: a signal. EBUSY, EAGAIN: the completion queue overflowed or memory is short;
     * both go when completions have been taken. */
    return error == -ETIME || error == -EINTR || error == -EBUSY || error == -EAGAIN;
}

int ring_wait(struct ring *ring, int64_t timeout_ms, struct ring_event *events, uint32_t capacity)
{
    bool left = io_uring_cq_ready(&ring->uring) > 0;
    int r = submit_and_wait(ring, left ? 0 : timeout_ms);
    if (r < 0 && !harmless(r))
        return r;
    if (IO_URING_READ_ONCE(*ring->uring.sq.kflags) & IORING_SQ_CQ_OVERFLOW)
        ring->overflows++;

    struct io_uring_cqe *cqe;
    unsigned head;
    uint32_t count = 0;
    io_uring_for_each_cqe(&ring->uring, head, cqe)
    {
        if (count == capacity)
            break;
        bool buffer = (cqe->flags & IORING_CQE_F_BUFFER) != 0;
        events[count++] = (struct ring_event){
            .token = io_uring_cqe_get_data64(cqe),
            .result = cqe->res,
            .buffer = buffer ? (int32_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT) : -1,
            .more = (cqe->flags & IORING_CQE_F_MORE) != 0,
        };
    }
    io_uring_cq_advance(&ring->uring, count);
    return (int)count;
}

uint64_t ring_overflows(const struct ring *ring)
{
    return ring->overflows;
}
