/*
 * Responder: the least an io_uring HTTP server can do, as the measure for ours.
 *
 *   responder PORT
 *
 * One thread, one ring: multishot accept into direct descriptors, multishot receive into provided buffers, a search for
 * the empty line, one send per connection and turn. It knows no method, no field, no limit and no timeout. What
 * `health_path` costs beyond this is the price of being a real server.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    SUBMISSIONS = 1024,
    COMPLETIONS = 16'384,
    CONNECTIONS = 4'096,
    BUFFERS = 1'024,
    BUFFER_BYTES = 2'048,
    BUFFER_GROUP = 0,
    ANSWERS_MAX = 64, /* in one send */
    BACKLOG = 4'096,
};

enum completion_kind { ACCEPTED, RECEIVED, SENT, CLOSED };

struct connection {
    uint32_t newline_state; /* octets of the empty line seen: CR LF CR LF */
    uint32_t due;           /* answers not yet sent */
    bool sending;
    bool open;
    bool dirty; /* stands in the list */
};

struct responder {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    uint8_t *buffer_memory;
    struct connection connections[CONNECTIONS];
    uint32_t dirty[CONNECTIONS];
    uint32_t dirty_count;
    int returned;
    char answers[ANSWERS_MAX * 256];
    size_t answer_bytes;
    time_t answer_second;
};

static void fail(const char *what, int error)
{
    fprintf(stderr, "responder: %s: %s\n", what, strerror(error < 0 ? -error : error));
    exit(1);
}

static uint64_t token_of(uint32_t index, enum completion_kind kind)
{
    return (uint64_t)index << 2 | (uint64_t)kind;
}

static struct io_uring_sqe *submission(struct responder *responder)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&responder->ring);
    if (sqe == NULL) {
        io_uring_submit(&responder->ring);
        sqe = io_uring_get_sqe(&responder->ring);
    }
    return sqe;
}

static void make_answers(struct responder *responder, time_t now)
{
    char date[64], answer[256];
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    int bytes = snprintf(answer, sizeof answer,
                         "HTTP/1.1 200 OK\r\nServer: responder\r\nDate: %s\r\nContent-Type: text/plain\r\n"
                         "Content-Length: 3\r\n\r\nok\n",
                         date);
    for (uint32_t i = 0; i < ANSWERS_MAX; i++)
        memcpy(responder->answers + i * (size_t)bytes, answer, (size_t)bytes);
    responder->answer_bytes = (size_t)bytes;
    responder->answer_second = now;
}

static int listen_on(uint16_t port)
{
    const int one = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* accepted sockets inherit it */
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0)
        fail("listen", errno);
    return fd;
}

static void buffer_give_back(struct responder *responder, uint16_t number)
{
    io_uring_buf_ring_add(responder->buffers, responder->buffer_memory + (size_t)number * BUFFER_BYTES, BUFFER_BYTES,
                          number, io_uring_buf_ring_mask(BUFFERS), responder->returned++);
}

static void ring_create(struct responder *responder)
{
    struct io_uring_params params = {
        .flags =
            IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        .cq_entries = COMPLETIONS,
    };
    int r = io_uring_queue_init_params(SUBMISSIONS, &responder->ring, &params);
    if (r == 0)
        r = io_uring_register_files_sparse(&responder->ring, CONNECTIONS);
    if (r < 0)
        fail("io_uring", r);
    io_uring_register_ring_fd(&responder->ring);

    responder->buffer_memory = aligned_alloc(4096, (size_t)BUFFERS * BUFFER_BYTES);
    responder->buffers = aligned_alloc(4096, BUFFERS * sizeof(struct io_uring_buf));
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)responder->buffers, .ring_entries = BUFFERS, .bgid = BUFFER_GROUP};
    io_uring_buf_ring_init(responder->buffers);
    r = io_uring_register_buf_ring(&responder->ring, &registration, 0);
    if (r < 0)
        fail("buffer ring", r);
    for (uint32_t i = 0; i < BUFFERS; i++)
        buffer_give_back(responder, (uint16_t)i);
    io_uring_buf_ring_advance(responder->buffers, BUFFERS);
}

static void arm_accept(struct responder *responder, int listener)
{
    struct io_uring_sqe *sqe = submission(responder);
    io_uring_prep_multishot_accept_direct(sqe, listener, NULL, NULL, 0);
    sqe->user_data = token_of((uint32_t)listener, ACCEPTED);
}

