#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "daemon/io/client_identity.h"
#include "tests/unit/io/io_scene.h"

/* A protocol that writes down what it hears. Its session is the test's. */
struct log {
    struct connection_output out;
    struct scene scene;
    char bytes[256];
    size_t length;
    uint32_t eofs, closes, frees, deadlines, sents;
    bool aborts; /* on the next octets */
};

static struct log *log_of(struct connection *connection)
{
    return connection->protocol->context;
}

static void on_bytes(struct connection *connection, struct loan loan, uint8_t *data, uint32_t length)
{
    struct log *log = log_of(connection);
    assert_true(log->length + length < sizeof log->bytes);
    memcpy(log->bytes + log->length, data, length);
    log->length += length;
    buffer_pool_drop(&log->scene.core.buffers, &loan);
    if (log->aborts)
        connection_abort(&log->scene.connections, connection, CLOSE_REQUESTED, true);
}

static void on_eof(struct connection *connection)
{
    log_of(connection)->eofs++;
}

static void on_sent(struct connection *connection, uint32_t bytes)
{
    log_of(connection)->sents += bytes;
}

static void on_deadline(struct connection *connection)
{
    log_of(connection)->deadlines++;
}

static void on_close(struct connection *connection)
{
    log_of(connection)->closes++;
}

static void on_freed(struct connection *connection)
{
    struct log *log = log_of(connection);
    log->frees++;
    output_queue_deinit(&log->out.queue);
}

static void open_log(struct log *log, struct connection_protocol *protocol)
{
    *log = (struct log){};
    scene_open(&log->scene, NULL);
    *protocol = (struct connection_protocol){
        .on_bytes = on_bytes,
        .on_eof = on_eof,
        .on_sent = on_sent,
        .on_deadline = on_deadline,
        .on_close = on_close,
        .on_freed = on_freed,
        .context = log,
    };
}

static struct connection *connect_with(struct log *log, const struct connection_protocol *protocol, bool session,
                                       int *ret_fd)
{
    struct connections *connections = &log->scene.connections;
    *ret_fd = scripted_socket(log->scene.core.ring);
    struct connection *connection = connection_create(connections, *ret_fd, &log->scene.listener);
    assert_non_null(connection);
    connection->protocol = protocol;
    if (session) {
        output_queue_init(&log->out.queue, &log->scene.core.outputs);
        connection->session = log;
        connection->out = &log->out;
    }
    connection_want(connections, connection, true, LOAN_RECEIVE);
    return connection;
}

static void octets_that_came_are_heard_until_the_end(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    int fd;
    open_log(&log, &protocol);
    connect_with(&log, &protocol, false, &fd);
    scene_say(&log.scene, fd, "ab");
    scripted_client_ends(log.scene.core.ring, fd);
    scene_say(&log.scene, fd, "c");
    assert_memory_equal(log.bytes, "abc", 3);
    assert_int_equal(log.eofs, 1);
    assert_false(scripted_at(log.scene.core.ring, fd)->receive.armed); /* nothing comes behind an end */
    scene_close(&log.scene);
}

static void an_unwanted_receive_is_cancelled_and_armed_again_when_wanted_in_between(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    int fd;
    open_log(&log, &protocol);
    struct connection *connection = connect_with(&log, &protocol, false, &fd);
    connection_want(&log.scene.connections, connection, false, LOAN_RECEIVE);
    connection_want(&log.scene.connections, connection, true, LOAN_RECEIVE); /* the cancelled one still has to end */
    scene_turns(&log.scene, 2);
    assert_true(scripted_at(log.scene.core.ring, fd)->receive.armed);
    connection_want(&log.scene.connections, connection, false, LOAN_RECEIVE);
    scene_say(&log.scene, fd, "unread");
    assert_false(scripted_at(log.scene.core.ring, fd)->receive.armed);
    assert_int_equal(log.length, 0);
    connection_want(&log.scene.connections, connection, true, LOAN_UPLOAD);
    scene_turns(&log.scene, 2);
    assert_memory_equal(log.bytes, "unread", 6);
    scene_close(&log.scene);
}

static void another_group_is_used_from_the_next_receive_on(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    int fd;
    open_log(&log, &protocol);
    struct connection *connection = connect_with(&log, &protocol, false, &fd);
    connection_want(&log.scene.connections, connection, true, LOAN_UPLOAD);
    scene_turns(&log.scene, 2);
    assert_int_equal(scripted_at(log.scene.core.ring, fd)->group, LOAN_UPLOAD);
    scene_say(&log.scene, fd, "x");
    assert_int_equal(log.length, 1);
    scene_close(&log.scene);
}

