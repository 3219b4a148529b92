/*
 * App driver: plays supervisor and I/O process for one app process, to look at and to measure the bridge alone.
 *
 *   app_driver PROGRAM SCRIPT COUNT REQUEST_FILE [DAEMON OPTIONS] APPLICATION
 *
 * Starts `PROGRAM SCRIPT` (a python3 and pybridge/app.py), sends it the HTTP/1 request of the file COUNT times, in
 * batches of IN_FLIGHT, prints the first answer and what a request took. Under callgrind the child's instructions
 * between two values of COUNT are the cost of a request. A batch is complete before the app process is woken, and
 * nothing is said to it until all of the batch is answered: what it does then does not depend on the scheduler.
 */
#include "config/settings_loader.h"
#include "config/settings_transfer.h"
#include "daemon/exchange/control.h"
#include "daemon/exchange/doorbell.h"
#include "daemon/exchange/field_block.h"
#include "daemon/exchange/file_handover.h"
#include "proto/http1_request.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>

enum { FIELDS_MAX = 100, HEAD_BYTES_MAX = 65'536, IN_FLIGHT = 64, ARENA_BYTES_MAX = 1 << 30, GENERATION = 1 };

static const struct exchange_shape SHAPE = {
    .version = EXCHANGE_VERSION,
    .rings = 1,
    .apps = 1,
    .slots = 256,
    .fields_max = FIELDS_MAX,
    .request_entries = 1'024,
    .reply_entries = 1'024,
    .recv_buffers = 8,
    .recv_buffer_bytes = HEAD_BYTES_MAX,
    .upload_buffers = 8,
    .upload_buffer_bytes = HEAD_BYTES_MAX,
    .staging_small = 1,
    .staging_large = 1,
    .outbound_small = 1'024,
    .outbound_large = 192,
};

struct driver {
    struct inbound_layout inbound_layout;
    struct arena inbound, outbound, pair_memory;
    struct pair_page *pair;
    struct spsc_writer requests;
    struct spsc_reader replies;
    int app_doorbell, ring_doorbell, control;
    pid_t app;
    struct slot_record *model; /* of each request, with its fields */
    uint32_t body_offset, body_length;
    uint32_t generations[256];
    uint32_t sent, answered;
    uint32_t home[2 * IN_FLIGHT]; /* blocks to give back with the next batch */
    uint32_t home_count;
    bool show; /* the next answer is printed */
};

static void check(int r, const char *what)
{
    if (r < 0)
        errx(1, "%s: %s", what, strerror(-r));
}

/* ---- hand-over ---- */

static void make_memory(struct driver *driver)
{
    struct outbound_layout outbound;
    check(exchange_shape_check(&SHAPE), "shape");
    inbound_layout_compute(&SHAPE, &driver->inbound_layout);
    outbound_layout_compute(&SHAPE, &outbound);
    check(arena_create(&driver->inbound, "inbound", driver->inbound_layout.bytes, ARENA_SEAL_WRITER), "inbound");
    check(arena_create(&driver->outbound, "outbound", outbound.bytes, ARENA_SEAL_SIZE), "outbound");
    check(arena_create(&driver->pair_memory, "pair", pair_page_bytes(&SHAPE), ARENA_SEAL_SIZE), "pair");
    driver->pair = (struct pair_page *)(void *)driver->pair_memory.base;
    const uint32_t epoch = layout_epoch(GENERATION, GENERATION);
    layout_request_writer(&SHAPE, &driver->inbound, &driver->outbound, 0, 0, epoch, &driver->requests);
    layout_reply_reader(&SHAPE, &driver->inbound, &driver->outbound, 0, 0, epoch, &driver->replies);
    driver->app_doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    driver->ring_doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

static void start_app(struct driver *driver, char **words)
{
    int ends[2];
    check(control_pair(ends), "control");
    driver->control = ends[0];
    driver->app = fork();
    if (driver->app == 0) {
        dup2(ends[1], CONTROL_FD);
        execvp(words[0], words);
        err(1, "%s", words[0]);
    }
    close(ends[1]);
}

static void hand_over(struct driver *driver, const struct settings *settings)
{
    const struct control_setup setup = {.shape = SHAPE, .generation = GENERATION, .cpu = -1};
    const struct control_peer peer = {.generation = GENERATION};
    int settings_fd;
    check(settings_serialize(settings, &settings_fd), "settings");
    const int fds[] = {settings_fd, STDERR_FILENO, driver->app_doorbell, driver->outbound.fd};
    check(control_send(driver->control, CONTROL_SETUP, &setup, sizeof setup, fds, 4), "SETUP");
    int files[2];
    check(file_handover_pair(files), "files");
    const int peer_fds[] = {driver->inbound.fd, driver->pair_memory.fd, driver->ring_doorbell, files[1]};
    check(control_send(driver->control, CONTROL_PEER_UP, &peer, sizeof peer, peer_fds, 4), "PEER_UP");
    close(settings_fd);
    close(files[1]); /* the other end stays open, and nothing is handed over */
}

static void wait_for_ready(const struct driver *driver)
{
    struct control_message message;
    struct pollfd end = {.fd = driver->control, .events = POLLIN};
    poll(&end, 1, -1);
    int r = control_receive(driver->control, &message);
    if (r <= 0 || message.kind != CONTROL_READY)
        errx(1, "the app process did not become ready");
}

/* ---- the request ---- */

static size_t read_request(struct driver *driver, const char *path)
{
    uint8_t *memory = driver->inbound.base + driver->inbound_layout.recv_buffers;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, memory, HEAD_BYTES_MAX) : -1;
    if (length < 0)
        err(1, "%s", path);
    close(fd);
    return (size_t)length;
}

static struct arena_span span_of(const struct driver *driver, struct bytes bytes)
{
    uint32_t offset = bytes.length > 0 ? (uint32_t)(bytes.data - driver->inbound.base) : 0;
    return (struct arena_span){offset, (uint32_t)bytes.length};
}

static size_t record_bytes(uint32_t field_count)
{
    return sizeof(struct slot_record) + field_count * sizeof(struct slot_field);
}

static void fill_record(struct driver *driver, const struct http_head *head)
{
    struct slot_record *record = driver->model;
    *record = (struct slot_record){
        .field_count = (uint16_t)head->field_count,
        .version = head->version == HTTP_VERSION_1_0 ? SLOT_HTTP_1_0 : SLOT_HTTP_1_1,
        .flags = head->body_kind != HTTP_BODY_NONE ? SLOT_BODY : 0,
        .content_length = head->body_kind == HTTP_BODY_LENGTH ? (int64_t)head->content_length : 0,
        .method = span_of(driver, head->method),
        .target = span_of(driver, head->target),
        .path = span_of(driver, head->path),
        .query = span_of(driver, head->query),
        .client_port = 40'000,
        .server_port = 8'000,
        .client = "127.0.0.1",
        .server = "127.0.0.1",
    };
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct http_field *field = &head->fields[i];
        struct arena_span name = span_of(driver, field->name), value = span_of(driver, field->value);
        record->fields[i] =
            (struct slot_field){name.offset, value.offset, value.length, (uint16_t)name.length, field->id};
    }
}

