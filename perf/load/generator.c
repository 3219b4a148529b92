/*
 * Load generator: many keep-alive connections on one io_uring, as cheap per answer as we know how.
 *
 *   generator HOST PORT --request FILE [--connections N] [--depth N] [--rate PER_SECOND] [--seconds S] [--warmup S]
 *
 * FILE holds the octets of one request. Closed loop: each connection sends `depth` requests at once and the next ones
 * when all are answered. With --rate the loop is open: requests are due at even distances whatever the server does,
 * and a latency counts from the time a request was due, so a server that stalls is not measured only while it runs.
 *
 * One answer is read by its framing before the start; from then on octets are counted, and the first ones of each
 * answer are looked at. Prints one line of JSON. The exit status is 1 when an answer was wrong or a connection lost.
 */
#include "perf/load/answer.h"
#include "perf/load/histogram.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    SUBMISSIONS = 1024,
    COMPLETIONS = 16'384,
    BUFFER_GROUP = 0,
    BUFFERS_BYTES = 4 << 20,
    BUFFER_BYTES_MIN = 2'048,
    BUFFER_BYTES_MAX = 65'536,
    CONNECTIONS_MAX = 16'384,
    SPIN_NS = 100'000, /* nearer than this the next due time is spun for, not slept for */
    ERRORS_MAX = 1'000,
};

static const char ANSWER_START[] = "HTTP/1.1 2";
static const uint64_t NS_PER_SECOND = 1'000'000'000;

enum completion_kind { RECEIVED, SENT };

struct options {
    struct sockaddr_in address;
    const char *request_path;
    uint32_t connections;
    uint32_t depth;
    double rate; /* 0: closed loop */
    double seconds;
    double warmup;
};

struct connection {
    int fd;
    uint32_t outstanding;
    uint64_t answer_received; /* octets of the answer that is arriving */
    uint64_t since_ns;        /* when the outstanding requests were sent, or were due */
    bool armed;
};

struct generator {
    struct options options;
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    uint8_t *buffer_memory;
    uint32_t buffer_bytes;
    uint32_t buffer_count;
    uint8_t *requests; /* depth times the request */
    size_t request_bytes;
    uint64_t answer_bytes;
    struct connection *connections;
    uint32_t *idle; /* open loop: a stack of connections with nothing outstanding */
    uint32_t idle_count;
    uint64_t now_ns;
    uint64_t start_ns;
    uint64_t end_ns;
    uint64_t due_count; /* open loop: requests sent so far */
    bool measuring;
    uint64_t answers;
    uint64_t octets;
    uint64_t errors;
    uint64_t closed;
    uint64_t starved;
    struct histogram latencies;
};

static void fail(const char *what, int error)
{
    fprintf(stderr, "generator: %s: %s\n", what, strerror(error < 0 ? -error : error));
    exit(2);
}

static uint64_t clock_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_nsec;
}

/* ---- set-up ---- */

static int connect_socket(const struct options *options)
{
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket", errno);
    if (connect(fd, (const struct sockaddr *)&options->address, sizeof options->address) < 0)
        fail("connect", errno);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void read_request(struct generator *generator)
{
    const struct options *options = &generator->options;
    FILE *file = fopen(options->request_path, "rb");
    if (file == NULL)
        fail(options->request_path, errno);
    fseek(file, 0, SEEK_END);
    generator->request_bytes = (size_t)ftell(file);
    rewind(file);
    generator->requests = malloc(generator->request_bytes * options->depth + 1);
    if (generator->requests == NULL)
        fail("request", ENOMEM);
    if (generator->request_bytes == 0 || fread(generator->requests, generator->request_bytes, 1, file) != 1)
        fail(options->request_path, EINVAL);
    fclose(file);
    for (uint32_t i = 1; i < options->depth; i++)
        memcpy(generator->requests + i * generator->request_bytes, generator->requests, generator->request_bytes);
}

static void measure_answer(struct generator *generator)
{
    int fd = connect_socket(&generator->options);
    long bytes = answer_measure(fd, generator->requests, generator->request_bytes);
    if (bytes < 0)
        fail("the first answer", (int)bytes);
    generator->answer_bytes = (uint64_t)bytes;
    close(fd);
}

static void ring_create(struct generator *generator)
{
    struct io_uring_params params = {
        .flags =
            IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        .cq_entries = COMPLETIONS,
    };
    int r = io_uring_queue_init_params(SUBMISSIONS, &generator->ring, &params);
    if (r < 0)
        fail("io_uring", r);
    r = io_uring_register_ring_fd(&generator->ring);
    if (r < 0)
        fail("ring descriptor", r);
}

/* Small buffers for small answers: they stay in the cache. */
static void buffers_create(struct generator *generator)
{
    uint64_t wanted = generator->answer_bytes * generator->options.depth;
    generator->buffer_bytes = BUFFER_BYTES_MIN;
    while (generator->buffer_bytes < wanted && generator->buffer_bytes < BUFFER_BYTES_MAX)
        generator->buffer_bytes *= 2;
    generator->buffer_count = BUFFERS_BYTES / generator->buffer_bytes;

    const size_t ring_bytes = generator->buffer_count * sizeof(struct io_uring_buf);
    generator->buffer_memory = aligned_alloc(4096, BUFFERS_BYTES);
    generator->buffers = aligned_alloc(4096, (ring_bytes + 4095) / 4096 * 4096);
    if (generator->buffer_memory == NULL || generator->buffers == NULL)
        fail("buffers", ENOMEM);
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)generator->buffers, .ring_entries = generator->buffer_count, .bgid = BUFFER_GROUP};
    io_uring_buf_ring_init(generator->buffers);
    int r = io_uring_register_buf_ring(&generator->ring, &registration, 0);
    if (r < 0)
        fail("buffer ring", r);
}

