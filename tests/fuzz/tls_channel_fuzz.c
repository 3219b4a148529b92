/*
 * TLS channels: arbitrary ciphertext, and a real client of BoringSSL's whose records are cut, changed, repeated and
 * mixed with others on their way. What the server reads must be what the client wrote, in order, as far as it comes;
 * what the client reads must be what the server wrote.
 *
 * Input: one octet for version and kind; then steps, each an octet for what happens and one for where or how much.
 */
#include "daemon/io/tls_channel.h"

#include "tests/unit/io/tls_peer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { NOW_MS = 1'000'000, WRITTEN_MAX = 1 << 18, ROOM = 1 << 17, STEPS_MAX = 400 };

enum step {
    STEP_PASS,
    STEP_CUT,
    STEP_CHANGE,
    STEP_REPEAT,
    STEP_NOISE,
    STEP_WRITE,
    STEP_ANSWER,
    STEP_REKEY,
    STEP_END,
    STEP_WAIT,
    STEPS
};

static struct {
    struct tls_files files;
    struct tls_tickets tickets;
    struct tls_signers *signers;
    struct tls_context *context;
    uint8_t pattern[WRITTEN_MAX];
} server;

struct talk {
    struct tls_channel *channel;
    struct tls_peer peer;
    enum tls_progress progress;
    uint64_t now_ms;
    size_t written, read; /* by the client, by the server */
    size_t sealed, heard; /* by the server, by the client */
    bool over;
};

static void create_server(void)
{
    const struct tls_options options = {
        .version_min = TLS1_2_VERSION, .protocols = {"h2", "http/1.1"}, .tickets = true, .early_data = true};
    char why[512];
    tls_files_make(&server.files, false, "DNS:a.example");
    const struct tls_sources sources = {.pairs = &server.files.source, .pair_count = 1};
    int r = tls_tickets_init(&server.tickets);
    assert(r == 0);
    r = tls_context_create(&options, &sources, &server.tickets, &server.signers, why, sizeof why, &server.context);
    assert(r == 0);
    for (size_t i = 0; i < sizeof server.pattern; i++)
        server.pattern[i] = (uint8_t)(i * 31 + (i >> 8));
}

/* ---- the server ------------------------------------------------------------------------------------------------- */

static void read_plain(struct talk *talk)
{
    static uint8_t memory[ROOM];
    for (uint32_t room; !talk->over && (room = tls_channel_pending(talk->channel)) > 0;) {
        uint32_t length = 0;
        assert(room <= ROOM);
        enum tls_progress progress = tls_channel_read(talk->channel, talk->now_ms, memory, room, &length);
        assert(length <= room && length <= talk->written - talk->read);
        assert(length == 0 || memcmp(memory, server.pattern + talk->read, length) == 0);
        talk->read += length;
        talk->over = progress == TLS_CLOSED || progress == TLS_FAILED;
        if (progress == TLS_HUNGRY)
            return;
    }
}

static void serve(struct talk *talk, struct bytes ciphertext)
{
    if (talk->over)
        return;
    uint8_t *copy = malloc(ciphertext.length + 1); /* so that a look behind its end is seen */
    assert(copy != NULL);
    memcpy(copy, ciphertext.data, ciphertext.length);
    tls_channel_offer(talk->channel, bytes_of(copy, ciphertext.length));
    if (talk->progress != TLS_READY)
        talk->progress = tls_channel_handshake(talk->channel, talk->now_ms);
    if (talk->progress == TLS_READY)
        read_plain(talk);
    talk->over |= talk->progress == TLS_FAILED;
    int r = tls_channel_settle_input(talk->channel);
    assert(r == 0);
    free(copy);
}

static void server_speaks(struct talk *talk)
{
    static uint8_t memory[ROOM];
    bool closed;
    while (tls_channel_has_output(talk->channel)) {
        struct bytes output = tls_channel_output(talk->channel);
        assert(output.length > 0);
        tls_peer_hears(&talk->peer, output);
        tls_channel_output_sent(talk->channel, output.length);
    }
    (void)tls_peer_handshake(&talk->peer);
    size_t length = tls_peer_reads(&talk->peer, memory, sizeof memory, &closed);
    assert(length <= talk->sealed - talk->heard);
    assert(length == 0 || memcmp(memory, server.pattern + talk->heard, length) == 0);
    talk->heard += length;
}

