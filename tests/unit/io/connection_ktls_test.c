#include "tests/unit/io/tls_scene.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- a kernel that does what the test says ----------------------------------------------------------------------- */

enum step { ATTACH, SEND_KEYS, RECEIVE_KEYS, NO_PADDING, STEPS };

/* It encrypts by leaving octets as they are: what is in the socket's output from `sends_from` on is the kernel's. */
static struct {
    struct stage *stage;
    int errors[STEPS];
    uint32_t done[STEPS];
    size_t sends_from;
    struct tls12_crypto_info_aes_gcm_128 send_keys; /* the last; other ciphers lie over it */
    uint8_t record_type;                            /* the next that recvmsg() finds */
    struct bytes record;
    ssize_t record_error;
    uint32_t fetched;  /* octets of ciphertext that were asked for */
    uint64_t received; /* by TCP */
    uint8_t said_type;
    uint8_t said[8];
} fake;

static enum step step_of(int level, int name)
{
    if (level == IPPROTO_TCP && name == TCP_ULP)
        return ATTACH;
    if (name == TLS_RX_EXPECT_NO_PAD)
        return NO_PADDING;
    return name == TLS_TX ? SEND_KEYS : RECEIVE_KEYS;
}

static int set_option(int fd, int level, int name, const void *value, socklen_t bytes)
{
    const enum step step = step_of(level, name);
    if (fake.errors[step] < 0)
        return fake.errors[step];
    if (step == SEND_KEYS && fake.done[SEND_KEYS] == 0)
        fake.sends_from = scripted_at(fake.stage->scene.core.ring, fd)->output_bytes;
    if (step == SEND_KEYS)
        memcpy(&fake.send_keys, value, bytes < sizeof fake.send_keys ? bytes : sizeof fake.send_keys);
    fake.done[step]++;
    return 0;
}

static ssize_t send_message(int fd, const struct msghdr *message, int flags)
{
    (void)fd;
    assert_int_equal(flags, MSG_DONTWAIT | MSG_NOSIGNAL);
    fake.said_type = *CMSG_DATA(CMSG_FIRSTHDR(message));
    memcpy(fake.said, message->msg_iov[0].iov_base, message->msg_iov[0].iov_len);
    return (ssize_t)message->msg_iov[0].iov_len;
}

/* Ciphertext has no type; what the kernel decrypts has. */
static void say_type(struct msghdr *message)
{
    if (fake.record_type == 0) {
        message->msg_controllen = 0;
        return;
    }
    struct cmsghdr *control = message->msg_control;
    *control =
        (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(uint8_t)), .cmsg_level = 282, .cmsg_type = TLS_GET_RECORD_TYPE};
    *CMSG_DATA(control) = fake.record_type;
    message->msg_controllen = CMSG_LEN(sizeof(uint8_t));
}

static ssize_t receive_message(int fd, struct msghdr *message, int flags)
{
    (void)fd;
    const struct iovec *part = message->msg_iov;
    assert_int_equal(flags, MSG_DONTWAIT);
    if (fake.record_error < 0)
        return fake.record_error;
    if (fake.record.length == 0)
        return -EAGAIN;
    const size_t length = part->iov_len < fake.record.length ? part->iov_len : fake.record.length;
    memcpy(part->iov_base, fake.record.data, length);
    fake.record = bytes_skip(fake.record, length);
    fake.fetched += (uint32_t)length;
    say_type(message);
    return (ssize_t)length;
}

static uint64_t received(int fd)
{
    (void)fd;
    return fake.received;
}

static const struct ktls_calls FAKE = {set_option, send_message, receive_message, received};

static struct stage *open_with(bool receives, bool rekeys)
{
    struct stage *stage = stage_open(NULL);
    memset(&fake, 0, sizeof fake);
    fake.stage = stage;
    stage->scene.core.ktls =
        (struct ktls_kernel){.calls = &FAKE, .ciphers = {true, true, true}, .receives = receives, .rekeys = rekeys};
    return stage;
}

