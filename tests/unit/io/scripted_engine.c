#include "tests/unit/io/scripted_engine.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { GROUPS_MAX = 5, BUFFERS_MAX = 256, EVENTS_MAX = 64, READS_MAX = 64 };

struct scripted_buffer {
    uint8_t *memory;
    uint32_t bytes;
    uint16_t id;
};

/* What ring.h calls io_uring_buf_ring: a queue of free buffers. Added ones count from the commit on. */
struct io_uring_buf_ring {
    struct scripted_buffer buffers[BUFFERS_MAX];
    uint32_t count;
    uint32_t head, tail;
};

struct scripted_read {
    int fd;
    void *memory;
    size_t bytes;
    uint64_t offset;
    ring_token token;
};

struct ring {
    struct io_uring_buf_ring *groups[GROUPS_MAX];
    struct scripted_socket sockets[SCRIPTED_SOCKETS_MAX];
    struct ring_event events[EVENTS_MAX];
    uint32_t socket_count;
    uint32_t event_count;
    struct scripted_read reads[READS_MAX];
    uint32_t read_count;
    size_t read_max;
    bool reads_wait;
    bool files_at_hand;
    size_t at_hand;
    uint32_t polls;
    uint32_t accepts;
    uint64_t overflows;
};

int ring_create(struct ring **ret_ring)
{
    *ret_ring = calloc(1, sizeof **ret_ring);
    return *ret_ring != NULL ? 0 : -ENOMEM;
}

void ring_destroy(struct ring *ring)
{
    for (uint32_t i = 0; i < GROUPS_MAX; i++)
        free(ring->groups[i]);
    for (uint32_t i = 0; i < ring->socket_count; i++) {
        free(ring->sockets[i].input);
        free(ring->sockets[i].output);
    }
    free(ring);
}

void ring_explain(int error, char *text, size_t capacity)
{
    (void)error;
    if (capacity > 0)
        text[0] = '\0';
}

int ring_enable(struct ring *ring)
{
    (void)ring;
    return 0;
}

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

int ring_buffers_register(struct ring *ring, uint16_t group, uint32_t count, struct io_uring_buf_ring **ret_buffers)
{
    assert(group < GROUPS_MAX);
    assert(count <= BUFFERS_MAX);
    struct io_uring_buf_ring *buffers = calloc(1, sizeof *buffers);
    if (buffers == NULL)
        return -ENOMEM;
    buffers->count = count;
    ring->groups[group] = buffers;
    *ret_buffers = buffers;
    return 0;
}

void ring_buffer_add(struct io_uring_buf_ring *buffers, uint32_t count, uint8_t *memory, uint32_t bytes, uint16_t id,
                     int offset)
{
    assert(count == buffers->count);
    assert(buffers->tail - buffers->head + (uint32_t)offset < count);
    buffers->buffers[(buffers->tail + (uint32_t)offset) & (count - 1)] = (struct scripted_buffer){memory, bytes, id};
}

void ring_buffers_commit(struct io_uring_buf_ring *buffers, int added)
{
    buffers->tail += (uint32_t)added;
}

uint32_t scripted_buffers_free(const struct ring *ring, uint16_t group)
{
    return ring->groups[group]->tail - ring->groups[group]->head;
}

uint16_t scripted_buffer_last(const struct ring *ring, uint16_t group)
{
    const struct io_uring_buf_ring *buffers = ring->groups[group];
    return buffers->buffers[(buffers->tail - 1) & (buffers->count - 1)].id;
}

void scripted_buffer_taken(struct ring *ring, uint16_t group)
{
    assert(scripted_buffers_free(ring, group) > 0);
    ring->groups[group]->head++;
}

/* ---- operations ------------------------------------------------------------------------------------------------- */

int scripted_socket(struct ring *ring)
{
    assert(ring->socket_count < SCRIPTED_SOCKETS_MAX);
    ring->sockets[ring->socket_count].used = true;
    return SCRIPTED_FD_FIRST + (int)ring->socket_count++;
}

