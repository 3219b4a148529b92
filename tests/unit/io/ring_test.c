#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/io/ring.h"

enum { GROUP = 1, BUFFERS = 4, BUFFER_BYTES = 64, WAIT_MS = 5'000, KEPT_MAX = 64 };

/* A real ring, and what has completed so far. */
struct scene {
    struct ring *ring;
    struct io_uring_buf_ring *buffers;
    uint8_t memory[BUFFERS][BUFFER_BYTES];
    struct ring_event kept[KEPT_MAX];
    uint32_t count;
    int pair[2]; /* ours, the client's */
};

static int set_up(void **state)
{
    static struct scene scene;
    scene = (struct scene){};
    int r = ring_create(&scene.ring);
    if (r < 0) {
        char why[512];
        ring_explain(r, why, sizeof why);
        print_error("%s\n", why);
        return -1;
    }
    assert_int_equal(ring_buffers_register(scene.ring, GROUP, BUFFERS, &scene.buffers), 0);
    for (uint16_t i = 0; i < BUFFERS; i++)
        ring_buffer_add(scene.buffers, BUFFERS, scene.memory[i], BUFFER_BYTES, i, i);
    ring_buffers_commit(scene.buffers, BUFFERS);
    assert_int_equal(ring_enable(scene.ring), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, scene.pair), 0);
    *state = &scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    ring_destroy(scene->ring);
    for (int i = 0; i < 2; i++)
        if (scene->pair[i] >= 0)
            close(scene->pair[i]);
    return 0;
}

static ring_token token(enum ring_kind kind, uint32_t index)
{
    return ring_token_make(kind, 7, index);
}

/* The next completion of this kind; those of others are forgotten. */
static struct ring_event wait_for(struct scene *scene, enum ring_kind kind)
{
    for (;;) {
        for (uint32_t i = 0; i < scene->count; i++) {
            struct ring_event event = scene->kept[i];
            if (ring_token_kind(event.token) != kind)
                continue;
            scene->count -= i + 1;
            memmove(scene->kept, scene->kept + i + 1, scene->count * sizeof scene->kept[0]);
            return event;
        }
        int count = ring_wait(scene->ring, WAIT_MS, scene->kept, KEPT_MAX);
        assert_true(count > 0);
        scene->count = (uint32_t)count;
    }
}

static void say(struct scene *scene, const char *text)
{
    assert_int_equal(write(scene->pair[1], text, strlen(text)), (ssize_t)strlen(text));
}

static void a_token_comes_back_as_it_was(void **state)
{
    (void)state;
    ring_token made = ring_token_make(RING_SEND, 0xabcdef12, 0x12345678);
    assert_int_equal(ring_token_kind(made), RING_SEND);
    assert_int_equal(ring_token_generation(made), 0xcdef12);
    assert_int_equal(ring_token_index(made), 0x12345678);
}

