/*
 * Handshaker: TLS 1.3 connections that make one request each and go away, many at once.
 *
 *   handshaker HOST PORT [--connections N] [--rate PER_SECOND] [--seconds S] [--resume]
 *
 * Closed loop: each of N places opens its next connection when its last one is answered. With --rate connections are
 * due at even distances, and a time counts from when one was due. A handshake counts when the answer to a GET behind
 * it arrives: only then has the server finished its own side. --resume offers the ticket of a first connection.
 *
 * The client of a full handshake verifies a signature, which costs more than making one with P-256: with one CPU on
 * each side look at `cpu`, and believe the server's CPU per handshake. Prints one line of JSON; the exit status is 1
 * when a connection failed.
 */
#include "perf/load/histogram.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 1'024, EVENTS_MAX = 256, ANSWER_BYTES_MAX = 4'096, ERRORS_MAX = 100, WAIT_MS_MAX = 50 };

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
static const char ANSWER_START[] = "HTTP/1.1 2";
static const uint8_t ALPN[] = "\x08http/1.1";
static const uint64_t NS_PER_SECOND = 1'000'000'000;
static const uint64_t NS_PER_MS = 1'000'000;

/*
 *  FREE --> HANDSHAKING --> WAITING --> FREE
 *               +--------------------------> FREE, counted as an error
 */
enum place_state { FREE, HANDSHAKING, WAITING };

struct options {
    struct sockaddr_in address;
    uint32_t connections;
    double rate; /* 0: closed loop */
    double seconds;
    bool resume;
};

struct place {
    enum place_state state;
    int fd;
    SSL *ssl;
    uint64_t since_ns;
};

struct handshaker {
    struct options options;
    SSL_CTX *context;
    SSL_SESSION *session; /* the first ticket that came */
    int epoll_fd;
    struct place places[CONNECTIONS_MAX];
    uint64_t begin_ns;
    uint64_t due_count;
    uint64_t done;
    uint64_t resumed;
    uint64_t errors;
    struct histogram times;
};

static void fail(const char *what, int error)
{
    fprintf(stderr, "handshaker: %s: %s\n", what, strerror(error));
    exit(2);
}

static uint64_t clock_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_nsec;
}

/* ---- TLS ---- */

/* Tickets are for one use each; a measurement may offer the same one again, and servers without a memory accept it. */
static int keep_first_session(SSL *ssl, SSL_SESSION *session)
{
    struct handshaker *handshaker = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0);
    if (handshaker->session != NULL)
        return 0;
    handshaker->session = session;
    return 1;
}

static void context_create(struct handshaker *handshaker)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set1_curves_list(context, "X25519") || !SSL_CTX_set_ex_data(context, 0, handshaker) ||
        SSL_CTX_set_alpn_protos(context, ALPN, sizeof ALPN - 1) != 0)
        fail("TLS", ENOMEM);
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL); /* self-signed, and only measured */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_first_session);
    handshaker->context = context;
}

/* ---- connections ---- */