static void answer(struct talk *talk, size_t octets)
{
    if (talk->over || talk->progress != TLS_READY || octets > sizeof server.pattern - talk->sealed)
        return;
    server_speaks(talk); /* a connection seals when all that was sealed before is sent */
    const struct iovec part = {server.pattern + talk->sealed, octets};
    size_t plain = 0;
    int r = tls_channel_seal(talk->channel, &part, 1, talk->now_ms, &plain);
    assert(r == 0 || r == -EPROTO);
    talk->sealed += plain;
}

/* ---- the client ------------------------------------------------------------------------------------------------- */

static void write_plain(struct talk *talk, size_t octets)
{
    if (!SSL_is_init_finished(talk->peer.ssl) || octets == 0 || octets > sizeof server.pattern - talk->written)
        return;
    int written = SSL_write(talk->peer.ssl, server.pattern + talk->written, (int)octets);
    talk->written += written > 0 ? (size_t)written : 0;
    ERR_clear_error();
}

/* What the client has said, on its way to the server. */
static void deliver(struct talk *talk, enum step step, uint8_t where)
{
    struct bytes said = tls_peer_says(&talk->peer);
    uint8_t *octets = (uint8_t *)(uintptr_t)said.data;
    const size_t at = said.length * where / 256;
    if (step == STEP_CHANGE && said.length > 0)
        octets[at] ^= (uint8_t)(1U << where % 8);
    if (step == STEP_CUT) {
        serve(talk, bytes_of(octets, at));
        said = bytes_skip(said, at);
    }
    if (said.length > 0)
        serve(talk, said);
    if (step == STEP_REPEAT && said.length > 0)
        serve(talk, said);
    free(octets);
    server_speaks(talk);
}

static void take_step(struct talk *talk, enum step step, struct bytes *input)
{
    const uint8_t much = input->length > 0 ? input->data[0] : 0;
    *input = bytes_skip(*input, input->length > 0);
    const size_t octets = (size_t)much * much + much % 7;
    switch (step) {
    case STEP_PASS:
    case STEP_CUT:
    case STEP_CHANGE:
    case STEP_REPEAT:
        deliver(talk, step, much);
        break;
    case STEP_NOISE: {
        const size_t length = much < input->length ? much : input->length;
        serve(talk, bytes_of(input->data, length));
        *input = bytes_skip(*input, length);
        break;
    }
    case STEP_WRITE:
        write_plain(talk, octets);
        break;
    case STEP_ANSWER:
        answer(talk, octets);
        break;
    case STEP_REKEY:
        if (SSL_is_init_finished(talk->peer.ssl) && SSL_version(talk->peer.ssl) == TLS1_3_VERSION)
            (void)SSL_key_update(talk->peer.ssl,
                                 much % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
        break;
    case STEP_END:
        (void)SSL_shutdown(talk->peer.ssl);
        ERR_clear_error();
        break;
    case STEP_WAIT:
        talk->now_ms += (uint64_t)much * 100;
        break;
    case STEPS:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    struct talk talk = {.progress = TLS_HUNGRY, .now_ms = NOW_MS};
    if (server.context == NULL)
        create_server();
    if (size == 0)
        return 0;
    const uint8_t kind = data[0];
    input = bytes_skip(input, 1);
    int r = tls_channel_create(server.context, NULL, 1, &talk.channel);
    assert(r == 0);
    tls_peer_open(&talk.peer, kind & 1 ? "a.example" : NULL, NULL);
    if (kind & 2)
        SSL_set_max_proto_version(talk.peer.ssl, TLS1_2_VERSION);
    (void)tls_peer_handshake(&talk.peer);
    /* Most inputs are about what comes behind the handshake. */
    for (int i = 0; i < 4 && kind & 4; i++)
        deliver(&talk, STEP_PASS, 0);
    for (int steps = 0; input.length > 0 && steps < STEPS_MAX; steps++) {
        const enum step step = input.data[0] % STEPS;
        input = bytes_skip(input, 1);
        take_step(&talk, step, &input);
    }
    (void)tls_channel_close_notify(talk.channel);
    server_speaks(&talk);
    tls_channel_destroy(talk.channel);
    tls_peer_close(&talk.peer);
    return 0;
}