static bool sent_by_kernel(const struct client *client, const char *text)
{
    const struct scripted_socket *socket = client_socket(client);
    return memmem(socket->output + fake.sends_from, socket->output_bytes - fake.sends_from, text, strlen(text)) != NULL;
}

static bool sent_in_user_space(const struct client *client, const char *text)
{
    const struct scripted_socket *socket = client_socket(client);
    const size_t length = fake.done[SEND_KEYS] > 0 ? fake.sends_from : socket->output_bytes;
    return memmem(socket->output, length, text, strlen(text)) != NULL;
}

/* A client that has got one answer: the kernel sends, and decrypts if it is to. */
static struct client *client_offloaded(struct stage *stage)
{
    struct client *client = client_in(stage);
    client_says(client, tls_scene_get);
    stage_respond(stage, "the body");
    scene_turns(&stage->scene, 4);
    assert_int_equal(fake.done[SEND_KEYS], 1);
    return client;
}

static struct connection *only_connection(const struct stage *stage)
{
    return stage->scene.connections.by_index[0];
}

/* What the kernel has decrypted comes as it is. */
static void kernel_receives(const struct client *client, const char *text)
{
    scripted_client_sends(client->stage->scene.core.ring, client->fd, bytes_of_string(text));
    scene_turns(&client->stage->scene, 4);
}

static void kernel_finds(const struct client *client, uint8_t type, struct bytes record)
{
    fake.record_type = type;
    fake.record = record;
    client_socket(client)->receive_error = -EIO;
    scene_turns(&client->stage->scene, 4);
}