/* A reset leaves no TIME_WAIT behind, of which the ports would be used up in seconds. */
static void place_free(struct place *place)
{
    const struct linger reset = {.l_onoff = 1};
    setsockopt(place->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(place->fd);
    SSL_free(place->ssl);
    *place = (struct place){.state = FREE};
}

static void place_failed(struct handshaker *handshaker, struct place *place)
{
    place_free(place);
    if (++handshaker->errors > ERRORS_MAX)
        fail("too many failed connections", EPROTO);
}

static void place_open(struct handshaker *handshaker, uint32_t index, uint64_t since_ns)
{
    struct place *place = &handshaker->places[index];
    const int one = 1;
    *place = (struct place){.state = HANDSHAKING, .since_ns = since_ns};
    place->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (place->fd < 0)
        fail("socket", errno);
    setsockopt(place->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    const struct sockaddr_in *address = &handshaker->options.address;
    if (connect(place->fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno != EINPROGRESS)
        fail("connect", errno);
    place->ssl = SSL_new(handshaker->context);
    if (place->ssl == NULL || !SSL_set_fd(place->ssl, place->fd))
        fail("TLS", ENOMEM);
    if (handshaker->options.resume && handshaker->session != NULL)
        SSL_set_session(place->ssl, handshaker->session);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = index};
    if (epoll_ctl(handshaker->epoll_fd, EPOLL_CTL_ADD, place->fd, &event) < 0)
        fail("epoll", errno);
}

static void on_answered(struct handshaker *handshaker, struct place *place)
{
    handshaker->done++;
    handshaker->resumed += (uint64_t)SSL_session_reused(place->ssl);
    histogram_add(&handshaker->times, clock_ns() - place->since_ns, 1);
    place_free(place);
}

static bool must_wait(const struct place *place, int r)
{
    int error = SSL_get_error(place->ssl, r);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

static void shake_hands(struct handshaker *handshaker, struct place *place)
{
    int r = SSL_connect(place->ssl);
    if (r != 1) {
        if (!must_wait(place, r))
            place_failed(handshaker, place);
        return;
    }
    place->state = WAITING;
    /* The socket's buffer is empty, so the request leaves whole. */
    if (SSL_write(place->ssl, REQUEST, sizeof REQUEST - 1) != sizeof REQUEST - 1)
        place_failed(handshaker, place);
}

static void read_answer(struct handshaker *handshaker, struct place *place)
{
    char answer[ANSWER_BYTES_MAX];
    int r = SSL_read(place->ssl, answer, sizeof answer);
    if (r >= (int)sizeof ANSWER_START - 1 && memcmp(answer, ANSWER_START, sizeof ANSWER_START - 1) == 0)
        on_answered(handshaker, place);
    else if (r > 0 || !must_wait(place, r))
        place_failed(handshaker, place);
}

static void on_event(struct handshaker *handshaker, struct place *place)
{
    if (place->state == HANDSHAKING)
        shake_hands(handshaker, place);
    if (place->state == WAITING)
        read_answer(handshaker, place);
}

/* ---- the loop ---- */

static uint64_t due_ns(const struct handshaker *handshaker)
{
    return handshaker->begin_ns + (uint64_t)((double)handshaker->due_count / handshaker->options.rate * 1e9);
}

static void open_due(struct handshaker *handshaker)
{
    const uint64_t now_ns = clock_ns();
    for (uint32_t i = 0; i < handshaker->options.connections; i++) {
        if (handshaker->places[i].state != FREE)
            continue;
        if (handshaker->options.rate <= 0) {
            place_open(handshaker, i, now_ns);
            continue;
        }
        if (due_ns(handshaker) > now_ns)
            return;
        place_open(handshaker, i, due_ns(handshaker));
        handshaker->due_count++;
    }
}

static int wait_ms(const struct handshaker *handshaker, uint64_t now_ns)
{
    if (handshaker->options.rate <= 0)
        return WAIT_MS_MAX;
    uint64_t due = due_ns(handshaker);
    if (due <= now_ns)
        return 1; /* every place is taken, or the clock has moved on */
    return due - now_ns < WAIT_MS_MAX * NS_PER_MS ? (int)((due - now_ns) / NS_PER_MS) : WAIT_MS_MAX;
}

static void run_for(struct handshaker *handshaker, double seconds)
{
    struct epoll_event events[EVENTS_MAX];
    handshaker->begin_ns = clock_ns();
    const uint64_t end_ns = handshaker->begin_ns + (uint64_t)(seconds * 1e9);
    for (uint64_t now_ns; (now_ns = clock_ns()) < end_ns;) {
        open_due(handshaker);
        int count = epoll_wait(handshaker->epoll_fd, events, EVENTS_MAX, wait_ms(handshaker, now_ns));
        for (int i = 0; i < count; i++)
            on_event(handshaker, &handshaker->places[events[i].data.u32]);
    }
}

/* One connection alone, for its ticket: the measured ones all have it then. */
static void fetch_ticket(struct handshaker *handshaker)
{
    const uint64_t patience_ns = clock_ns() + 5 * NS_PER_SECOND;
    struct epoll_event event;
    place_open(handshaker, 0, clock_ns());
    while (handshaker->places[0].state != FREE && clock_ns() < patience_ns)
        if (epoll_wait(handshaker->epoll_fd, &event, 1, WAIT_MS_MAX) > 0)
            on_event(handshaker, &handshaker->places[0]);
    if (handshaker->session == NULL)
        fail("the server gave no ticket", EPROTO);
    handshaker->done = handshaker->resumed = 0;
    handshaker->times = (struct histogram){};
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int measure(struct handshaker *handshaker)
{
    const double seconds = handshaker->options.seconds, cpu = cpu_seconds();
    run_for(handshaker, seconds);
    printf("{\"answers\": %" PRIu64 ", \"resumed\": %" PRIu64 ", \"rate\": %.1f, \"errors\": %" PRIu64
           ", \"cpu\": %.3f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f}\n",
           handshaker->done, handshaker->resumed, (double)handshaker->done / seconds, handshaker->errors,
           (cpu_seconds() - cpu) / seconds, (double)histogram_quantile(&handshaker->times, 0.5) / 1e3,
           (double)histogram_quantile(&handshaker->times, 0.99) / 1e3,
           (double)histogram_quantile(&handshaker->times, 0.999) / 1e3);
    return handshaker->errors > 0;
}

/* ---- arguments ---- */

static void usage(void)
{
    fprintf(stderr, "usage: handshaker HOST PORT [--connections N] [--rate PER_SECOND] [--seconds S] [--resume]\n");
    exit(2);
}

static struct options parse(int argc, char **argv)
{
    static const struct option names[] = {{"connections", required_argument, NULL, 'c'},
                                          {"rate", required_argument, NULL, 'R'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"resume", no_argument, NULL, 'r'},
                                          {}};
    struct options options = {.connections = 32, .seconds = 5};
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (option == 'c')
            options.connections = (uint32_t)atoi(optarg);
        else if (option == 'R')
            options.rate = atof(optarg);
        else if (option == 's')
            options.seconds = atof(optarg);
        else if (option == 'r')
            options.resume = true;
        else
            usage();
    }
    if (argc - optind != 2 || options.connections == 0 || options.connections > CONNECTIONS_MAX ||
        !(options.seconds > 0))
        usage();
    options.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[optind + 1]))};
    if (inet_pton(AF_INET, argv[optind], &options.address.sin_addr) != 1)
        usage();
    return options;
}

int main(int argc, char **argv)
{
    static struct handshaker handshaker;
    handshaker.options = parse(argc, argv);
    context_create(&handshaker);
    handshaker.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (handshaker.epoll_fd < 0)
        fail("epoll", errno);
    if (handshaker.options.resume)
        fetch_ticket(&handshaker);
    return measure(&handshaker);
}