static void an_accept_stays_armed(void **state)
{
    struct scene *scene = *state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    ring_accept(scene->ring, listener, false, token(RING_ACCEPT, 3));
    for (int i = 0; i < 3; i++) {
        int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
        struct ring_event event = wait_for(scene, RING_ACCEPT);
        assert_true(event.result >= 0);
        assert_true(event.more);
        assert_int_equal(ring_token_index(event.token), 3);
        assert_true((fcntl(event.result, F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(event.result, F_GETFD) & FD_CLOEXEC) != 0);
        close(event.result);
        close(client);
    }
    ring_cancel(scene->ring, token(RING_ACCEPT, 3));
    struct ring_event event = wait_for(scene, RING_ACCEPT);
    assert_int_equal(event.result, -ECANCELED);
    assert_false(event.more);
    close(listener);
}

static void octets_arrive_in_provided_buffers(void **state)
{
    struct scene *scene = *state;
    ring_receive(scene->ring, scene->pair[0], GROUP, token(RING_RECEIVE, 1));
    static const char *const texts[] = {"one", "two", "three"};
    for (int i = 0; i < 3; i++) {
        say(scene, texts[i]);
        struct ring_event event = wait_for(scene, RING_RECEIVE);
        assert_int_equal(event.result, (int)strlen(texts[i]));
        assert_true(event.more);
        assert_in_range(event.buffer, 0, BUFFERS - 1);
        assert_memory_equal(scene->memory[event.buffer], texts[i], strlen(texts[i]));
    }
}

static void without_a_buffer_the_receive_ends_and_loses_nothing(void **state)
{
    struct scene *scene = *state;
    ring_receive(scene->ring, scene->pair[0], GROUP, token(RING_RECEIVE, 1));
    char text[(BUFFERS + 1) * BUFFER_BYTES];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 'z';
    assert_int_equal(write(scene->pair[1], text, sizeof text), (ssize_t)sizeof text);
    struct ring_event event;
    for (int i = 0; i < BUFFERS; i++) {
        event = wait_for(scene, RING_RECEIVE);
        assert_int_equal(event.result, BUFFER_BYTES);
    }
    if (event.more)
        event = wait_for(scene, RING_RECEIVE);
    assert_int_equal(event.result, -ENOBUFS);
    assert_false(event.more);
    assert_int_equal(event.buffer, -1);
    ring_buffer_add(scene->buffers, BUFFERS, scene->memory[2], BUFFER_BYTES, 2, 0);
    ring_buffers_commit(scene->buffers, 1);
    ring_receive(scene->ring, scene->pair[0], GROUP, token(RING_RECEIVE, 1));
    event = wait_for(scene, RING_RECEIVE);
    assert_int_equal(event.result, BUFFER_BYTES);
    assert_int_equal(event.buffer, 2);
    assert_int_equal(scene->memory[2][BUFFER_BYTES - 1], 'z');
}

static void a_cancelled_receive_says_so(void **state)
{
    struct scene *scene = *state;
    ring_receive(scene->ring, scene->pair[0], GROUP, token(RING_RECEIVE, 1));
    assert_int_equal(ring_wait(scene->ring, 0, scene->kept, KEPT_MAX), 0);
    ring_cancel(scene->ring, token(RING_RECEIVE, 1));
    struct ring_event event = wait_for(scene, RING_RECEIVE);
    assert_int_equal(event.result, -ECANCELED);
    assert_false(event.more);
}

static void the_end_of_a_client_is_a_result_of_zero(void **state)
{
    struct scene *scene = *state;
    ring_receive(scene->ring, scene->pair[0], GROUP, token(RING_RECEIVE, 1));
    close(scene->pair[1]);
    scene->pair[1] = -1;
    struct ring_event event = wait_for(scene, RING_RECEIVE);
    assert_int_equal(event.result, 0);
    assert_false(event.more);
}

static void parts_are_sent_in_order(void **state)
{
    struct scene *scene = *state;
    struct iovec parts[] = {{(void *)(uintptr_t) "one ", 4}, {(void *)(uintptr_t) "two", 3}};
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    char got[16] = {};
    ring_send_message(scene->ring, scene->pair[0], &message, false, token(RING_SEND, 1));
    assert_int_equal(wait_for(scene, RING_SEND).result, 7);
    ring_send(scene->ring, scene->pair[0], "!", 1, false, token(RING_SEND, 1));
    assert_int_equal(wait_for(scene, RING_SEND).result, 1);
    assert_int_equal(read(scene->pair[1], got, sizeof got), 8);
    assert_string_equal(got, "one two!");
}

/* Of whole pages. */
static bool is_any_cached(int fd, size_t from, size_t bytes)
{
    unsigned char cached[1024] = {};
    const size_t pages = bytes / 4096;
    assert_true(pages <= sizeof cached);
    if (pages == 0)
        return false;
    void *memory = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, (off_t)from);
    assert_true(memory != MAP_FAILED);
    assert_int_equal(mincore(memory, bytes, cached), 0);
    munmap(memory, bytes);
    for (size_t i = 0; i < pages; i++)
        if ((cached[i] & 1) != 0)
            return true;
    return false;
}

/* False where the file system has nothing but the page cache. The kernel keeps for a while what somebody still has a
 * hand on. */
static bool drop_from_cache(int fd, size_t from, size_t bytes)
{
    for (int i = 0; i < 10'000 && is_any_cached(fd, from, bytes); i++) {
        assert_int_equal(posix_fadvise(fd, (off_t)from, 0, POSIX_FADV_DONTNEED), 0);
        sched_yield();
    }
    return !is_any_cached(fd, from, bytes);
}

/* A file of `bytes`, all of them in the page cache. */
static int make_file(size_t bytes)
{
    char path[] = "/var/tmp/ring-test-XXXXXX";
    uint8_t octets[4096];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    memset(octets, 'f', sizeof octets);
    for (size_t i = 0; i < bytes; i += sizeof octets)
        assert_int_equal(write(fd, octets, sizeof octets), sizeof octets);
    assert_int_equal(fsync(fd), 0);
    return fd;
}