static void a_close_waits_for_what_is_in_flight(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    int fd;
    open_log(&log, &protocol);
    struct connection *connection = connect_with(&log, &protocol, true, &fd);
    struct connections *connections = &log.scene.connections;
    scripted_at(log.scene.core.ring, fd)->send_stalled = true;
    assert_int_equal(output_queue_copy(&log.out.queue, BYTES_LITERAL("going out")), 0);
    connection_flush(connections, connection);
    connections_turn(connections);
    assert_true(scripted_at(log.scene.core.ring, fd)->send.armed);
    connection_abort(connections, connection, CLOSE_REQUESTED, false);
    connection_abort(connections, connection, CLOSE_REQUESTED, false);
    connections_turn(connections);
    assert_int_equal(log.closes, 1);
    assert_int_equal(log.frees, 0); /* the kernel reads from the queue until the send has ended */
    scene_turns(&log.scene, 3);
    assert_int_equal(log.frees, 1);
    assert_true(scene_is_closed(&log.scene, fd));
    scene_close(&log.scene);
}

static void octets_that_come_after_a_close_are_given_back(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    int fd;
    open_log(&log, &protocol);
    connect_with(&log, &protocol, true, &fd);
    log.aborts = true;
    scripted_at(log.scene.core.ring, fd)->receive_max = 1;
    scene_say(&log.scene, fd, "abc"); /* three completions of one batch: the first one closes */
    assert_int_equal(log.length, 1);
    assert_int_equal(buffer_pool_live(&log.scene.core.buffers), 0);
    assert_true(scene_is_closed(&log.scene, fd));
    scene_close(&log.scene);
}

static void a_token_of_an_earlier_connection_finds_nobody(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    int fd;
    open_log(&log, &protocol);
    struct connection *first = connect_with(&log, &protocol, false, &fd);
    ring_token token = ring_token_make(RING_RECEIVE, first->generation, first->index);
    assert_ptr_equal(connection_find(&log.scene.connections, token), first);
    connection_abort(&log.scene.connections, first, CLOSE_REQUESTED, false);
    scene_turns(&log.scene, 3);
    assert_null(connection_find(&log.scene.connections, token));
    struct connection *second = connect_with(&log, &protocol, false, &fd);
    assert_int_equal(ring_token_index(token), second->index);
    assert_null(connection_find(&log.scene.connections, token));
    scene_close(&log.scene);
}

/* ---- scarcity --------------------------------------------------------------------------------------------------- */

struct taken {
    struct loan loans[32];
    uint32_t count;
};

/* As if requests held all buffers of a group. */
static void take_all(struct log *log, const struct connection_protocol *protocol, struct taken *taken)
{
    struct io_core *core = &log->scene.core;
    (void)protocol;
    for (uint32_t i = 0; i < core->setup.shape.recv_buffers; i++)
        assert_non_null(buffer_pool_received(&core->buffers, LOAN_RECEIVE, (int32_t)i, &taken->loans[taken->count++]));
}

static void give_back(struct log *log, struct taken *taken, uint32_t count)
{
    while (count-- > 0)
        buffer_pool_drop(&log->scene.core.buffers, &taken->loans[--taken->count]);
}

static void starve(struct connections *connections, struct connection *connection)
{
    connection_on_receive(connections, connection, &(struct ring_event){.result = -ENOBUFS, .buffer = -1});
    scripted_at(connections->core->ring, connection->fd)->receive.armed = false;
}

static void the_longest_starving_is_fed_first_and_no_more_than_there_is(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    struct taken taken = {};
    struct connection *waiting[3];
    int fds[3];
    open_log(&log, &protocol);
    for (int i = 0; i < 3; i++)
        waiting[i] = connect_with(&log, &protocol, false, &fds[i]);
    for (uint32_t i = 0; i < log.scene.core.setup.shape.recv_buffers; i++) /* the kernel has none left either */
        scripted_buffer_taken(log.scene.core.ring, LOAN_RECEIVE);
    take_all(&log, &protocol, &taken);
    for (int i = 0; i < 3; i++)
        starve(&log.scene.connections, waiting[i]);
    connections_turn(&log.scene.connections);
    for (int i = 0; i < 3; i++)
        assert_false(waiting[i]->receive_armed);
    give_back(&log, &taken, 1);
    connections_turn(&log.scene.connections);
    assert_true(waiting[0]->receive_armed);
    assert_false(waiting[1]->receive_armed);
    give_back(&log, &taken, taken.count);
    connections_turn(&log.scene.connections);
    assert_true(waiting[1]->receive_armed);
    assert_true(waiting[2]->receive_armed);
    assert_null(log.scene.connections.starved_first);
    scene_close(&log.scene);
}