static void buffer_give_back(struct generator *generator, uint16_t number, int place)
{
    io_uring_buf_ring_add(generator->buffers, generator->buffer_memory + (size_t)number * generator->buffer_bytes,
                          generator->buffer_bytes, number, io_uring_buf_ring_mask(generator->buffer_count), place);
}

/* ---- requests out ---- */

static struct io_uring_sqe *submission(struct generator *generator)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&generator->ring);
    while (sqe == NULL) {
        int r = io_uring_submit(&generator->ring);
        if (r < 0 && r != -EBUSY)
            fail("submit", r);
        sqe = io_uring_get_sqe(&generator->ring);
    }
    return sqe;
}

static uint64_t token_of(uint32_t index, enum completion_kind kind)
{
    return (uint64_t)index << 1 | (uint64_t)kind;
}

static void arm(struct generator *generator, uint32_t index)
{
    struct io_uring_sqe *sqe = submission(generator);
    io_uring_prep_recv_multishot(sqe, generator->connections[index].fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    sqe->user_data = token_of(index, RECEIVED);
    generator->connections[index].armed = true;
}

static void send_requests(struct generator *generator, uint32_t index, uint64_t since_ns)
{
    struct connection *connection = &generator->connections[index];
    struct io_uring_sqe *sqe = submission(generator);
    io_uring_prep_send(sqe, connection->fd, generator->requests, generator->request_bytes * generator->options.depth,
                       MSG_WAITALL | MSG_NOSIGNAL);
    /* Only a failed send has a completion; the memory it sends from never changes. */
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = token_of(index, SENT);
    connection->outstanding = generator->options.depth;
    connection->since_ns = since_ns;
}

static uint64_t due_ns(const struct generator *generator)
{
    return generator->start_ns + (uint64_t)((double)generator->due_count / generator->options.rate * 1e9);
}

/* Open loop: sends all that is due, as far as there are idle connections; the rest stays due and grows old. */
static void send_due(struct generator *generator)
{
    while (generator->idle_count > 0 && due_ns(generator) <= generator->now_ns) {
        uint32_t index = generator->idle[--generator->idle_count];
        send_requests(generator, index, due_ns(generator));
        generator->due_count += generator->options.depth;
    }
}

static void connection_ready(struct generator *generator, uint32_t index)
{
    if (generator->options.rate > 0)
        generator->idle[generator->idle_count++] = index;
    else
        send_requests(generator, index, generator->now_ns);
}

static void connection_open(struct generator *generator, uint32_t index)
{
    generator->connections[index] = (struct connection){.fd = connect_socket(&generator->options)};
    arm(generator, index);
    connection_ready(generator, index);
}

/* ---- answers in ---- */

static void count_error(struct generator *generator)
{
    if (++generator->errors > ERRORS_MAX)
        fail("too many wrong answers", EBADMSG);
}

/* The answer begins in these octets, as far as they reach. */
static void check_start(struct generator *generator, const uint8_t *data, size_t bytes)
{
    const size_t length = sizeof ANSWER_START - 1;
    if (memcmp(data, ANSWER_START, bytes < length ? bytes : length) != 0)
        count_error(generator);
}

static void on_answer(struct generator *generator, uint32_t index)
{
    struct connection *connection = &generator->connections[index];
    if (connection->outstanding == 0) {
        count_error(generator); /* an answer nobody asked for */
        return;
    }
    if (generator->measuring) {
        generator->answers++;
        histogram_add(&generator->latencies, generator->now_ns - connection->since_ns, 1);
    }
    if (--connection->outstanding == 0)
        connection_ready(generator, index);
}

static void on_octets(struct generator *generator, uint32_t index, const uint8_t *data, size_t bytes)
{
    struct connection *connection = &generator->connections[index];
    generator->octets += bytes;
    while (bytes > 0) {
        uint64_t missing = generator->answer_bytes - connection->answer_received;
        size_t part = bytes < missing ? bytes : (size_t)missing;
        if (connection->answer_received == 0)
            check_start(generator, data, part);
        connection->answer_received += part;
        data += part;
        bytes -= part;
        if (connection->answer_received == generator->answer_bytes) {
            connection->answer_received = 0;
            on_answer(generator, index);
        }
    }
}

/* The server closed: keep-alive servers do that for their own reasons, with nothing outstanding. */
static void on_closed(struct generator *generator, uint32_t index)
{
    struct connection *connection = &generator->connections[index];
    generator->closed++;
    if (connection->outstanding > 0)
        count_error(generator);
    for (uint32_t i = 0; i < generator->idle_count; i++)
        if (generator->idle[i] == index)
            generator->idle[i] = generator->idle[--generator->idle_count];
    close(connection->fd);
    connection_open(generator, index);
}

static void on_received(struct generator *generator, uint32_t index, const struct io_uring_cqe *cqe, int *returned)
{
    struct connection *connection = &generator->connections[index];
    connection->armed = (cqe->flags & IORING_CQE_F_MORE) != 0;
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        uint16_t number = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        on_octets(generator, index, generator->buffer_memory + (size_t)number * generator->buffer_bytes,
                  (size_t)cqe->res);
        buffer_give_back(generator, number, (*returned)++);
    }
    if (cqe->res == 0 || (cqe->res < 0 && cqe->res != -ENOBUFS))
        on_closed(generator, index);
    else if (!connection->armed)
        generator->starved++;
}