static void prepare_request(struct driver *driver, const char *path)
{
    static const struct http1_limits LIMITS = {8'190, 8'190, FIELDS_MAX, HEAD_BYTES_MAX, 32, 0, false};
    uint8_t *memory = driver->inbound.base + driver->inbound_layout.recv_buffers;
    struct http_field fields[FIELDS_MAX];
    struct http1_request request;
    size_t length = read_request(driver, path), consumed;
    http1_request_init(&request, fields, FIELDS_MAX);
    if (http1_request_feed(&request, &LIMITS, memory, length, &consumed) != HTTP1_HEAD_READY)
        errx(1, "%s: no valid request head: %s", path, request.reason);
    fill_record(driver, &request.head);
    driver->body_offset = (uint32_t)(driver->inbound_layout.recv_buffers + consumed);
    driver->body_length = (uint32_t)(length - consumed);
}

static void send_request(struct driver *driver, uint32_t slot)
{
    struct slot_record *record = layout_record(&driver->inbound, &driver->inbound_layout, slot);
    uint32_t generation = ++driver->generations[slot];
    memcpy(record, driver->model, record_bytes(driver->model->field_count));
    record->generation = generation;
    record->request_id = driver->sent;
    slot_claim_set(&driver->pair->claims[slot], generation, SLOT_QUEUED);
    const struct message message = {
        .kind = MESSAGE_REQUEST,
        .flags = MESSAGE_END,
        .slot = slot,
        .generation = generation,
        .body_offset = driver->body_offset,
        .body_length = driver->body_length,
    };
    if (!spsc_push(&driver->requests, &message))
        errx(1, "the request queue is full");
    driver->sent++;
}

/* ---- the answer ---- */

static void show_head(const struct driver *driver, const struct message *message)
{
    struct http_field fields[FIELDS_MAX];
    const uint8_t *head = arena_at(&driver->outbound, message->head_offset, message->head_length);
    int count = field_block_read(bytes_of(head, message->head_length), fields, FIELDS_MAX);
    printf("status %u, content length %" PRId64 "\n", message->status, message->content_length);
    for (int i = 0; i < count; i++)
        printf("%.*s: %.*s\n", (int)fields[i].name.length, (const char *)fields[i].name.data,
               (int)fields[i].value.length, (const char *)fields[i].value.data);
    printf("\n");
}

static void keep_for_return(struct driver *driver, uint32_t block)
{
    if (block == MESSAGE_NO_BLOCK)
        return;
    if (driver->home_count == 2 * IN_FLIGHT)
        errx(1, "answers of more than two blocks are not expected here");
    driver->home[driver->home_count++] = block;
}

