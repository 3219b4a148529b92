#include "tests/unit/io/tls_dialogue.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

void tls_dialogue_init(struct tls_dialogue *dialogue)
{
    *dialogue = (struct tls_dialogue){
        .options = {.version_min = TLS1_2_VERSION, .protocols = {"h2", "http/1.1"}, .tickets = true},
        .now_ms = NOW_MS,
    };
    assert_int_equal(tls_tickets_init(&dialogue->tickets), 0);
}

void tls_dialogue_add(struct tls_dialogue *dialogue, bool is_rsa, const char *names)
{
    tls_files_make(&dialogue->files[dialogue->file_count++], is_rsa, names);
}

int tls_dialogue_try(struct tls_dialogue *dialogue)
{
    struct tls_pair_source sources[4];
    for (uint32_t i = 0; i < dialogue->file_count; i++)
        sources[i] = dialogue->files[i].source;
    const struct tls_sources all = {sources, dialogue->file_count, dialogue->trust};
    return tls_context_create(&dialogue->options, &all, &dialogue->tickets, &dialogue->signers, dialogue->why,
                              sizeof dialogue->why, &dialogue->context);
}

void tls_dialogue_build(struct tls_dialogue *dialogue)
{
    if (dialogue->file_count == 0)
        tls_dialogue_add(dialogue, false, "DNS:a.example");
    assert_int_equal(tls_dialogue_try(dialogue), 0);
    assert_int_equal(tls_channel_create(dialogue->context, &dialogue->memory, OWNER, &dialogue->channel), 0);
}

void tls_dialogue_reconnect(struct tls_dialogue *dialogue, const char *sni, SSL_SESSION *session)
{
    tls_channel_destroy(dialogue->channel);
    dialogue->channel = NULL;
    tls_peer_close(&dialogue->peer);
    dialogue->plain_bytes = 0;
    dialogue->closed = false;
    assert_int_equal(tls_channel_create(dialogue->context, &dialogue->memory, OWNER, &dialogue->channel), 0);
    tls_peer_open(&dialogue->peer, sni, session);
}

static void tls_dialogue_free(struct tls_dialogue *dialogue)
{
    tls_channel_destroy(dialogue->channel);
    assert_int_equal(dialogue->memory.charged, 0);
    tls_context_drop(dialogue->context);
    tls_signers_destroy(dialogue->signers);
    tls_tickets_deinit(&dialogue->tickets);
    if (dialogue->peer.ssl != NULL)
        tls_peer_close(&dialogue->peer);
    for (uint32_t i = 0; i < dialogue->file_count; i++)
        tls_files_free(&dialogue->files[i]);
}

struct tls_dialogue *tls_dialogue_default(const char *sni)
{
    struct tls_dialogue *dialogue = test_calloc(1, sizeof *dialogue);
    tls_dialogue_init(dialogue);
    tls_dialogue_build(dialogue);
    tls_peer_open(&dialogue->peer, sni, NULL);
    return dialogue;
}

void tls_dialogue_end(struct tls_dialogue *dialogue)
{
    tls_dialogue_free(dialogue);
    test_free(dialogue);
}

void on_signed(uint64_t owner, void *context)
{
    assert_int_equal(owner, OWNER);
    *(bool *)context = true;
}