/* After the buffers came back: a receive that is armed without any ends at once. */
static void rearm_starved(struct generator *generator)
{
    for (uint32_t i = 0; generator->starved > 0 && i < generator->options.connections; i++) {
        if (generator->connections[i].armed)
            continue;
        arm(generator, i);
        generator->starved--;
    }
    generator->starved = 0;
}

static void take_completions(struct generator *generator)
{
    struct io_uring_cqe *cqe;
    uint32_t head;
    uint32_t seen = 0;
    int returned = 0;
    io_uring_for_each_cqe(&generator->ring, head, cqe)
    {
        seen++;
        uint32_t index = (uint32_t)(cqe->user_data >> 1);
        if ((cqe->user_data & 1) == RECEIVED)
            on_received(generator, index, cqe, &returned);
        else if (cqe->res != -EPIPE && cqe->res != -ECONNRESET) /* those two arrive at the receive as well */
            fail("send", cqe->res);
    }
    if (returned > 0)
        io_uring_buf_ring_advance(generator->buffers, returned);
    io_uring_cq_advance(&generator->ring, seen);
    rearm_starved(generator);
}

/* ---- the loop ---- */

static void submit_and_wait(struct generator *generator)
{
    uint64_t until = generator->end_ns;
    if (generator->options.rate > 0 && generator->idle_count > 0 && due_ns(generator) < until)
        until = due_ns(generator);
    uint64_t now = clock_ns();
    int r;
    if (until <= now + SPIN_NS) {
        r = io_uring_submit_and_get_events(&generator->ring);
    } else {
        uint64_t left = until - now;
        struct __kernel_timespec timeout = {.tv_sec = (long long)(left / NS_PER_SECOND),
                                            .tv_nsec = (long long)(left % NS_PER_SECOND)};
        struct io_uring_cqe *cqe;
        r = io_uring_submit_and_wait_timeout(&generator->ring, &cqe, 1, &timeout, NULL);
    }
    if (r < 0 && r != -ETIME && r != -EINTR && r != -EBUSY)
        fail("wait", r);
}