static void arm_receive(struct responder *responder, uint32_t index)
{
    struct io_uring_sqe *sqe = submission(responder);
    io_uring_prep_recv_multishot(sqe, (int)index, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT | IOSQE_FIXED_FILE;
    sqe->buf_group = BUFFER_GROUP;
    sqe->user_data = token_of(index, RECEIVED);
}

/* How many requests end in these octets. */
static uint32_t count_requests(struct connection *connection, const uint8_t *data, size_t bytes)
{
    static const uint8_t empty_line[4] = {'\r', '\n', '\r', '\n'};
    uint32_t state = connection->newline_state;
    uint32_t count = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] == empty_line[state])
            state++;
        else
            state = data[i] == '\r';
        if (state == 4) {
            state = 0;
            count++;
        }
    }
    connection->newline_state = state;
    return count;
}

static void mark_dirty(struct responder *responder, uint32_t index)
{
    if (responder->connections[index].dirty)
        return;
    responder->connections[index].dirty = true;
    responder->dirty[responder->dirty_count++] = index;
}

static void close_connection(struct responder *responder, uint32_t index)
{
    if (!responder->connections[index].open)
        return;
    responder->connections[index].open = false;
    struct io_uring_sqe *sqe = submission(responder);
    io_uring_prep_close_direct(sqe, index);
    sqe->user_data = token_of(index, CLOSED);
}

static void on_received(struct responder *responder, uint32_t index, const struct io_uring_cqe *cqe)
{
    struct connection *connection = &responder->connections[index];
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        uint16_t number = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        connection->due +=
            count_requests(connection, responder->buffer_memory + (size_t)number * BUFFER_BYTES, (size_t)cqe->res);
        buffer_give_back(responder, number);
        mark_dirty(responder, index);
    }
    if (cqe->res == 0 || (cqe->res < 0 && cqe->res != -ENOBUFS))
        close_connection(responder, index);
    else if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        arm_receive(responder, index);
}

static void on_completion(struct responder *responder, const struct io_uring_cqe *cqe)
{
    uint32_t index = (uint32_t)(cqe->user_data >> 2);
    switch ((enum completion_kind)(cqe->user_data & 3)) {
    case ACCEPTED:
        if (cqe->res >= 0) {
            responder->connections[cqe->res] = (struct connection){.open = true};
            arm_receive(responder, (uint32_t)cqe->res);
        }
        if ((cqe->flags & IORING_CQE_F_MORE) == 0)
            arm_accept(responder, (int)index);
        break;
    case RECEIVED:
        on_received(responder, index, cqe);
        break;
    case SENT:
        responder->connections[index].sending = false;
        if (cqe->res < 0)
            close_connection(responder, index);
        else
            mark_dirty(responder, index);
        break;
    case CLOSED:
        break;
    }
}

static void send_due(struct responder *responder, uint32_t index)
{
    struct connection *connection = &responder->connections[index];
    connection->dirty = false;
    if (connection->sending || connection->due == 0 || !connection->open)
        return;
    uint32_t count = connection->due < ANSWERS_MAX ? connection->due : ANSWERS_MAX;
    struct io_uring_sqe *sqe = submission(responder);
    io_uring_prep_send(sqe, (int)index, responder->answers, count * responder->answer_bytes,
                       MSG_WAITALL | MSG_NOSIGNAL);
    sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = token_of(index, SENT);
    connection->due -= count;
    connection->sending = true;
}

static void turn(struct responder *responder)
{
    struct io_uring_cqe *cqe;
    uint32_t head;
    uint32_t seen = 0;
    responder->returned = 0;
    io_uring_for_each_cqe(&responder->ring, head, cqe)
    {
        seen++;
        on_completion(responder, cqe);
    }
    if (responder->returned > 0)
        io_uring_buf_ring_advance(responder->buffers, responder->returned);
    io_uring_cq_advance(&responder->ring, seen);
    time_t now = time(NULL);
    if (now != responder->answer_second)
        make_answers(responder, now);
    uint32_t count = responder->dirty_count;
    responder->dirty_count = 0;
    for (uint32_t i = 0; i < count; i++)
        send_due(responder, responder->dirty[i]);
    int r = io_uring_submit_and_wait(&responder->ring, 1);
    if (r < 0 && r != -EINTR && r != -EBUSY)
        fail("wait", r);
}

int main(int argc, char **argv)
{
    static struct responder responder;
    if (argc != 2)
        fail("usage: responder PORT", EINVAL);
    int listener = listen_on((uint16_t)atoi(argv[1]));
    ring_create(&responder);
    make_answers(&responder, time(NULL));
    arm_accept(&responder, listener);
    for (;;)
        turn(&responder);
}