static void finish(struct client *client)
{
    struct stage *stage = client->stage;
    client_close(client);
    stage_close(stage);
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

static void answers_leave_by_the_kernel_and_none_in_clear_before(void **state)
{
    (void)state;
    struct stage *stage = open_with(false, false);
    struct client *client = client_offloaded(stage);
    assert_true(sent_by_kernel(client, "the body"));
    assert_false(sent_in_user_space(client, "the body"));
    assert_int_equal(fake.done[RECEIVE_KEYS], 0);
    client_speaks(client);
    assert_int_equal(stage_metric(stage, METRIC_KTLS_SENDING), 1);
    finish(client);
}

static void respond_at_length(struct stage *stage, const char *body)
{
    struct scene *scene = &stage->scene;
    struct message request = scene_begin(scene, 0);
    const uint32_t large = scene->core.setup.shape.outbound_small;
    struct message reply = scene_piece(scene, 0, &request, MESSAGE_RESPONSE, large, bytes_of_string(body));
    reply.status = 200;
    reply.flags = MESSAGE_END;
    scene_reply(scene, 0, &reply);
    scene_done(scene, 0, &request);
    scene_turns(scene, 8);
}

static void of_several_records_the_last_is_sent_alone_and_the_others_are_full(void **state)
{
    (void)state;
    enum { BODY = 60'000, AHEAD = 3 * KTLS_RECORD_BYTES };
    static char body[BODY + 1];
    memset(body, 'x', BODY);
    const size_t takes[] = {0, 1'000, 20'000, KTLS_RECORD_BYTES, AHEAD};
    for (size_t i = 0; i < sizeof takes / sizeof takes[0]; i++) {
        struct stage *stage = open_with(false, false);
        struct client *client = client_offloaded(stage);
        struct scripted_socket *socket = client_socket(client);
        const size_t before = socket->output_bytes;
        assert_int_equal(socket->corked_bytes, 0);
        client_speaks(client);
        tls_peer_writes(&client->peer, bytes_of_string(tls_scene_get));
        client_speaks(client);
        scene_turns(&stage->scene, 4);
        socket->send_max = takes[i];
        respond_at_length(stage, body);
        scene_turns(&stage->scene, 128);
        assert_true(sent_by_kernel(client, body));
        assert_true(socket->output_bytes - before > AHEAD);
        assert_int_equal(socket->corked_bytes % KTLS_RECORD_BYTES, 0);
        assert_true(takes[i] != 0 || socket->corked_bytes == AHEAD);
        finish(client);
    }
}

static void what_comes_is_still_decrypted_in_user_space(void **state)
{
    (void)state;
    struct stage *stage = open_with(false, false);
    struct client *client = client_offloaded(stage);
    tls_peer_writes(&client->peer, bytes_of_string(tls_scene_get));
    client_speaks(client);
    scene_turns(&stage->scene, 4);
    stage_respond(stage, "another");
    scene_turns(&stage->scene, 4);
    assert_true(sent_by_kernel(client, "another"));
    finish(client);
}

static void a_kernel_that_takes_no_keys_leaves_sending_in_user_space(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    fake.errors[SEND_KEYS] = -ENOENT;
    struct client *client = client_in(stage);
    for (int i = 0; i < 2; i++) {
        client_says(client, tls_scene_get);
        stage_respond(stage, "the body");
        client_talk(client);
    }
    assert_int_equal(tls_scene_count(client->heard, "the body"), 2);
    assert_false(sent_in_user_space(client, "the body"));
    assert_int_equal(fake.done[RECEIVE_KEYS], 0);
    assert_int_equal(stage_metric(stage, METRIC_KTLS_FALLBACKS), 1);
    finish(client);
}

static void without_the_kernel_at_accept_no_keys_are_given_to_it(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    fake.errors[ATTACH] = -ENOTCONN;
    struct client *client = client_in(stage);
    client_says(client, tls_scene_get);
    stage_respond(stage, "the body");
    client_talk(client);
    assert_int_equal(tls_scene_count(client->heard, "the body"), 1);
    assert_int_equal(fake.done[SEND_KEYS], 0);
    finish(client);
}

static void a_cipher_that_the_kernel_lacks_stays_in_user_space(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    memset(stage->scene.core.ktls.ciphers, 0, sizeof stage->scene.core.ktls.ciphers);
    struct client *client = client_in(stage);
    client_says(client, tls_scene_get);
    stage_respond(stage, "the body");
    client_talk(client);
    assert_int_equal(tls_scene_count(client->heard, "the body"), 1);
    assert_int_equal(stage_metric(stage, METRIC_KTLS_FALLBACKS), 1);
    finish(client);
}

static void tickets_leave_before_the_kernel_takes_over(void **state)
{
    (void)state;
    struct stage *stage = open_with(false, false);
    struct client *client = client_open(stage);
    while (!tls_peer_handshake(&client->peer)) {
        client_speaks(client);
        scene_turns(&stage->scene, 4);
        const struct scripted_socket *socket = client_socket(client);
        tls_peer_hears(&client->peer, bytes_of(socket->output + client->taken, socket->output_bytes - client->taken));
        client->taken = socket->output_bytes;
    }
    tls_peer_writes(&client->peer, bytes_of_string(tls_scene_get)); /* in one segment with the Finished */
    client_speaks(client);
    scene_turns(&stage->scene, 4);
    stage_respond(stage, "the body");
    scene_turns(&stage->scene, 6);
    assert_int_equal(fake.done[SEND_KEYS], 1);
    tls_peer_hears(&client->peer,
                   bytes_of(client_socket(client)->output + client->taken, fake.sends_from - client->taken));
    bool closed = false;
    char text[64];
    assert_int_equal(tls_peer_reads(&client->peer, (uint8_t *)text, sizeof text, &closed), 0);
    assert_non_null(client->peer.session);
    assert_true(sent_by_kernel(client, "the body"));
    finish(client);
}

static void the_end_is_said_by_a_record_of_the_kernels(void **state)
{
    (void)state;
    struct stage *stage = open_with(false, false);
    struct client *client = client_in(stage);
    client_says(client, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    stage_respond(stage, "last");
    scene_turns(&stage->scene, 6);
    const struct scripted_socket *socket = client_socket(client);
    const uint8_t *end = socket->output + socket->output_bytes - 2;
    assert_int_equal(end[0], 1);
    assert_int_equal(end[1], KTLS_ALERT_CLOSE_NOTIFY);
    assert_true(socket->shut);
    finish(client);
}

/* ---- receiving -------------------------------------------------------------------------------------------------- */

static void the_kernel_decrypts_when_nothing_is_left_to_decrypt(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    struct client *client = client_offloaded(stage);
    assert_int_equal(fake.done[RECEIVE_KEYS], 1);
    assert_int_equal(fake.done[NO_PADDING], 1);
    assert_int_equal(only_connection(stage)->offload, CONNECTION_OFFLOAD_BOTH);
    kernel_receives(client, tls_scene_get);
    stage_respond(stage, "another");
    scene_turns(&stage->scene, 4);
    assert_true(sent_by_kernel(client, "another"));
    assert_int_equal(stage_metric(stage, METRIC_KTLS_RECEIVING), 1);
    finish(client);
}

static void a_kernel_that_expects_padding_decrypts_all_the_same(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    fake.errors[NO_PADDING] = -EINVAL;
    struct client *client = client_offloaded(stage);
    assert_int_equal(only_connection(stage)->offload, CONNECTION_OFFLOAD_BOTH);
    assert_int_equal(stage_metric(stage, METRIC_KTLS_FALLBACKS), 0);
    finish(client);
}

static void a_kernel_that_does_not_decrypt_leaves_that_in_user_space(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    fake.errors[RECEIVE_KEYS] = -ENOMEM;
    struct client *client = client_offloaded(stage);
    tls_peer_writes(&client->peer, bytes_of_string(tls_scene_get));
    client_speaks(client);
    scene_turns(&stage->scene, 4);
    stage_respond(stage, "another");
    scene_turns(&stage->scene, 4);
    assert_true(sent_by_kernel(client, "another"));
    assert_int_equal(stage_metric(stage, METRIC_KTLS_FALLBACKS), 1);
    finish(client);
}

/* Cut at any place: the rest is fetched, and not an octet of the record behind it. */
static void a_record_that_has_begun_is_fetched_to_the_octet(void **state)
{
    (void)state;
    static const size_t CUTS[] = {1, 4, 5, 6, 30};
    for (size_t i = 0; i < sizeof CUTS / sizeof CUTS[0]; i++) {
        struct stage *stage = open_with(true, false);
        struct client *client = client_in(stage);
        client_says(client, tls_scene_get);
        tls_peer_writes(&client->peer, bytes_of_string(tls_scene_get));
        struct bytes second = tls_peer_says(&client->peer);
        scripted_client_sends(stage->scene.core.ring, client->fd, bytes_of(second.data, CUTS[i]));
        scene_turns(&stage->scene, 2);
        stage_respond(stage, "one");
        scene_turns(&stage->scene, 4);
        assert_int_equal(fake.done[SEND_KEYS], 1);
        assert_int_equal(fake.done[RECEIVE_KEYS], 0); /* the rest has not come */
        fake.record = bytes_skip(second, CUTS[i]);
        const size_t rest = fake.record.length;
        scripted_client_sends(stage->scene.core.ring, client->fd, BYTES_LITERAL("x")); /* readable */
        scene_turns(&stage->scene, 1);
        client_socket(client)->input_bytes = 0; /* the record it stands for is what the kernel hands out */
        scene_turns(&stage->scene, 4);
        assert_int_equal(fake.fetched, rest);
        assert_int_equal(fake.done[RECEIVE_KEYS], 1);
        stage_respond(stage, "two");
        scene_turns(&stage->scene, 4);
        assert_true(sent_by_kernel(client, "two"));
        free((void *)(uintptr_t)second.data);
        finish(client);
    }
}

/* What is only thrown away is not decrypted, and nobody waits for the rest of it. */
static void half_a_record_does_not_keep_a_connection_that_is_over(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    struct client *client = client_in(stage);
    client_says(client, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    tls_peer_writes(&client->peer, bytes_of_string(tls_scene_get));
    struct bytes second = tls_peer_says(&client->peer);
    scripted_client_sends(stage->scene.core.ring, client->fd, bytes_of(second.data, 9));
    scene_turns(&stage->scene, 2);
    fake.record = bytes_skip(second, 9);
    stage_respond(stage, "last");
    scene_turns(&stage->scene, 8);
    assert_int_equal(fake.done[SEND_KEYS], 1);
    assert_true(client_socket(client)->shut);
    scripted_client_sends(stage->scene.core.ring, client->fd, fake.record);
    scene_turns(&stage->scene, 4);
    assert_null(stage->scene.connections.undecrypted_first);
    assert_int_equal(fake.fetched, 0);
    scene_wait(&stage->scene, CONNECTION_LINGER_MS + 100);
    scene_wait(&stage->scene, 20);
    assert_true(scene_is_closed(&stage->scene, client->fd));
    free((void *)(uintptr_t)second.data);
    finish(client);
}

static void close_notify_is_the_end(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    struct client *client = client_offloaded(stage);
    kernel_finds(client, KTLS_RECORD_ALERT, BYTES_LITERAL("\1\0"));
    scene_turns(&stage->scene, 4);
    assert_true(client_socket(client)->shut || client_socket(client)->closed);
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 0);
    finish(client);
}

static void a_warning_is_not_the_end(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    struct client *client = client_offloaded(stage);
    kernel_finds(client, KTLS_RECORD_ALERT, BYTES_LITERAL("\1\132"));
    kernel_receives(client, tls_scene_get);
    stage_respond(stage, "another");
    scene_turns(&stage->scene, 4);
    assert_true(sent_by_kernel(client, "another"));
    finish(client);
}

static void warnings_in_a_row_are_a_flood_and_with_data_between_them_they_are_not(void **state)
{
    (void)state;
    enum { UNEXPECTED_MESSAGE = 10 };
    struct stage *stage = open_with(true, false);
    struct client *client = client_offloaded(stage);
    for (int i = 0; i < 2 * TLS_WARNINGS_MAX; i++) {
        kernel_finds(client, KTLS_RECORD_ALERT, BYTES_LITERAL("\1\132"));
        if (i + 1 == TLS_WARNINGS_MAX)
            kernel_receives(client, "GET /");
    }
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 0);
    kernel_finds(client, KTLS_RECORD_ALERT, BYTES_LITERAL("\1\132"));
    assert_int_equal(fake.said[1], UNEXPECTED_MESSAGE);
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 1);
    finish(client);
}

static void a_fatal_alert_ends_the_connection(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    struct client *client = client_offloaded(stage);
    kernel_finds(client, KTLS_RECORD_ALERT, BYTES_LITERAL("\2\24"));
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 1);
    finish(client);
}