static void run_until(struct generator *generator, uint64_t end_ns)
{
    generator->end_ns = end_ns;
    while ((generator->now_ns = clock_ns()) < end_ns) {
        take_completions(generator);
        if (generator->options.rate > 0)
            send_due(generator);
        submit_and_wait(generator);
    }
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void print_result(const struct generator *generator, double seconds, double cpu)
{
    const struct histogram *latencies = &generator->latencies;
    printf("{\"answers\": %" PRIu64 ", \"seconds\": %.4f, \"rate\": %.1f, \"octets\": %" PRIu64
           ", \"answer_bytes\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"closed\": %" PRIu64 ", \"cpu\": %.3f",
           generator->answers, seconds, (double)generator->answers / seconds, generator->octets,
           generator->answer_bytes, generator->errors, generator->closed, cpu / seconds);
    static const struct {
        const char *name;
        double share;
    } quantiles[] = {{"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p999_us", 0.999}};
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++)
        printf(", \"%s\": %.1f", quantiles[i].name, (double)histogram_quantile(latencies, quantiles[i].share) / 1e3);
    printf(", \"max_us\": %.1f}\n", (double)latencies->max / 1e3);
}

static int generate(struct generator *generator)
{
    const struct options *options = &generator->options;
    generator->now_ns = generator->start_ns = clock_ns();
    for (uint32_t i = 0; i < options->connections; i++)
        connection_open(generator, i);
    if (options->warmup > 0)
        run_until(generator, clock_ns() + (uint64_t)(options->warmup * 1e9));
    const double cpu = cpu_seconds();
    const uint64_t begin = clock_ns();
    generator->measuring = true;
    generator->octets = 0;
    run_until(generator, begin + (uint64_t)(options->seconds * 1e9));
    print_result(generator, (double)(clock_ns() - begin) / 1e9, cpu_seconds() - cpu);
    return generator->errors > 0;
}

/* ---- arguments ---- */

static void usage(void)
{
    fprintf(stderr, "usage: generator HOST PORT --request FILE [--connections N] [--depth N] [--rate PER_SECOND]\n"
                    "                 [--seconds S] [--warmup S]\n");
    exit(2);
}

static void parse_option(struct options *options, int option)
{
    switch (option) {
    case 'r':
        options->request_path = optarg;
        break;
    case 'c':
        options->connections = (uint32_t)atoi(optarg);
        break;
    case 'd':
        options->depth = (uint32_t)atoi(optarg);
        break;
    case 'R':
        options->rate = atof(optarg);
        break;
    case 's':
        options->seconds = atof(optarg);
        break;
    case 'w':
        options->warmup = atof(optarg);
        break;
    default:
        usage();
    }
}

static struct options parse(int argc, char **argv)
{
    static const struct option names[] = {{"request", required_argument, NULL, 'r'},
                                          {"connections", required_argument, NULL, 'c'},
                                          {"depth", required_argument, NULL, 'd'},
                                          {"rate", required_argument, NULL, 'R'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"warmup", required_argument, NULL, 'w'},
                                          {}};
    struct options options = {.connections = 64, .depth = 1, .seconds = 5, .warmup = 0.5};
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;)
        parse_option(&options, option);
    if (argc - optind != 2 || options.request_path == NULL || options.depth == 0 || options.connections == 0 ||
        options.connections > CONNECTIONS_MAX || !(options.seconds > 0))
        usage();
    options.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[optind + 1]))};
    if (inet_pton(AF_INET, argv[optind], &options.address.sin_addr) != 1)
        usage();
    return options;
}

int main(int argc, char **argv)
{
    static struct generator generator;
    generator.options = parse(argc, argv);
    const uint32_t connections = generator.options.connections;
    read_request(&generator);
    measure_answer(&generator);
    ring_create(&generator);
    buffers_create(&generator);
    for (uint32_t i = 0; i < generator.buffer_count; i++)
        buffer_give_back(&generator, (uint16_t)i, (int)i);
    io_uring_buf_ring_advance(generator.buffers, (int)generator.buffer_count);
    generator.connections = calloc(connections, sizeof *generator.connections);
    generator.idle = calloc(connections, sizeof *generator.idle);
    if (generator.connections == NULL || generator.idle == NULL)
        fail("connections", ENOMEM);
    return generate(&generator);
}