static void wait_for_signature(struct tls_dialogue *dialogue)
{
    bool came = false;
    struct pollfd wake = {.fd = tls_signers_fd(dialogue->signers), .events = POLLIN};
    assert_int_equal(poll(&wake, 1, 30'000), 1);
    tls_signers_drain(dialogue->signers, on_signed, &came);
    assert_true(came);
}

static void read_plain(struct tls_dialogue *dialogue)
{
    while (tls_channel_pending(dialogue->channel) > 0 && dialogue->progress != TLS_FAILED && !dialogue->closed) {
        uint32_t length = 0;
        uint32_t room = tls_channel_pending(dialogue->channel);
        assert_true(room <= PLAIN_MAX - dialogue->plain_bytes);
        enum tls_progress progress = tls_channel_read(dialogue->channel, dialogue->now_ms,
                                                      dialogue->plain + dialogue->plain_bytes, room, &length);
        dialogue->plain_bytes += length;
        dialogue->closed = progress == TLS_CLOSED;
        if (progress == TLS_FAILED)
            dialogue->progress = TLS_FAILED;
    }
}

/* The server's turn: all that is here. */
static void serve(struct tls_dialogue *dialogue)
{
    if (dialogue->progress != TLS_READY)
        dialogue->progress = tls_channel_handshake(dialogue->channel, dialogue->now_ms);
    while (dialogue->progress == TLS_SIGNING) {
        wait_for_signature(dialogue);
        dialogue->progress = tls_channel_handshake(dialogue->channel, dialogue->now_ms);
    }
    if (dialogue->progress == TLS_READY)
        read_plain(dialogue);
}

void deliver_to_server(struct tls_dialogue *dialogue, struct bytes data)
{
    while (data.length > 0) {
        size_t step = dialogue->cut > 0 && dialogue->cut < data.length ? dialogue->cut : data.length;
        uint8_t *copy = malloc(step); /* so that a look behind its end is seen */
        memcpy(copy, data.data, step);
        tls_channel_offer(dialogue->channel, bytes_of(copy, step));
        serve(dialogue);
        assert_int_equal(tls_channel_settle_input(dialogue->channel), 0);
        free(copy);
        data = bytes_skip(data, step);
    }
}

bool server_speaks(struct tls_dialogue *dialogue)
{
    bool spoke = false;
    while (tls_channel_has_output(dialogue->channel)) {
        struct bytes output = tls_channel_output(dialogue->channel);
        tls_peer_hears(&dialogue->peer, output);
        tls_channel_output_sent(dialogue->channel, output.length);
        spoke = true;
    }
    return spoke;
}

/* Until nobody has anything to say. */
void talk(struct tls_dialogue *dialogue)
{
    bool spoke = true;
    while (spoke) {
        (void)tls_peer_handshake(&dialogue->peer);
        struct bytes said = tls_peer_says(&dialogue->peer);
        spoke = said.length > 0;
        deliver_to_server(dialogue, said);
        free((void *)(uintptr_t)said.data);
        spoke = server_speaks(dialogue) || spoke;
    }
}

void handshake(struct tls_dialogue *dialogue)
{
    dialogue->progress = TLS_HUNGRY;
    talk(dialogue);
    assert_int_equal(dialogue->progress, TLS_READY);
}

void seal(struct tls_dialogue *dialogue, struct bytes data)
{
    const struct iovec part = {(void *)(uintptr_t)data.data, data.length};
    size_t plain = 0;
    assert_int_equal(tls_channel_seal(dialogue->channel, &part, 1, dialogue->now_ms, &plain), 0);
    assert_int_equal(plain, data.length);
}

/* One answer from the server: tickets travel with it. */
void answer(struct tls_dialogue *dialogue)
{
    uint8_t memory[64];
    bool closed;
    seal(dialogue, BYTES_LITERAL("answer"));
    server_speaks(dialogue);
    assert_int_equal(tls_peer_reads(&dialogue->peer, memory, sizeof memory, &closed), 6);
}

void expect_failure(struct tls_dialogue *dialogue, enum tls_failure failure)
{
    dialogue->progress = TLS_HUNGRY;
    talk(dialogue);
    assert_int_equal(dialogue->progress, TLS_FAILED);
    if (tls_channel_failure(dialogue->channel) != failure)
        fail_msg("%s (%s) and not %s", tls_failure_word(tls_channel_failure(dialogue->channel)),
                 tls_channel_reason(dialogue->channel), tls_failure_word(failure));
}

/* The pair that the client was shown, by its place. */
uint32_t shown(const struct tls_dialogue *dialogue)
{
    for (uint32_t i = 0; i < dialogue->file_count; i++)
        if (tls_channel_pair(dialogue->channel) == tls_context_pair(dialogue->context, i))
            return i;
    fail();
    return 0;
}