struct scripted_socket *scripted_at(struct ring *ring, int fd)
{
    assert(fd >= SCRIPTED_FD_FIRST);
    assert((uint32_t)(fd - SCRIPTED_FD_FIRST) < ring->socket_count);
    return &ring->sockets[fd - SCRIPTED_FD_FIRST];
}

static void arm(struct scripted_operation *operation, ring_token token)
{
    assert(!operation->armed);
    *operation = (struct scripted_operation){.armed = true, .token = token};
}

void ring_accept(struct ring *ring, int fd, bool shared, ring_token token)
{
    (void)fd;
    (void)shared;
    (void)token;
    ring->accepts++;
}

void ring_receive(struct ring *ring, int fd, uint16_t group, ring_token token)
{
    struct scripted_socket *socket = scripted_at(ring, fd);
    assert(!socket->closed);
    arm(&socket->receive, token);
    socket->group = group;
    socket->receives++;
}

static void send_parts(struct ring *ring, int fd, const struct iovec *parts, size_t count, ring_token token)
{
    struct scripted_socket *socket = scripted_at(ring, fd);
    assert(!socket->closed);
    arm(&socket->send, token);
    socket->parts = parts;
    socket->part_count = count;
}

void ring_send(struct ring *ring, int fd, const void *data, size_t bytes, bool more, ring_token token)
{
    struct scripted_socket *socket = scripted_at(ring, fd);
    socket->corked_bytes += more ? bytes : 0;
    socket->plain = (struct iovec){(void *)(uintptr_t)data, bytes};
    send_parts(ring, fd, &socket->plain, 1, token);
}

void ring_send_message(struct ring *ring, int fd, const struct msghdr *message, bool more, ring_token token)
{
    for (size_t i = 0; more && i < message->msg_iovlen; i++)
        scripted_at(ring, fd)->corked_bytes += message->msg_iov[i].iov_len;
    send_parts(ring, fd, message->msg_iov, message->msg_iovlen, token);
}

void ring_poll(struct ring *ring, int fd, uint32_t events, bool stays_armed, ring_token token)
{
    if (stays_armed)
        ring->polls++;
    else if (events == POLLOUT)
        arm(&scripted_at(ring, fd)->writable, token);
    else
        arm(&scripted_at(ring, fd)->poll, token);
}

static void cancel(struct scripted_operation *operation, ring_token victim)
{
    if (operation->armed && operation->token == victim)
        operation->cancelled = true;
}

void ring_cancel(struct ring *ring, ring_token victim)
{
    for (uint32_t i = 0; i < ring->socket_count; i++) {
        cancel(&ring->sockets[i].receive, victim);
        cancel(&ring->sockets[i].send, victim);
        cancel(&ring->sockets[i].poll, victim);
        cancel(&ring->sockets[i].writable, victim);
    }
}

void ring_shutdown(struct ring *ring, int fd)
{
    scripted_at(ring, fd)->shut = true;
}

void ring_close(struct ring *ring, int fd, ring_token token)
{
    struct scripted_socket *socket = scripted_at(ring, fd);
    assert(!socket->closed);
    assert(!socket->receive.armed);
    assert(!socket->send.armed);
    assert(!socket->poll.armed);
    assert(!socket->writable.armed);
    arm(&socket->close, token);
}

void ring_write(struct ring *ring, int fd, const void *data, size_t bytes, ring_token token)
{
    (void)fd;
    (void)data;
    scripted_event(ring, &(struct ring_event){.token = token, .result = (int32_t)bytes, .buffer = -1});
}

/* ---- what clients do -------------------------------------------------------------------------------------------- */

static void append(uint8_t **memory, size_t *used, const uint8_t *data, size_t length)
{
    if (length == 0)
        return;
    *memory = realloc(*memory, *used + length + 1);
    assert(*memory != NULL);
    memcpy(*memory + *used, data, length);
    *used += length;
    (*memory)[*used] = '\0';
}