static void a_forged_record_ends_the_connection(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    struct client *client = client_offloaded(stage);
    client_socket(client)->receive_error = -EBADMSG;
    scene_turns(&stage->scene, 4);
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 1);
    finish(client);
}

/* ---- new keys --------------------------------------------------------------------------------------------------- */

static void new_keys_that_a_kernel_cannot_take_end_the_connection_with_a_reason(void **state)
{
    (void)state;
    enum { INTERNAL_ERROR = 80 };
    struct stage *stage = open_with(true, false);
    struct client *client = client_offloaded(stage);
    fake.errors[RECEIVE_KEYS] = -EBUSY;
    kernel_finds(client, KTLS_RECORD_HANDSHAKE, BYTES_LITERAL("\30\0\0\1\0"));
    assert_int_equal(fake.said_type, KTLS_RECORD_ALERT);
    assert_int_equal(fake.said[1], INTERNAL_ERROR);
    assert_int_equal(stage_metric(stage, METRIC_KTLS_REKEYS_REFUSED), 1);
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 1);
    finish(client);
}

static void new_keys_are_taken_and_given_in_return(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, true);
    struct client *client = client_offloaded(stage);
    const struct tls12_crypto_info_aes_gcm_128 first = fake.send_keys;
    kernel_finds(client, KTLS_RECORD_HANDSHAKE, BYTES_LITERAL("\30\0\0\1\1"));
    assert_int_equal(fake.done[RECEIVE_KEYS], 2);
    assert_int_equal(fake.done[SEND_KEYS], 1); /* nothing is sent yet */
    kernel_receives(client, tls_scene_get);
    stage_respond(stage, "another");
    scene_turns(&stage->scene, 6);
    assert_int_equal(fake.done[SEND_KEYS], 2);
    static const uint8_t zero[8];
    assert_int_equal(fake.send_keys.info.cipher_type, TLS_CIPHER_AES_GCM_128);
    assert_memory_equal(fake.send_keys.rec_seq, zero, sizeof zero);
    assert_memory_not_equal(&first.key, &fake.send_keys.key, sizeof first.key);
    const struct scripted_socket *socket = client_socket(client);
    const uint8_t *update = memmem(socket->output, socket->output_bytes, "\30\0\0\1\0HTTP/1.1", 13);
    assert_non_null(update); /* before what is sent with the new keys */
    assert_int_equal(stage_metric(stage, METRIC_KTLS_REKEYS), 2);
    finish(client);
}