static void take_blocks(struct driver *driver, const struct message *message)
{
    keep_for_return(driver, message->body_block);
    if (message->kind != MESSAGE_BODY && message->head_block != message->body_block)
        keep_for_return(driver, message->head_block);
}

static void give_back(struct driver *driver)
{
    while (driver->home_count > 0) {
        struct message blocks = {.kind = MESSAGE_BLOCKS};
        while (driver->home_count > 0 && blocks.count < MESSAGE_BLOCKS_MAX)
            blocks.blocks[blocks.count++] = driver->home[--driver->home_count];
        if (!spsc_push(&driver->requests, &blocks))
            errx(1, "the request queue is full");
    }
}

static void on_reply(struct driver *driver, const struct message *message)
{
    if (driver->show && (message->kind == MESSAGE_RESPONSE || message->kind == MESSAGE_INTERIM))
        show_head(driver, message);
    if (driver->show && message->body_length > 0)
        fwrite(arena_at(&driver->outbound, message->body_offset, message->body_length), 1, message->body_length,
               stdout);
    if (driver->show && (message->flags & MESSAGE_FAILED))
        printf("(failed)\n");
    if (message->kind == MESSAGE_RESPONSE || message->kind == MESSAGE_INTERIM || message->kind == MESSAGE_BODY)
        take_blocks(driver, message);
    if (message->kind == MESSAGE_DONE || (message->flags & MESSAGE_WAS_DONE))
        driver->answered++;
}

static void wait_for_doorbell(struct driver *driver)
{
    struct pollfd ends[2] = {{.fd = driver->ring_doorbell, .events = POLLIN},
                             {.fd = driver->control, .events = POLLIN}};
    uint64_t count;
    doorbell_sleeping(&driver->pair->io_sleeping);
    if (!spsc_reader_pending(&driver->replies) && poll(ends, 2, 10'000) <= 0)
        errx(1, "no answer in ten seconds");
    doorbell_awake(&driver->pair->io_sleeping);
    if (read(driver->ring_doorbell, &count, sizeof count) < 0 && errno != EAGAIN)
        err(1, "doorbell");
    if (ends[1].revents & POLLHUP)
        errx(1, "the app process is gone");
}

/* Whoever still runs would find half a batch. */
static void wait_until_app_sleeps(const struct driver *driver)
{
    for (int tries = 0; atomic_load_explicit(&driver->pair->app_sleeping, memory_order_seq_cst) == 0; tries++) {
        if (tries > 100'000)
            errx(1, "the app process does not go to sleep");
        usleep(100);
    }
}

static void send_batch(struct driver *driver, uint32_t count)
{
    wait_until_app_sleeps(driver);
    give_back(driver);
    for (uint32_t slot = 0; slot < IN_FLIGHT && driver->sent < count; slot++)
        send_request(driver, slot);
    doorbell_ring(&driver->pair->app_sleeping, driver->app_doorbell);
}

static void run(struct driver *driver, uint32_t count)
{
    driver->sent = driver->answered = 0;
    while (driver->answered < count) {
        struct message message;
        int r;
        if (driver->answered == driver->sent)
            send_batch(driver, count);
        while ((r = spsc_pop(&driver->replies, &message)) == 1)
            on_reply(driver, &message);
        check(r, "replies");
        if (driver->answered < driver->sent && !spsc_reader_pending(&driver->replies))
            wait_for_doorbell(driver);
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int finish(struct driver *driver)
{
    int status;
    check(control_send(driver->control, CONTROL_DRAIN, NULL, 0, NULL, 0), "DRAIN");
    waitpid(driver->app, &status, 0);
    if (!WIFEXITED(status))
        errx(1, "the app process was ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    if (argc < 6)
        errx(2, "app_driver PROGRAM SCRIPT COUNT REQUEST_FILE [DAEMON OPTIONS] APPLICATION");
    struct driver driver = {.model = calloc(1, record_bytes(FIELDS_MAX))};
    struct settings settings;
    struct settings_outcome outcome;
    if (settings_load(argc - 4, argv + 4, &settings, &outcome) != SETTINGS_RUN)
        errx(2, "%s", outcome.message);
    make_memory(&driver);
    prepare_request(&driver, argv[4]);
    start_app(&driver, (char *[]){argv[1], argv[2], NULL});
    hand_over(&driver, &settings);
    wait_for_ready(&driver);
    driver.show = true;
    run(&driver, 1);
    fflush(stdout);
    driver.show = false;
    uint32_t count = (uint32_t)strtoul(argv[3], NULL, 10);
    double start = now();
    run(&driver, count);
    if (count > 0)
        fprintf(stderr, "%.3f us a request, %u requests\n", (now() - start) * 1e6 / count, count);
    free(driver.model);
    settings_outcome_deinit(&outcome);
    settings_deinit(&settings);
    return finish(&driver);
}