void scripted_client_sends(struct ring *ring, int fd, struct bytes data)
{
    struct scripted_socket *socket = scripted_at(ring, fd);
    append(&socket->input, &socket->input_bytes, data.data, data.length);
}

void scripted_client_ends(struct ring *ring, int fd)
{
    scripted_at(ring, fd)->eof = true;
}

void scripted_event(struct ring *ring, const struct ring_event *event)
{
    assert(ring->event_count < EVENTS_MAX);
    ring->events[ring->event_count++] = *event;
}

uint32_t scripted_armed(const struct ring *ring)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < ring->socket_count; i++) {
        const struct scripted_socket *socket = &ring->sockets[i];
        count += socket->receive.armed || socket->send.armed || socket->poll.armed || socket->writable.armed ||
                 socket->close.armed;
    }
    return count;
}

uint32_t scripted_polls(const struct ring *ring)
{
    return ring->polls;
}

uint32_t scripted_accepts(const struct ring *ring)
{
    return ring->accepts;
}

/* ---- what completes --------------------------------------------------------------------------------------------- */

struct completions {
    struct ring_event *events;
    uint32_t count, capacity;
};

static bool complete(struct completions *done, struct scripted_operation *operation, int32_t result, int32_t buffer,
                     bool more)
{
    if (done->count == done->capacity)
        return false;
    done->events[done->count++] =
        (struct ring_event){.token = operation->token, .result = result, .buffer = buffer, .more = more};
    if (!more)
        operation->armed = false;
    return true;
}

static void receive_data(struct ring *ring, struct scripted_socket *socket, struct completions *done)
{
    struct io_uring_buf_ring *buffers = ring->groups[socket->group];
    while (socket->receive.armed && socket->input_bytes > 0 && done->count < done->capacity) {
        if (buffers->head == buffers->tail) {
            complete(done, &socket->receive, -ENOBUFS, -1, false);
            return;
        }
        struct scripted_buffer *buffer = &buffers->buffers[buffers->head++ & (buffers->count - 1)];
        size_t length = socket->input_bytes < buffer->bytes ? socket->input_bytes : buffer->bytes;
        if (socket->receive_max > 0 && length > socket->receive_max)
            length = socket->receive_max;
        memcpy(buffer->memory, socket->input, length);
        memset(buffer->memory + length, 0xdd, buffer->bytes - length); /* of what was there before nothing is left */
        memmove(socket->input, socket->input + length, socket->input_bytes - length);
        socket->input_bytes -= length;
        complete(done, &socket->receive, (int32_t)length, buffer->id, true);
    }
}

static void take_receive(struct ring *ring, struct scripted_socket *socket, struct completions *done)
{
    if (!socket->receive.armed)
        return;
    if (socket->receive.cancelled) {
        if (socket->cancels_late)
            receive_data(ring, socket, done);
        if (socket->receive.armed)
            complete(done, &socket->receive, -ECANCELED, -1, false);
    } else if (socket->receive_error != 0) {
        if (complete(done, &socket->receive, socket->receive_error, -1, false))
            socket->receive_error = 0;
    } else {
        receive_data(ring, socket, done);
        if (socket->receive.armed && socket->input_bytes == 0 && socket->eof)
            complete(done, &socket->receive, 0, -1, false);
    }
}

static size_t take_parts(struct scripted_socket *socket)
{
    size_t left = socket->send_max > 0 ? socket->send_max : SIZE_MAX;
    size_t taken = 0;
    for (size_t i = 0; i < socket->part_count && left > 0; i++) {
        size_t length = socket->parts[i].iov_len < left ? socket->parts[i].iov_len : left;
        append(&socket->output, &socket->output_bytes, socket->parts[i].iov_base, length);
        taken += length;
        left -= length;
    }
    return taken;
}

static void take_send(struct scripted_socket *socket, struct completions *done)
{
    if (!socket->send.armed || done->count == done->capacity)
        return;
    if (socket->send.cancelled) {
        complete(done, &socket->send, -ECANCELED, -1, false);
    } else if (socket->send_error != 0) {
        complete(done, &socket->send, socket->send_error, -1, false);
        socket->send_error = 0;
    } else if (socket->shut) {
        complete(done, &socket->send, -EPIPE, -1, false);
    } else if (!socket->send_stalled) {
        complete(done, &socket->send, (int32_t)take_parts(socket), -1, false);
    }
}