/* BoringSSL has answered it, and what the kernel gets are the keys after that. */
static void new_keys_that_were_asked_for_before_the_switch_are_not_given_twice(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, true);
    struct client *client = client_in(stage);
    assert_int_equal(SSL_key_update(client->peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    client_says(client, tls_scene_get);
    stage_respond(stage, "the body");
    scene_turns(&stage->scene, 6);
    assert_int_equal(fake.done[SEND_KEYS], 1);
    assert_true(sent_by_kernel(client, "the body"));
    kernel_receives(client, tls_scene_get);
    stage_respond(stage, "another");
    scene_turns(&stage->scene, 6);
    assert_true(sent_by_kernel(client, "another"));
    assert_int_equal(fake.done[SEND_KEYS], 1);
    assert_int_equal(stage_metric(stage, METRIC_KTLS_REKEYS), 0);
    finish(client);
}

static void keys_that_change_too_often_are_a_flood(void **state)
{
    (void)state;
    enum { UNEXPECTED_MESSAGE = 10 };
    struct stage *stage = open_with(true, true);
    struct client *client = client_offloaded(stage);
    for (int i = 0; i < TLS_KEY_UPDATES_FREE; i++)
        kernel_finds(client, KTLS_RECORD_HANDSHAKE, BYTES_LITERAL("\30\0\0\1\0"));
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 0);
    kernel_finds(client, KTLS_RECORD_HANDSHAKE, BYTES_LITERAL("\30\0\0\1\0"));
    assert_int_equal(fake.said[1], UNEXPECTED_MESSAGE);
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 1);
    finish(client);
}