/* What has to be seen cannot be seen here: never a silent success. Does not return. */
static void skip_because(const char *reason)
{
    print_message("SKIPPED ring_test: %s\n", reason);
    skip();
}

/* What is at hand of four steps of a file of which `kept` octets are cached. */
static int64_t look_at_cold_file(struct ring *ring, size_t kept, uint64_t offset)
{
    enum { FILE_BYTES = 4 * RING_FILE_STEP_BYTES };
    int fd = make_file(FILE_BYTES);
    const bool is_cold = drop_from_cache(fd, kept, FILE_BYTES - kept);
    const int64_t ready = ring_file_at_hand(ring, fd, offset, FILE_BYTES - offset);
    close(fd);
    if (!is_cold)
        skip_because("/var/tmp has its files in memory only");
    if (ready == -EOPNOTSUPP)
        skip_because("the file system of /var/tmp does not tell what it has at hand");
    return ready;
}

/* The look has the kernel read what is missing, so a fast disk may have it there at once: that is asked for again, of
 * another file. */
static int64_t at_hand(struct ring *ring, size_t kept, uint64_t offset, int64_t expected)
{
    int64_t ready = -1;
    for (int i = 0; i < 100 && ready != expected; i++) {
        ready = look_at_cold_file(ring, kept, offset);
        assert_true(ready >= expected && ready <= 4 * RING_FILE_STEP_BYTES);
    }
    return ready;
}

static void what_of_a_file_is_not_cached_is_not_at_hand(void **state)
{
    enum { STEP = RING_FILE_STEP_BYTES };
    const struct scene *scene = *state;
    assert_int_equal(at_hand(scene->ring, 2 * STEP, 100, 2 * STEP - 100), 2 * STEP - 100);
    assert_int_equal(at_hand(scene->ring, 0, 0, 0), 0);
}

static void what_of_a_file_is_cached_is_at_hand(void **state)
{
    const struct scene *scene = *state;
    int fd = make_file(RING_FILE_STEP_BYTES);
    const int64_t ready = ring_file_at_hand(scene->ring, fd, 100, 50);
    close(fd);
    if (ready == -EOPNOTSUPP)
        skip_because("the file system of /var/tmp does not tell what it has at hand");
    assert_int_equal(ready, 50);
}