static void a_full_upload_group_keeps_no_other_from_reading(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    struct loan loans[4];
    int fd;
    open_log(&log, &protocol);
    struct connection *connection = connect_with(&log, &protocol, false, &fd);
    for (uint32_t i = 0; i < 4; i++) {
        scripted_buffer_taken(log.scene.core.ring, LOAN_UPLOAD);
        assert_non_null(buffer_pool_received(&log.scene.core.buffers, LOAN_UPLOAD, (int32_t)i, &loans[i]));
    }
    starve(&log.scene.connections, connection);
    assert_false(connection->receive_armed);
    connections_turn(&log.scene.connections);
    assert_true(connection->receive_armed);
    for (uint32_t i = 0; i < 4; i++)
        buffer_pool_drop(&log.scene.core.buffers, &loans[i]);
    scene_close(&log.scene);
}

static void a_starving_connection_may_close(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    int fds[3];
    struct connection *waiting[3];
    open_log(&log, &protocol);
    for (int i = 0; i < 3; i++) {
        waiting[i] = connect_with(&log, &protocol, false, &fds[i]);
        starve(&log.scene.connections, waiting[i]);
    }
    connection_abort(&log.scene.connections, waiting[1], CLOSE_REQUESTED, false);
    connection_abort(&log.scene.connections, waiting[2], CLOSE_REQUESTED, false);
    scene_turns(&log.scene, 3);
    assert_true(waiting[0]->receive_armed);
    assert_int_equal(log.scene.connections.live, 1);
    scene_close(&log.scene);
}