static void a_handshake_message_that_is_none_of_a_clients_ends_the_connection(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, true);
    struct client *client = client_offloaded(stage);
    kernel_finds(client, KTLS_RECORD_HANDSHAKE, BYTES_LITERAL("\4\0\0\1\0"));
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 1);
    finish(client);
}

static void a_key_that_has_sealed_enough_is_changed_or_the_connection_ends(void **state)
{
    (void)state;
    for (int rekeys = 0; rekeys < 2; rekeys++) {
        struct stage *stage = open_with(true, rekeys != 0);
        struct client *client = client_offloaded(stage);
        only_connection(stage)->remnant->records_sent = KTLS_RECORDS_MAX + 1;
        kernel_receives(client, tls_scene_get);
        stage_respond(stage, "another");
        scene_turns(&stage->scene, 6);
        assert_int_equal(sent_by_kernel(client, "another"), rekeys);
        assert_int_equal(fake.done[SEND_KEYS], 1 + rekeys);
        scene_turns(&stage->scene, 10);
        assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 1 - rekeys);
        finish(client);
    }
}

static void look(struct stage *stage)
{
    connection_look_for_hollow(&stage->scene.connections, only_connection(stage));
    scene_turns(&stage->scene, 4);
}

static void records_without_data_are_a_flood_when_they_are_most_of_what_came_twice(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    struct client *client = client_offloaded(stage);
    for (int i = 0; i < 2; i++) {
        fake.received = KTLS_HOLLOW_FREE_BYTES;
        look(stage);
        fake.received = 2 * KTLS_HOLLOW_FREE_BYTES;
        look(stage);
    }
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 0);
    look(stage);
    assert_int_equal(fake.said[1], 10);
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 1);
    finish(client);
}