static void a_file_is_sent_as_far_as_the_client_has_room_and_the_file_goes(void **state)
{
    const struct scene *scene = *state;
    uint8_t got[4096];
    int fd = make_file(sizeof got);
    assert_int_equal(ring_send_file(scene->ring, scene->pair[0], fd, 4000, 4096), 96);
    assert_int_equal(read(scene->pair[1], got, sizeof got), 96);
    assert_int_equal(got[95], 'f');
    assert_int_equal(ring_send_file(scene->ring, scene->pair[0], fd, 4096, 10), 0);
    int64_t sent = 0;
    for (int i = 0; i < 10'000 && sent >= 0; i++)
        sent = ring_send_file(scene->ring, scene->pair[0], fd, 0, 4096);
    assert_int_equal(sent, -EAGAIN);
    close(fd);
}

static void a_send_to_a_client_that_is_gone_is_an_error_and_no_signal(void **state)
{
    struct scene *scene = *state;
    close(scene->pair[1]);
    scene->pair[1] = -1;
    ring_send(scene->ring, scene->pair[0], "x", 1, false, token(RING_SEND, 1));
    assert_int_equal(wait_for(scene, RING_SEND).result, -EPIPE);
}

static void shutdown_and_close_end_the_stream(void **state)
{
    struct scene *scene = *state;
    char got[8];
    ring_send(scene->ring, scene->pair[0], "bye", 3, false, token(RING_SEND, 1));
    assert_int_equal(wait_for(scene, RING_SEND).result, 3);
    ring_shutdown(scene->ring, scene->pair[0]);
    assert_int_equal(read(scene->pair[1], got, sizeof got), 3);
    assert_int_equal(read(scene->pair[1], got, sizeof got), 0);
    ring_close(scene->ring, scene->pair[0], token(RING_CLOSE, 1));
    assert_int_equal(wait_for(scene, RING_CLOSE).result, 0);
    assert_int_equal(fcntl(scene->pair[0], F_GETFD), -1);
    scene->pair[0] = -1;
}

static void a_poll_ends_or_stays_as_it_was_asked(void **state)
{
    struct scene *scene = *state;
    const uint64_t one = 1;
    int doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ring_poll(scene->ring, doorbell, POLLIN, true, token(RING_DOORBELL, 1));
    for (int i = 0; i < 3; i++) { /* never read, and rings each time */
        assert_int_equal(ring_wait(scene->ring, 0, scene->kept, KEPT_MAX), 0);
        assert_int_equal(write(doorbell, &one, sizeof one), sizeof one);
        assert_true(wait_for(scene, RING_DOORBELL).more);
    }
    ring_poll(scene->ring, scene->pair[0], POLLIN, false, token(RING_IDLE_POLL, 1));
    say(scene, "x");
    assert_false(wait_for(scene, RING_IDLE_POLL).more);
    close(doorbell);
}

static void a_wait_ends_with_its_time(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(ring_wait(scene->ring, 1, scene->kept, KEPT_MAX), 0);
    assert_int_equal(ring_wait(scene->ring, 0, scene->kept, KEPT_MAX), 0);
}

static void what_does_not_fit_into_one_wait_comes_with_the_next(void **state)
{
    struct scene *scene = *state;
    for (uint32_t i = 0; i < 8; i++)
        ring_send(scene->ring, scene->pair[0], "x", 1, false, token(RING_SEND, i));
    uint32_t total = 0;
    while (total < 8) {
        int count = ring_wait(scene->ring, WAIT_MS, scene->kept, 3);
        assert_in_range(count, 1, 3);
        total += (uint32_t)count;
    }
}

static void more_operations_than_the_queue_holds_are_all_carried_out(void **state)
{
    struct scene *scene = *state;
    enum { MANY = RING_SQ_ENTRIES * 2 + 10 };
    for (uint32_t i = 0; i < MANY; i++)
        ring_poll(scene->ring, scene->pair[0], POLLOUT, false, token(RING_IDLE_POLL, i));
    for (uint32_t i = 0; i < MANY; i++)
        assert_true(wait_for(scene, RING_IDLE_POLL).result > 0);
    assert_int_equal(ring_overflows(scene->ring), 0);
}

/* The first thing in struct ring is its io_uring; what the interface cannot ask for, the kernel must refuse as well. */
static void other_operations_are_refused_by_the_kernel(void **state)
{
    struct scene *scene = *state;
    struct io_uring *uring = (struct io_uring *)(void *)scene->ring;
    static const uint8_t refused[] = {IORING_OP_OPENAT, IORING_OP_CONNECT,  IORING_OP_UNLINKAT, IORING_OP_READV,
                                      IORING_OP_SPLICE, IORING_OP_MSG_RING, IORING_OP_SOCKET,   IORING_OP_URING_CMD};
    for (size_t i = 0; i < sizeof refused; i++) {
        struct io_uring_sqe *entry = io_uring_get_sqe(uring);
        assert_non_null(entry);
        io_uring_prep_rw(refused[i], entry, -1, NULL, 0, 0);
        io_uring_sqe_set_data64(entry, token(RING_LOG_WRITE, 1));
        assert_int_equal(wait_for(scene, RING_LOG_WRITE).result, -EACCES);
    }
    int eventfds[] = {-1};
    assert_true(io_uring_register_eventfd(uring, eventfds[0]) < 0);
    assert_true(io_uring_register_files(uring, eventfds, 1) == -EACCES);
}

int main(void)
{
#define WITH_RING(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_comes_back_as_it_was),
        WITH_RING(an_accept_stays_armed),
        WITH_RING(octets_arrive_in_provided_buffers),
        WITH_RING(without_a_buffer_the_receive_ends_and_loses_nothing),
        WITH_RING(a_cancelled_receive_says_so),
        WITH_RING(the_end_of_a_client_is_a_result_of_zero),
        WITH_RING(parts_are_sent_in_order),
        WITH_RING(what_of_a_file_is_not_cached_is_not_at_hand),
        WITH_RING(what_of_a_file_is_cached_is_at_hand),
        WITH_RING(a_file_is_sent_as_far_as_the_client_has_room_and_the_file_goes),
        WITH_RING(a_send_to_a_client_that_is_gone_is_an_error_and_no_signal),
        WITH_RING(shutdown_and_close_end_the_stream),
        WITH_RING(a_poll_ends_or_stays_as_it_was_asked),
        WITH_RING(a_wait_ends_with_its_time),
        WITH_RING(what_does_not_fit_into_one_wait_comes_with_the_next),
        WITH_RING(more_operations_than_the_queue_holds_are_all_carried_out),
        WITH_RING(other_operations_are_refused_by_the_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