static void poll_and_close(struct scripted_socket *socket, struct completions *done)
{
    if (socket->writable.armed && (socket->writable.cancelled || !socket->send_stalled))
        complete(done, &socket->writable, socket->writable.cancelled ? -ECANCELED : POLLOUT, -1, false);
    if (socket->poll.armed && (socket->poll.cancelled || socket->input_bytes > 0 || socket->eof))
        complete(done, &socket->poll, socket->poll.cancelled ? -ECANCELED : 1, -1, false);
    if (socket->close.armed && complete(done, &socket->close, 0, -1, false))
        socket->closed = true;
}

/* The file is a real one. */
void ring_read(struct ring *ring, int fd, void *memory, size_t bytes, uint64_t offset, ring_token token)
{
    assert(ring->read_count < READS_MAX);
    ring->reads[ring->read_count++] = (struct scripted_read){fd, memory, bytes, offset, token};
}

int64_t ring_send_file(struct ring *ring, int fd, int file, uint64_t offset, size_t bytes)
{
    struct scripted_socket *socket = scripted_at(ring, fd);
    assert(!socket->closed);
    if (socket->send_error != 0)
        return socket->send_error;
    size_t length = socket->send_max > 0 && socket->send_max < bytes ? socket->send_max : bytes;
    uint8_t *memory = malloc(length);
    assert(memory != NULL);
    ssize_t got = pread(file, memory, length, (off_t)offset);
    if (got > 0)
        append(&socket->output, &socket->output_bytes, memory, (size_t)got);
    free(memory);
    socket->file_sends++;
    return got < 0 ? -errno : got;
}

int64_t ring_file_at_hand(struct ring *ring, int file, uint64_t offset, size_t bytes)
{
    (void)file;
    (void)offset;
    if (!ring->files_at_hand)
        return -EOPNOTSUPP;
    return (int64_t)(ring->at_hand < bytes ? ring->at_hand : bytes);
}

void scripted_files_at_hand(struct ring *ring, size_t bytes)
{
    ring->files_at_hand = true;
    ring->at_hand = bytes;
}

void scripted_read_max(struct ring *ring, size_t bytes)
{
    ring->read_max = bytes;
}

void scripted_hold_reads(struct ring *ring, bool hold)
{
    ring->reads_wait = hold;
}

uint32_t scripted_reads_held(const struct ring *ring)
{
    return ring->read_count;
}

static void take_reads(struct ring *ring, struct completions *done)
{
    while (!ring->reads_wait && ring->read_count > 0 && done->count < done->capacity) {
        const struct scripted_read *read = &ring->reads[--ring->read_count];
        size_t bytes = ring->read_max > 0 && ring->read_max < read->bytes ? ring->read_max : read->bytes;
        ssize_t got = pread(read->fd, read->memory, bytes, (off_t)read->offset);
        done->events[done->count++] =
            (struct ring_event){.token = read->token, .result = got < 0 ? -errno : (int32_t)got, .buffer = -1};
    }
}

int ring_wait(struct ring *ring, int64_t timeout_ms, struct ring_event *events, uint32_t capacity)
{
    (void)timeout_ms;
    struct completions done = {.events = events, .capacity = capacity};
    while (ring->event_count > 0 && done.count < capacity)
        done.events[done.count++] = ring->events[--ring->event_count];
    take_reads(ring, &done);
    for (uint32_t i = 0; i < ring->socket_count; i++) {
        take_send(&ring->sockets[i], &done);
        take_receive(ring, &ring->sockets[i], &done);
        poll_and_close(&ring->sockets[i], &done);
    }
    return (int)done.count;
}

uint64_t ring_overflows(const struct ring *ring)
{
    return ring->overflows;
}