static void data_that_nobody_takes_yet_are_no_flood(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    struct client *client = client_offloaded(stage);
    connection_want(&stage->scene.connections, only_connection(stage), false, LOAN_RECEIVE);
    scene_turns(&stage->scene, 4);
    fake.received = 2 * KTLS_HOLLOW_FREE_BYTES;
    look(stage);
    look(stage);
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_ERROR), 0);
    finish(client);
}

/* ---- what is left of a connection -------------------------------------------------------------------------------- */

static void what_an_application_may_ask_is_the_same_without_boringssl(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, true);
    struct client *client = client_in(stage);
    struct tls_descriptions fresh;
    const struct tls_description *first, *second;
    tls_descriptions_init(&fresh, &stage->scene.core.buffers);
    assert_int_equal(tls_descriptions_find(&stage->descriptions, only_connection(stage)->tls, &first), 0);
    client_says(client, tls_scene_get);
    stage_respond(stage, "the body");
    scene_turns(&stage->scene, 6);
    assert_null(only_connection(stage)->tls);
    assert_true(connection_is_secure(only_connection(stage)));
    assert_false(connection_is_early(only_connection(stage)));
    assert_int_equal(tls_descriptions_find_agreed(&fresh, only_connection(stage)->remnant->agreed, &second), 0);
    assert_int_equal(first->span.length, second->span.length);
    assert_memory_equal(stage->scene.core.inbound.base + first->span.offset,
                        stage->scene.core.inbound.base + second->span.offset, first->span.length);
    tls_descriptions_deinit(&fresh);
    finish(client);
}

static void a_host_of_another_certificate_is_still_refused(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, false);
    struct client *client = client_offloaded(stage);
    kernel_receives(client, "GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n");
    assert_true(sent_by_kernel(client, "421 Misdirected Request"));
    finish(client);
}

static void connections_that_agree_share_what_they_agree_on(void **state)
{
    (void)state;
    struct stage *stage = open_with(true, true);
    struct client *first = client_offloaded(stage);
    const struct tls_agreed *agreed = only_connection(stage)->remnant->agreed;
    fake.done[SEND_KEYS] = 0;
    struct client *second = client_offloaded(stage);
    const struct connection *other = stage->scene.connections.by_index[1];
    assert_ptr_equal(other->remnant->agreed, agreed);
    assert_int_equal(agreed->references, 2);
    connection_abort(&stage->scene.connections, only_connection(stage), CLOSE_SHUTDOWN, true);
    scene_turns(&stage->scene, 4);
    assert_int_equal(agreed->references, 1);
    client_close(second);
    finish(first);
}