static void a_client_without_an_address_is_not_trusted_and_a_unix_socket_is(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    for (int is_unix = 0; is_unix < 2; is_unix++) {
        int fd; /* scripted: no kernel knows its peer */
        open_log(&log, &protocol);
        log.scene.listener.is_unix = is_unix != 0;
        struct connection *connection = connect_with(&log, &protocol, false, &fd);
        assert_int_equal(client_identity_trusted(&log.scene.core, connection), is_unix);
        scene_close(&log.scene);
    }
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static void a_deadline_that_moves_away_fires_once_at_its_last_place(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    int fd;
    open_log(&log, &protocol);
    struct connection *connection = connect_with(&log, &protocol, false, &fd);
    uint64_t now = log.scene.core.now_ms;
    connection_set_deadline(&log.scene.connections, connection, now + 100);
    connection_set_deadline(&log.scene.connections, connection, now + 500);
    scene_wait(&log.scene, 200);
    assert_int_equal(log.deadlines, 0);
    connection_set_deadline(&log.scene.connections, connection, now + 400);
    scene_wait(&log.scene, 220);
    assert_int_equal(log.deadlines, 1);
    scene_wait(&log.scene, 1'000);
    assert_int_equal(log.deadlines, 1);
    connection_set_deadline(&log.scene.connections, connection, log.scene.core.now_ms + 100);
    connection_set_deadline(&log.scene.connections, connection, 0);
    scene_wait(&log.scene, 1'000);
    assert_int_equal(log.deadlines, 1);
    scene_close(&log.scene);
}

static void a_parked_connection_holds_a_poll_and_octets_wake_it(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    int fd;
    open_log(&log, &protocol);
    struct connection *connection = connect_with(&log, &protocol, false, &fd);
    connection_park(&log.scene.connections, connection);
    scene_turns(&log.scene, 2);
    assert_true(scripted_at(log.scene.core.ring, fd)->poll.armed);
    assert_false(scripted_at(log.scene.core.ring, fd)->receive.armed);
    scene_say(&log.scene, fd, "wake");
    assert_memory_equal(log.bytes, "wake", 4);
    assert_int_equal(connection->state, CONNECTION_OPEN);
    scene_close(&log.scene);
}

static void octets_that_come_while_it_is_being_parked_are_heard(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    int fd;
    open_log(&log, &protocol);
    struct connection *connection = connect_with(&log, &protocol, false, &fd);
    connection_park(&log.scene.connections, connection);
    scripted_at(log.scene.core.ring, fd)->cancels_late = true;
    scene_say(&log.scene, fd, "late");
    assert_memory_equal(log.bytes, "late", 4);
    assert_int_equal(connection->state, CONNECTION_OPEN);
    scene_close(&log.scene);
}

static void a_parked_connection_may_close_or_linger(void **state)
{
    (void)state;
    for (int lingers = 0; lingers < 2; lingers++) {
        static struct log log;
        struct connection_protocol protocol;
        int fd;
        open_log(&log, &protocol);
        struct connection *connection = connect_with(&log, &protocol, false, &fd);
        connection_park(&log.scene.connections, connection);
        scene_turns(&log.scene, 2);
        if (lingers)
            connection_close_when_sent(&log.scene.connections, connection, CLOSE_SHUTDOWN);
        else
            connection_abort(&log.scene.connections, connection, CLOSE_SHUTDOWN, false);
        scene_turns(&log.scene, 3);
        assert_int_equal(scene_is_closed(&log.scene, fd), !lingers);
        scripted_client_ends(log.scene.core.ring, fd);
        scene_turns(&log.scene, 4);
        assert_true(scene_is_closed(&log.scene, fd));
        scene_close(&log.scene);
    }
}

static void a_lingering_client_is_read_from_up_to_a_mebibyte(void **state)
{
    (void)state;
    static struct log log;
    static uint8_t much[65'536];
    struct connection_protocol protocol;
    int fd;
    open_log(&log, &protocol);
    struct connection *connection = connect_with(&log, &protocol, false, &fd);
    connection_close_when_sent(&log.scene.connections, connection, CLOSE_REQUESTED);
    assert_true(scripted_at(log.scene.core.ring, fd)->shut);
    for (int i = 0; i < 16; i++) {
        assert_false(scene_is_closed(&log.scene, fd));
        scripted_client_sends(log.scene.core.ring, fd, bytes_of(much, sizeof much));
        scene_turns(&log.scene, 8);
    }
    scripted_client_sends(log.scene.core.ring, fd, bytes_of(much, 1));
    scene_turns(&log.scene, 3);
    assert_true(scene_is_closed(&log.scene, fd));
    assert_int_equal(log.length, 0);
    scene_close(&log.scene);
}

static void an_end_that_comes_with_a_buffer_is_an_end(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    int fd;
    open_log(&log, &protocol);
    struct connection *connection = connect_with(&log, &protocol, false, &fd);
    scripted_buffer_taken(log.scene.core.ring, LOAN_RECEIVE);
    scripted_at(log.scene.core.ring, fd)->receive.armed = false;
    connection_on_receive(&log.scene.connections, connection, &(struct ring_event){.result = 0, .buffer = 0});
    assert_int_equal(log.eofs, 1);
    scene_close(&log.scene);
}

static void the_connection_idle_longest_makes_room(void **state)
{
    (void)state;
    static struct log log;
    struct connection_protocol protocol;
    struct connection *idle[3];
    int fds[3];
    open_log(&log, &protocol);
    assert_false(connections_evict_idle(&log.scene.connections, CLOSE_LIMIT_CONNECTIONS));
    for (int i = 0; i < 3; i++) {
        idle[i] = connect_with(&log, &protocol, false, &fds[i]);
        connection_set_idle(&log.scene.connections, idle[i], true);
    }
    connection_set_idle(&log.scene.connections, idle[0], false);
    connection_set_idle(&log.scene.connections, idle[0], true);
    assert_true(connections_evict_idle(&log.scene.connections, CLOSE_LIMIT_CONNECTIONS));
    scene_turns(&log.scene, 3);
    assert_true(scene_is_closed(&log.scene, fds[1]));
    assert_false(scene_is_closed(&log.scene, fds[0]));
    assert_int_equal(log.scene.connections.idle_count, 2);
    scene_close(&log.scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(octets_that_came_are_heard_until_the_end),
        cmocka_unit_test(an_unwanted_receive_is_cancelled_and_armed_again_when_wanted_in_between),
        cmocka_unit_test(another_group_is_used_from_the_next_receive_on),
        cmocka_unit_test(a_close_waits_for_what_is_in_flight),
        cmocka_unit_test(octets_that_come_after_a_close_are_given_back),
        cmocka_unit_test(a_token_of_an_earlier_connection_finds_nobody),
        cmocka_unit_test(the_longest_starving_is_fed_first_and_no_more_than_there_is),
        cmocka_unit_test(a_full_upload_group_keeps_no_other_from_reading),
        cmocka_unit_test(a_starving_connection_may_close),
        cmocka_unit_test(a_deadline_that_moves_away_fires_once_at_its_last_place),
        cmocka_unit_test(a_parked_connection_holds_a_poll_and_octets_wake_it),
        cmocka_unit_test(octets_that_come_while_it_is_being_parked_are_heard),
        cmocka_unit_test(a_client_without_an_address_is_not_trusted_and_a_unix_socket_is),
        cmocka_unit_test(a_parked_connection_may_close_or_linger),
        cmocka_unit_test(a_lingering_client_is_read_from_up_to_a_mebibyte),
        cmocka_unit_test(an_end_that_comes_with_a_buffer_is_an_end),
        cmocka_unit_test(the_connection_idle_longest_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