/* What we make of the secrets, and what BoringSSL does. */
static void keys_that_follow_are_the_same_with_and_without_boringssl(void **state)
{
    (void)state;
    struct stage *stage = open_with(false, true);
    struct client *client = client_offloaded(stage);
    struct tls_channel *channel = only_connection(stage)->tls;
    struct tls_agreements agreements = {};
    struct tls_remnant *remnant;
    struct ktls_keys ours = {}, theirs = {};
    assert_int_equal(tls_remnant_create(&agreements, channel, true, &remnant), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tls_remnant_advance(remnant, KTLS_SEND), 0);
        assert_int_equal(tls_remnant_advance(remnant, KTLS_SEND), 0); /* not given to the kernel yet: no further */
        remnant->keys_ahead = false;
        assert_true(tls_channel_change_keys(channel));
        assert_int_equal(tls_remnant_keys(remnant, KTLS_SEND, &ours), 0);
        assert_int_equal(tls_keys_of(channel, KTLS_SEND, &theirs), 0);
        assert_int_equal(ours.bytes, theirs.bytes);
        assert_memory_equal(&ours.info, &theirs.info, ours.bytes);
    }
    assert_int_equal(SSL_key_update(client->peer.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    tls_peer_writes(&client->peer, BYTES_LITERAL("GET"));
    client_speaks(client);
    scene_turns(&stage->scene, 4);
    assert_int_equal(tls_remnant_advance(remnant, KTLS_RECEIVE), 0);
    assert_int_equal(tls_remnant_keys(remnant, KTLS_RECEIVE, &ours), 0);
    assert_int_equal(tls_keys_of(channel, KTLS_RECEIVE, &theirs), 0);
    assert_memory_equal(ours.info.aes_128_gcm.key, theirs.info.aes_128_gcm.key, sizeof ours.info.aes_128_gcm.key);
    tls_remnant_destroy(remnant);
    finish(client);
}

static void an_end_without_close_notify_is_counted_and_one_with_it_is_not(void **state)
{
    (void)state;
    for (int receives = 0; receives < 2; receives++) {
        struct stage *stage = open_with(receives != 0, false);
        struct client *client = client_offloaded(stage);
        scripted_client_ends(stage->scene.core.ring, client->fd);
        scene_turns(&stage->scene, 6);
        assert_int_equal(stage_metric(stage, METRIC_TLS_TRUNCATIONS), 1);
        finish(client);
        stage = open_with(receives != 0, false);
        client = client_offloaded(stage);
        if (receives) {
            kernel_finds(client, KTLS_RECORD_ALERT, BYTES_LITERAL("\1\0"));
        } else {
            SSL_shutdown(client->peer.ssl);
            client_speaks(client);
        }
        scripted_client_ends(stage->scene.core.ring, client->fd);
        scene_turns(&stage->scene, 6);
        assert_int_equal(stage_metric(stage, METRIC_TLS_TRUNCATIONS), 0);
        finish(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_leave_by_the_kernel_and_none_in_clear_before),
        cmocka_unit_test(of_several_records_the_last_is_sent_alone_and_the_others_are_full),
        cmocka_unit_test(what_comes_is_still_decrypted_in_user_space),
        cmocka_unit_test(a_kernel_that_takes_no_keys_leaves_sending_in_user_space),
        cmocka_unit_test(without_the_kernel_at_accept_no_keys_are_given_to_it),
        cmocka_unit_test(a_cipher_that_the_kernel_lacks_stays_in_user_space),
        cmocka_unit_test(tickets_leave_before_the_kernel_takes_over),
        cmocka_unit_test(the_end_is_said_by_a_record_of_the_kernels),
        cmocka_unit_test(the_kernel_decrypts_when_nothing_is_left_to_decrypt),
        cmocka_unit_test(a_kernel_that_expects_padding_decrypts_all_the_same),
        cmocka_unit_test(a_kernel_that_does_not_decrypt_leaves_that_in_user_space),
        cmocka_unit_test(a_record_that_has_begun_is_fetched_to_the_octet),
        cmocka_unit_test(half_a_record_does_not_keep_a_connection_that_is_over),
        cmocka_unit_test(close_notify_is_the_end),
        cmocka_unit_test(a_warning_is_not_the_end),
        cmocka_unit_test(warnings_in_a_row_are_a_flood_and_with_data_between_them_they_are_not),
        cmocka_unit_test(a_fatal_alert_ends_the_connection),
        cmocka_unit_test(a_forged_record_ends_the_connection),
        cmocka_unit_test(new_keys_that_a_kernel_cannot_take_end_the_connection_with_a_reason),
        cmocka_unit_test(new_keys_are_taken_and_given_in_return),
        cmocka_unit_test(new_keys_that_were_asked_for_before_the_switch_are_not_given_twice),
        cmocka_unit_test(keys_that_change_too_often_are_a_flood),
        cmocka_unit_test(a_handshake_message_that_is_none_of_a_clients_ends_the_connection),
        cmocka_unit_test(a_key_that_has_sealed_enough_is_changed_or_the_connection_ends),
        cmocka_unit_test(records_without_data_are_a_flood_when_they_are_most_of_what_came_twice),
        cmocka_unit_test(data_that_nobody_takes_yet_are_no_flood),
        cmocka_unit_test(what_an_application_may_ask_is_the_same_without_boringssl),
        cmocka_unit_test(a_host_of_another_certificate_is_still_refused),
        cmocka_unit_test(connections_that_agree_share_what_they_agree_on),
        cmocka_unit_test(keys_that_follow_are_the_same_with_and_without_boringssl),
        cmocka_unit_test(an_end_without_close_notify_is_counted_and_one_with_it_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
