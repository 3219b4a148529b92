#include "daemon/io/tls_channel.h"

#include "daemon/io/tls_tiny_records.h"

#include "tests/unit/io/tls_peer.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { NOW_MS = 1'000'000, PLAIN_MAX = 1 << 20, OWNER = 42 };

/* ---- a server and a client -------------------------------------------------------------------------------------- */

struct scene {
    struct tls_files files[4];
    uint32_t file_count;
    struct tls_options options;
    struct bytes trust;
    struct tls_tickets tickets;
    struct tls_signers *signers;
    struct tls_context *context;
    struct tls_channel *channel;
    struct tls_peer peer;
    uint64_t now_ms;
    enum tls_progress progress; /* of the last step of the server's handshake */
    uint32_t cut;               /* octets of one offer; 0: all at once */
    uint8_t plain[PLAIN_MAX];   /* what the server has read */
    uint32_t plain_bytes;
    bool closed;
    char why[512];
};

static void scene_init(struct scene *scene)
{
    *scene = (struct scene){
        .options = {.version_min = TLS1_2_VERSION, .protocols = {"h2", "http/1.1"}, .tickets = true},
        .now_ms = NOW_MS,
    };
    assert_int_equal(tls_tickets_init(&scene->tickets), 0);
}

static void scene_add(struct scene *scene, bool is_rsa, const char *names)
{
    tls_files_make(&scene->files[scene->file_count++], is_rsa, names);
}

static int scene_try(struct scene *scene)
{
    struct tls_pair_source sources[4];
    for (uint32_t i = 0; i < scene->file_count; i++)
        sources[i] = scene->files[i].source;
    const struct tls_sources all = {sources, scene->file_count, scene->trust};
    return tls_context_create(&scene->options, &all, &scene->tickets, &scene->signers, scene->why, sizeof scene->why,
                              &scene->context);
}

static void scene_build(struct scene *scene)
{
    if (scene->file_count == 0)
        scene_add(scene, false, "DNS:a.example");
    assert_int_equal(scene_try(scene), 0);
    assert_int_equal(tls_channel_create(scene->context, OWNER, &scene->channel), 0);
}

static void scene_reconnect(struct scene *scene, const char *sni, SSL_SESSION *session)
{
    tls_channel_destroy(scene->channel);
    scene->channel = NULL;
    tls_peer_close(&scene->peer);
    scene->plain_bytes = 0;
    scene->closed = false;
    assert_int_equal(tls_channel_create(scene->context, OWNER, &scene->channel), 0);
    tls_peer_open(&scene->peer, sni, session);
}

static void scene_free(struct scene *scene)
{
    tls_channel_destroy(scene->channel);
    tls_context_drop(scene->context);
    tls_signers_destroy(scene->signers);
    tls_tickets_deinit(&scene->tickets);
    if (scene->peer.ssl != NULL)
        tls_peer_close(&scene->peer);
    for (uint32_t i = 0; i < scene->file_count; i++)
        tls_files_free(&scene->files[i]);
}

static struct scene *scene_default(const char *sni)
{
    struct scene *scene = test_calloc(1, sizeof *scene);
    scene_init(scene);
    scene_build(scene);
    tls_peer_open(&scene->peer, sni, NULL);
    return scene;
}

static void scene_end(struct scene *scene)
{
    scene_free(scene);
    test_free(scene);
}

static void on_signed(uint64_t owner, void *context)
{
    assert_int_equal(owner, OWNER);
    *(bool *)context = true;
}

static void wait_for_signature(struct scene *scene)
{
    bool came = false;
    struct pollfd wake = {.fd = tls_signers_fd(scene->signers), .events = POLLIN};
    assert_int_equal(poll(&wake, 1, 30'000), 1);
    tls_signers_drain(scene->signers, on_signed, &came);
    assert_true(came);
}

static void read_plain(struct scene *scene)
{
    while (tls_channel_pending(scene->channel) > 0 && scene->progress != TLS_FAILED && !scene->closed) {
        uint32_t length = 0;
        uint32_t room = tls_channel_pending(scene->channel);
        assert_true(room <= PLAIN_MAX - scene->plain_bytes);
        enum tls_progress progress =
            tls_channel_read(scene->channel, scene->now_ms, scene->plain + scene->plain_bytes, room, &length);
        scene->plain_bytes += length;
        scene->closed = progress == TLS_CLOSED;
        if (progress == TLS_FAILED)
            scene->progress = TLS_FAILED;
    }
}

/* The server's turn: all that is here. */
static void serve(struct scene *scene)
{
    if (scene->progress != TLS_READY)
        scene->progress = tls_channel_handshake(scene->channel, scene->now_ms);
    while (scene->progress == TLS_SIGNING) {
        wait_for_signature(scene);
        scene->progress = tls_channel_handshake(scene->channel, scene->now_ms);
    }
    if (scene->progress == TLS_READY)
        read_plain(scene);
}

static void deliver_to_server(struct scene *scene, struct bytes data)
{
    while (data.length > 0) {
        size_t step = scene->cut > 0 && scene->cut < data.length ? scene->cut : data.length;
        uint8_t *copy = malloc(step); /* so that a look behind its end is seen */
        memcpy(copy, data.data, step);
        tls_channel_offer(scene->channel, bytes_of(copy, step));
        serve(scene);
        assert_int_equal(tls_channel_settle_input(scene->channel), 0);
        free(copy);
        data = bytes_skip(data, step);
    }
}

static bool server_speaks(struct scene *scene)
{
    bool spoke = false;
    while (tls_channel_has_output(scene->channel)) {
        struct bytes output = tls_channel_output(scene->channel);
        tls_peer_hears(&scene->peer, output);
        tls_channel_output_sent(scene->channel, output.length);
        spoke = true;
    }
    return spoke;
}

/* Until nobody has anything to say. */
static void talk(struct scene *scene)
{
    bool spoke = true;
    while (spoke) {
        (void)tls_peer_handshake(&scene->peer);
        struct bytes said = tls_peer_says(&scene->peer);
        spoke = said.length > 0;
        deliver_to_server(scene, said);
        free((void *)(uintptr_t)said.data);
        spoke = server_speaks(scene) || spoke;
    }
}

static void handshake(struct scene *scene)
{
    scene->progress = TLS_HUNGRY;
    talk(scene);
    assert_int_equal(scene->progress, TLS_READY);
}

static void seal(struct scene *scene, struct bytes data)
{
    const struct iovec part = {(void *)(uintptr_t)data.data, data.length};
    size_t plain = 0;
    assert_int_equal(tls_channel_seal(scene->channel, &part, 1, scene->now_ms, &plain), 0);
    assert_int_equal(plain, data.length);
}

/* One answer from the server: tickets travel with it. */
static void answer(struct scene *scene)
{
    uint8_t memory[64];
    bool closed;
    seal(scene, BYTES_LITERAL("answer"));
    server_speaks(scene);
    assert_int_equal(tls_peer_reads(&scene->peer, memory, sizeof memory, &closed), 6);
}

static void expect_failure(struct scene *scene, enum tls_failure failure)
{
    scene->progress = TLS_HUNGRY;
    talk(scene);
    assert_int_equal(scene->progress, TLS_FAILED);
    if (tls_channel_failure(scene->channel) != failure)
        fail_msg("%s (%s) and not %s", tls_failure_word(tls_channel_failure(scene->channel)),
                 tls_channel_reason(scene->channel), tls_failure_word(failure));
}

/* The pair that the client was shown, by its place. */
static uint32_t shown(const struct scene *scene)
{
    for (uint32_t i = 0; i < scene->file_count; i++)
        if (tls_channel_pair(scene->channel) == tls_context_pair(scene->context, i))
            return i;
    fail();
    return 0;
}

/* ---- handshakes ------------------------------------------------------------------------------------------------- */

static void a_client_gets_through_and_is_heard(void **state)
{
    (void)state;
    struct scene *scene = scene_default("a.example");
    handshake(scene);
    tls_peer_writes(&scene->peer, BYTES_LITERAL("hello"));
    talk(scene);
    assert_int_equal(scene->plain_bytes, 5);
    assert_memory_equal(scene->plain, "hello", 5);
    answer(scene);
    scene_end(scene);
}

static void tls_1_2_gets_through_too(void **state)
{
    (void)state;
    struct scene *scene = scene_default("a.example");
    struct tls_facts facts;
    SSL_set_max_proto_version(scene->peer.ssl, TLS1_2_VERSION);
    handshake(scene);
    tls_channel_facts(scene->channel, &facts);
    assert_int_equal(facts.version, TLS1_2_VERSION);
    assert_string_equal(facts.version_text, "TLSv1.2");
    answer(scene);
    scene_end(scene);
}

static void records_may_be_cut_at_every_octet(void **state)
{
    (void)state;
    for (uint32_t cut = 1; cut < 40; cut++) {
        struct scene *scene = scene_default("a.example");
        scene->cut = cut;
        handshake(scene);
        tls_peer_writes(&scene->peer, BYTES_LITERAL("first"));
        tls_peer_writes(&scene->peer, BYTES_LITERAL("second"));
        talk(scene);
        assert_int_equal(scene->plain_bytes, 11);
        assert_memory_equal(scene->plain, "firstsecond", 11);
        scene_end(scene);
    }
}

static void finished_and_a_request_in_one_piece_are_both_read(void **state)
{
    (void)state;
    struct scene *scene = scene_default("a.example");
    (void)tls_peer_handshake(&scene->peer);
    struct bytes hello = tls_peer_says(&scene->peer);
    deliver_to_server(scene, hello);
    free((void *)(uintptr_t)hello.data);
    server_speaks(scene);
    assert_true(tls_peer_handshake(&scene->peer));
    tls_peer_writes(&scene->peer, BYTES_LITERAL("request"));
    SSL_shutdown(scene->peer.ssl);
    struct bytes rest = tls_peer_says(&scene->peer);
    deliver_to_server(scene, rest);
    free((void *)(uintptr_t)rest.data);
    assert_int_equal(scene->plain_bytes, 7);
    assert_true(scene->closed);
    scene_end(scene);
}

static void an_rsa_signature_is_made_by_a_signer(void **state)
{
    (void)state;
    struct scene *scene = test_calloc(1, sizeof *scene);
    scene_init(scene);
    assert_int_equal(tls_signers_create(&scene->signers), 0);
    scene_add(scene, true, "DNS:a.example");
    scene_build(scene);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        scene_reconnect(scene, "a.example", NULL);
        SSL_set_max_proto_version(scene->peer.ssl, (uint16_t)version);
        handshake(scene);
        answer(scene);
    }
    assert_int_equal(tls_signers_waiting(scene->signers), 0);
    scene_end(scene);
}

static void a_client_that_goes_while_its_signature_is_made_leaves_nothing(void **state)
{
    (void)state;
    struct scene *scene = test_calloc(1, sizeof *scene);
    scene_init(scene);
    assert_int_equal(tls_signers_create(&scene->signers), 0);
    scene_add(scene, true, "DNS:a.example");
    scene_build(scene);
    tls_peer_open(&scene->peer, "a.example", NULL);
    (void)tls_peer_handshake(&scene->peer);
    struct bytes hello = tls_peer_says(&scene->peer);
    tls_channel_offer(scene->channel, hello);
    assert_int_equal(tls_channel_handshake(scene->channel, NOW_MS), TLS_SIGNING);
    assert_int_equal(tls_channel_settle_input(scene->channel), 0);
    free((void *)(uintptr_t)hello.data);
    tls_channel_destroy(scene->channel);
    scene->channel = NULL;
    struct pollfd wake = {.fd = tls_signers_fd(scene->signers), .events = POLLIN};
    assert_int_equal(poll(&wake, 1, 30'000), 1);
    bool came = false;
    tls_signers_drain(scene->signers, on_signed, &came);
    assert_false(came);
    assert_int_equal(tls_signers_waiting(scene->signers), 0);
    scene_end(scene);
}

/* ---- what is agreed upon ---------------------------------------------------------------------------------------- */

static void the_protocol_is_the_first_of_ours_that_the_client_knows(void **state)
{
    (void)state;
    static const uint8_t BOTH[] = "\x08http/1.1\x02h2";
    struct scene *scene = scene_default("a.example");
    struct tls_facts facts;
    SSL_set_alpn_protos(scene->peer.ssl, BOTH, sizeof BOTH - 1);
    handshake(scene);
    tls_channel_facts(scene->channel, &facts);
    assert_true(facts.is_h2);
    scene_reconnect(scene, "a.example", NULL);
    SSL_set_alpn_protos(scene->peer.ssl, BOTH, 9);
    handshake(scene);
    tls_channel_facts(scene->channel, &facts);
    assert_false(facts.is_h2);
    scene_end(scene);
}

static void a_client_whose_protocols_we_do_not_speak_is_refused(void **state)
{
    (void)state;
    static const uint8_t OTHER[] = "\x03"
                                   "ftp";
    struct scene *scene = scene_default("a.example");
    SSL_set_alpn_protos(scene->peer.ssl, OTHER, sizeof OTHER - 1);
    expect_failure(scene, TLS_FAILURE_ALPN);
    scene_end(scene);
}

static void tls_1_1_is_refused(void **state)
{
    (void)state;
    struct scene *scene = scene_default("a.example");
    SSL_set_min_proto_version(scene->peer.ssl, TLS1_VERSION);
    SSL_set_max_proto_version(scene->peer.ssl, TLS1_1_VERSION);
    expect_failure(scene, TLS_FAILURE_VERSION);
    scene_end(scene);
}

static void suites_without_forward_secrecy_or_aead_are_refused(void **state)
{
    (void)state;
    static const char *const LISTS[] = {"AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"};
    for (size_t i = 0; i < 2; i++) {
        struct scene *scene = scene_default("a.example");
        SSL_set_max_proto_version(scene->peer.ssl, TLS1_2_VERSION);
        assert_true(SSL_set_strict_cipher_list(scene->peer.ssl, LISTS[i]));
        expect_failure(scene, TLS_FAILURE_CIPHER);
        scene_end(scene);
    }
}

static void the_certificate_is_the_one_of_the_name(void **state)
{
    (void)state;
    static const struct {
        const char *sni;
        uint32_t pair;
    } CASES[] = {
        {"first.example", 0},    {"x.wild.example", 1}, {"X.WILD.example", 1},  {"exact.wild.example", 2},
        {"a.b.wild.example", 0}, {"wild.example", 0},   {"unknown.example", 0}, {NULL, 0},
    };
    struct scene *scene = test_calloc(1, sizeof *scene);
    scene_init(scene);
    scene_add(scene, false, "DNS:first.example");
    scene_add(scene, false, "DNS:*.wild.example");
    scene_add(scene, false, "DNS:exact.wild.example");
    scene_build(scene);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        scene_reconnect(scene, CASES[i].sni, NULL);
        handshake(scene);
        assert_int_equal(shown(scene), CASES[i].pair);
    }
    scene_end(scene);
}

static void an_unknown_name_is_refused_when_names_are_strict(void **state)
{
    (void)state;
    struct scene *scene = test_calloc(1, sizeof *scene);
    scene_init(scene);
    scene->options.strict_sni = true;
    scene_build(scene);
    tls_peer_open(&scene->peer, "b.example", NULL);
    expect_failure(scene, TLS_FAILURE_SNI);
    scene_reconnect(scene, "a.example", NULL);
    handshake(scene);
    scene_reconnect(scene, NULL, NULL);
    handshake(scene);
    scene_end(scene);
}

static void a_client_that_cannot_verify_ecdsa_is_shown_the_rsa_certificate(void **state)
{
    (void)state;
    static const uint16_t RSA_ONLY[] = {SSL_SIGN_RSA_PSS_RSAE_SHA256, SSL_SIGN_RSA_PKCS1_SHA256};
    struct scene *scene = test_calloc(1, sizeof *scene);
    scene_init(scene);
    assert_int_equal(tls_signers_create(&scene->signers), 0);
    scene_add(scene, true, "DNS:a.example");
    scene_add(scene, false, "DNS:a.example");
    scene_build(scene);
    for (int i = 0; i < 4; i++) {
        bool only_rsa = (i & 1) != 0;
        scene_reconnect(scene, i < 2 ? "a.example" : NULL, NULL);
        if (only_rsa)
            SSL_set_verify_algorithm_prefs(scene->peer.ssl, RSA_ONLY, 2);
        handshake(scene);
        assert_int_equal(shown(scene), only_rsa ? 0 : 1);
    }
    scene_end(scene);
}

static void a_request_for_a_host_of_another_certificate_is_not_covered(void **state)
{
    (void)state;
    static const struct {
        const char *sni, *host;
        bool covered;
    } CASES[] = {
        {"a.example", "a.example", true},
        {"a.example", "A.EXAMPLE", true},
        {"a.example", "www.a.example", true},
        {"a.example", "b.example", false},
        {"a.example", "c.example", false},
        {NULL, "a.example", true},
        {NULL, "b.example", false},
        {NULL, "192.0.2.1", true},
        {"other.example", "other.example", true},
        {"other.example", "b.example", false},
        {"a.example", "a.example.", true},
        {"a.example", "192.0.2.7", true},
    };
    struct scene *scene = test_calloc(1, sizeof *scene);
    scene_init(scene);
    scene_add(scene, false, "DNS:a.example,DNS:*.a.example,IP:192.0.2.7");
    scene_add(scene, false, "DNS:b.example");
    scene_build(scene);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        scene_reconnect(scene, CASES[i].sni, NULL);
        handshake(scene);
        assert_int_equal(tls_channel_covers(scene->channel, bytes_of_string(CASES[i].host)), CASES[i].covered);
    }
    scene_end(scene);
}

/* ---- sessions --------------------------------------------------------------------------------------------------- */

/* A session of a client that named `sni`, for the caller to free. */
static SSL_SESSION *earn_ticket(struct scene *scene, const char *sni)
{
    scene_reconnect(scene, sni, NULL);
    handshake(scene);
    answer(scene);
    assert_non_null(scene->peer.session);
    SSL_SESSION_up_ref(scene->peer.session);
    return scene->peer.session;
}

static bool resumes(struct scene *scene, const char *sni, SSL_SESSION *session)
{
    struct tls_facts facts;
    scene_reconnect(scene, sni, session);
    handshake(scene);
    tls_channel_facts(scene->channel, &facts);
    assert_int_equal(facts.is_resumed, SSL_session_reused(scene->peer.ssl));
    return facts.is_resumed;
}

static void a_ticket_resumes_for_the_same_name_only(void **state)
{
    (void)state;
    struct scene *scene = test_calloc(1, sizeof *scene);
    scene_init(scene);
    scene_add(scene, false, "DNS:a.example,DNS:b.example");
    scene_build(scene);
    SSL_SESSION *session = earn_ticket(scene, "a.example");
    assert_true(resumes(scene, "a.example", session));
    assert_true(resumes(scene, "A.example", session));
    assert_false(resumes(scene, "b.example", session));
    assert_false(resumes(scene, NULL, session));
    SSL_SESSION_free(session);
    scene_end(scene);
}

static void a_ticket_resumes_for_the_same_protocol_only(void **state)
{
    (void)state;
    static const uint8_t H2[] = "\x02h2";
    struct scene *scene = scene_default("a.example");
    struct tls_facts facts;
    SSL_SESSION *session = earn_ticket(scene, "a.example");
    scene_reconnect(scene, "a.example", session);
    SSL_set_alpn_protos(scene->peer.ssl, H2, sizeof H2 - 1);
    handshake(scene);
    tls_channel_facts(scene->channel, &facts);
    assert_false(facts.is_resumed);
    SSL_SESSION_free(session);
    scene_end(scene);
}

static void a_ticket_outlives_its_certificate_but_not_the_rules_for_clients(void **state)
{
    (void)state;
    struct scene *scene = scene_default("a.example");
    SSL_SESSION *session = earn_ticket(scene, "a.example");
    struct tls_context *before = scene->context;
    scene->file_count = 0;
    struct tls_files old = scene->files[0];
    scene_add(scene, false, "DNS:a.example");
    assert_int_equal(scene_try(scene), 0);
    assert_true(resumes(scene, "a.example", session));
    tls_context_drop(before);
    before = scene->context;
    scene->options.verify = TLS_VERIFY_OPTIONAL;
    scene->trust = scene->files[0].source.chain;
    assert_int_equal(scene_try(scene), 0);
    assert_false(resumes(scene, "a.example", session));
    tls_context_drop(before);
    tls_files_free(&old);
    SSL_SESSION_free(session);
    scene_end(scene);
}

static struct control_tls_tickets keys_of(const char *letters)
{
    struct control_tls_tickets keys = {.count = (uint32_t)strlen(letters)};
    for (uint32_t i = 0; i < keys.count; i++)
        memset(keys.keys[i], letters[i], sizeof keys.keys[i]);
    return keys;
}

static void a_ticket_lives_until_its_key_has_gone(void **state)
{
    (void)state;
    struct scene *scene = scene_default("a.example");
    struct control_tls_tickets keys = keys_of("A");
    tls_tickets_set(&scene->tickets, &keys);
    SSL_SESSION *session = earn_ticket(scene, "a.example");
    keys = keys_of("BAC");
    tls_tickets_set(&scene->tickets, &keys);
    assert_true(resumes(scene, "a.example", session));
    keys = keys_of("CBD");
    tls_tickets_set(&scene->tickets, &keys);
    assert_false(resumes(scene, "a.example", session));
    SSL_SESSION_free(session);
    scene_end(scene);
}

static void without_tickets_nothing_is_resumed(void **state)
{
    (void)state;
    struct scene *scene = test_calloc(1, sizeof *scene);
    scene_init(scene);
    scene->options.tickets = false;
    scene_build(scene);
    tls_peer_open(&scene->peer, "a.example", NULL);
    handshake(scene);
    answer(scene);
    assert_true(scene->peer.session == NULL || !SSL_SESSION_has_ticket(scene->peer.session));
    scene_end(scene);
}

/* ---- early data ------------------------------------------------------------------------------------------------- */

/* Connects with a ticket and sends a request as early data; whether the server took it before the handshake was over.
 */
static bool early_is_taken(struct scene *scene, SSL_SESSION *session)
{
    scene_reconnect(scene, "a.example", session);
    SSL_set_early_data_enabled(scene->peer.ssl, 1);
    scene->progress = TLS_HUNGRY;
    assert_true(tls_peer_handshake(&scene->peer));
    tls_peer_writes(&scene->peer, BYTES_LITERAL("early"));
    struct bytes said = tls_peer_says(&scene->peer);
    deliver_to_server(scene, said);
    free((void *)(uintptr_t)said.data);
    bool taken = scene->plain_bytes == 5 && tls_channel_is_early(scene->channel);
    server_speaks(scene);
    if (taken) {
        talk(scene);
        assert_false(tls_channel_is_early(scene->channel));
    }
    return taken;
}

static void early_data_is_taken_once_for_a_ticket_and_only_by_who_sealed_it(void **state)
{
    (void)state;
    struct scene *scene = test_calloc(1, sizeof *scene);
    scene_init(scene);
    scene->options.early_data = true;
    scene_build(scene);
    SSL_SESSION *session = earn_ticket(scene, "a.example");
    assert_true(SSL_SESSION_early_data_capable(session));
    assert_true(early_is_taken(scene, session));
    assert_false(early_is_taken(scene, session));
    SSL_SESSION_free(session);
    session = earn_ticket(scene, "a.example");
    scene->tickets.life[0] ^= 1; /* another process */
    assert_false(early_is_taken(scene, session));
    SSL_SESSION_free(session);
    scene_end(scene);
}

static void early_data_is_not_taken_unless_asked_for(void **state)
{
    (void)state;
    struct scene *scene = scene_default("a.example");
    SSL_SESSION *session = earn_ticket(scene, "a.example");
    assert_false(SSL_SESSION_early_data_capable(session));
    SSL_SESSION_free(session);
    scene_end(scene);
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

/* Lengths of the records in the output that has just been sealed. */
static uint32_t record_lengths(struct scene *scene, uint32_t *lengths, uint32_t max)
{
    uint32_t count = 0;
    struct bytes output = tls_channel_output(scene->channel);
    while (output.length >= TLS_RECORD_HEADER_BYTES && count < max) {
        lengths[count] = (uint32_t)(output.data[3] << 8 | output.data[4]);
        output = bytes_skip(output, TLS_RECORD_HEADER_BYTES + lengths[count]);
        count++;
    }
    return count;
}

static void the_first_records_after_a_pause_are_short(void **state)
{
    (void)state;
    static uint8_t data[TLS_FIRST_BYTES];
    uint32_t lengths[64];
    struct scene *scene = scene_default("a.example");
    handshake(scene);
    answer(scene);
    for (int round = 0; round < 2; round++) {
        scene->now_ms += TLS_IDLE_MS + 1;
        seal(scene, bytes_of(data, sizeof data));
        assert_int_equal(record_lengths(scene, lengths, 64), 47);
        assert_in_range(lengths[0], TLS_FIRST_RECORD_BYTES, TLS_FIRST_RECORD_BYTES + 32);
        server_speaks(scene);
        seal(scene, bytes_of(data, sizeof data));
        assert_int_equal(record_lengths(scene, lengths, 64), 4);
        server_speaks(scene);
    }
    scene_end(scene);
}

static void parts_are_joined_to_records(void **state)
{
    (void)state;
    char text[] = "abcdefgh";
    const struct iovec parts[] = {{text, 0}, {text, 3}, {text + 3, 0}, {text + 3, 4}, {text + 7, 1}};
    uint8_t memory[16];
    uint32_t lengths[4];
    bool closed;
    size_t plain;
    struct scene *scene = scene_default("a.example");
    handshake(scene);
    answer(scene);
    assert_int_equal(tls_channel_seal(scene->channel, parts, 5, NOW_MS, &plain), 0);
    assert_int_equal(plain, 8);
    assert_int_equal(record_lengths(scene, lengths, 4), 1);
    server_speaks(scene);
    assert_int_equal(tls_peer_reads(&scene->peer, memory, sizeof memory, &closed), 8);
    assert_memory_equal(memory, "abcdefgh", 8);
    scene_end(scene);
}

static void the_last_octet_of_plaintext_counts_as_sent_with_the_last_of_its_record(void **state)
{
    (void)state;
    struct scene *scene = scene_default("a.example");
    handshake(scene);
    answer(scene);
    seal(scene, BYTES_LITERAL("0123456789"));
    struct bytes output = tls_channel_output(scene->channel);
    uint32_t told = 0;
    for (size_t i = 0; i < output.length - 1; i++)
        told += tls_channel_output_sent(scene->channel, 1);
    assert_int_equal(told, 9);
    assert_true(tls_channel_is_sending(scene->channel));
    assert_int_equal(tls_channel_output_sent(scene->channel, 1), 1);
    assert_false(tls_channel_is_sending(scene->channel));
    scene_end(scene);
}

static void close_notify_is_said_once(void **state)
{
    (void)state;
    uint8_t memory[4];
    bool closed;
    struct scene *scene = scene_default("a.example");
    handshake(scene);
    answer(scene);
    assert_true(tls_channel_close_notify(scene->channel));
    assert_false(tls_channel_close_notify(scene->channel));
    server_speaks(scene);
    assert_int_equal(tls_peer_reads(&scene->peer, memory, sizeof memory, &closed), 0);
    assert_true(closed);
    scene_end(scene);
}

/* ---- what a client must not do ---------------------------------------------------------------------------------- */

static void key_updates_are_bounded(void **state)
{
    (void)state;
    struct scene *scene = scene_default("a.example");
    handshake(scene);
    answer(scene);
    for (int i = 0; i <= TLS_KEY_UPDATES_FREE && scene->progress == TLS_READY; i++) {
        SSL_key_update(scene->peer.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
        tls_peer_writes(&scene->peer, BYTES_LITERAL("x"));
        talk(scene);
        assert_int_equal(scene->progress, i < TLS_KEY_UPDATES_FREE ? TLS_READY : TLS_FAILED);
    }
    assert_int_equal(tls_channel_failure(scene->channel), TLS_FAILURE_FLOOD);
    assert_int_equal(tls_channel_take_counts(scene->channel).key_updates, TLS_KEY_UPDATES_FREE + 1);
    scene_end(scene);
}

static void tiny_records_are_counted_and_bounded(void **state)
{
    (void)state;
    static const char *const SUITES[] = {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", NULL};
    for (size_t i = 0; i < sizeof SUITES / sizeof SUITES[0]; i++) {
        struct scene *scene = scene_default("a.example");
        if (SUITES[i] != NULL) {
            SSL_set_max_proto_version(scene->peer.ssl, TLS1_2_VERSION);
            SSL_set_strict_cipher_list(scene->peer.ssl, SUITES[i]);
        }
        handshake(scene);
        answer(scene);
        uint32_t sent = 0;
        while (scene->progress == TLS_READY && sent < 3 * TLS_TINY_RECORDS_MAX) {
            tls_peer_writes(&scene->peer, BYTES_LITERAL("x"));
            talk(scene);
            sent++;
        }
        assert_int_equal(sent, TLS_TINY_RECORDS_MAX + TLS_TINY_RECORDS_BEYOND + 1);
        assert_int_equal(tls_channel_failure(scene->channel), TLS_FAILURE_FLOOD);
        assert_int_equal(tls_channel_take_counts(scene->channel).tiny_records, sent);
        scene_end(scene);
    }
}

static void a_tiny_record_behind_a_long_one_is_the_tail_of_a_write(void **state)
{
    (void)state;
    static const uint8_t frame[TLS_RECORD_BYTES_MAX + 9];
    struct scene *scene = scene_default("a.example");
    handshake(scene);
    answer(scene);
    for (uint32_t i = 0; i < 3 * TLS_TINY_RECORDS_MAX; i++) {
        scene->plain_bytes = 0;
        tls_peer_writes(&scene->peer, bytes_of(frame, sizeof frame));
        talk(scene);
        assert_int_equal(scene->plain_bytes, sizeof frame);
    }
    assert_int_equal(scene->progress, TLS_READY);
    scene_end(scene);
}

static void a_record_that_may_hold_a_request_is_not_tiny(void **state)
{
    (void)state;
    static const uint8_t request[] = {0, 0, 4, 1, 5, 0, 0, 0, 1, 0x82, 0x84, 0x87, 0xbe};
    struct scene *scene = scene_default("a.example");
    handshake(scene);
    answer(scene);
    for (uint32_t i = 0; i < 3 * TLS_TINY_RECORDS_MAX; i++) {
        tls_peer_writes(&scene->peer, bytes_of(request, sizeof request));
        talk(scene);
    }
    assert_int_equal(scene->progress, TLS_READY);
    assert_int_equal(tls_channel_take_counts(scene->channel).tiny_records, 0);
    scene_end(scene);
}

static void tiny_records_at_a_decent_pace_are_welcome(void **state)
{
    (void)state;
    struct scene *scene = scene_default("a.example");
    handshake(scene);
    answer(scene);
    for (uint32_t i = 0; i < 3 * TLS_TINY_RECORDS_MAX; i++) {
        scene->now_ms += TLS_TINY_WINDOW_MS / TLS_TINY_RECORDS_MAX;
        tls_peer_writes(&scene->peer, BYTES_LITERAL("x"));
        talk(scene);
    }
    assert_int_equal(scene->progress, TLS_READY);
    scene_end(scene);
}

static void a_long_client_hello_is_refused(void **state)
{
    (void)state;
    static uint8_t hello[TLS_RECORD_HEADER_BYTES + 16'000] = {22, 3, 1, 16'000 >> 8, 16'000 & 255, 1, 0, 0x7d, 0};
    struct scene *scene = scene_default("a.example");
    tls_channel_offer(scene->channel, bytes_of(hello, sizeof hello));
    enum tls_progress progress = tls_channel_handshake(scene->channel, NOW_MS);
    assert_int_equal(tls_channel_settle_input(scene->channel), 0);
    if (progress != TLS_FAILED) {
        tls_channel_offer(scene->channel, bytes_of(hello, sizeof hello));
        progress = tls_channel_handshake(scene->channel, NOW_MS);
        assert_int_equal(tls_channel_settle_input(scene->channel), 0);
    }
    assert_int_equal(progress, TLS_FAILED);
    assert_int_equal(tls_channel_failure(scene->channel), TLS_FAILURE_FLOOD);
    scene_end(scene);
}

/* Every octet of a hello wrong in turn: refused, or ignored, and never a step beyond. */
static void a_damaged_client_hello_does_no_harm(void **state)
{
    (void)state;
    struct scene *scene = scene_default("a.example");
    (void)tls_peer_handshake(&scene->peer);
    struct bytes said = tls_peer_says(&scene->peer);
    uint8_t *damaged = malloc(said.length);
    for (size_t i = 0; i < said.length; i++) {
        tls_channel_destroy(scene->channel);
        assert_int_equal(tls_channel_create(scene->context, OWNER, &scene->channel), 0);
        memcpy(damaged, said.data, said.length);
        damaged[i] ^= 0x55;
        tls_channel_offer(scene->channel, bytes_of(damaged, said.length));
        enum tls_progress progress = tls_channel_handshake(scene->channel, NOW_MS);
        assert_true(progress == TLS_HUNGRY || progress == TLS_FAILED);
        assert_int_equal(tls_channel_settle_input(scene->channel), 0);
    }
    free(damaged);
    free((void *)(uintptr_t)said.data);
    scene_end(scene);
}

static void a_damaged_record_ends_the_connection_with_an_alert(void **state)
{
    (void)state;
    struct scene *scene = scene_default("a.example");
    handshake(scene);
    answer(scene);
    tls_peer_writes(&scene->peer, BYTES_LITERAL("request"));
    struct bytes said = tls_peer_says(&scene->peer);
    ((uint8_t *)(uintptr_t)said.data)[said.length - 1] ^= 1;
    deliver_to_server(scene, said);
    free((void *)(uintptr_t)said.data);
    assert_int_equal(scene->progress, TLS_FAILED);
    assert_int_equal(scene->plain_bytes, 0);
    assert_true(tls_channel_has_output(scene->channel));
    scene_end(scene);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static void expect_refusal(struct scene *scene, const char *words)
{
    assert_int_equal(scene_try(scene), -EINVAL);
    if (strstr(scene->why, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", scene->why, words);
    scene_end(scene);
}

static struct scene *scene_of_files(void)
{
    struct scene *scene = test_calloc(1, sizeof *scene);
    scene_init(scene);
    scene_add(scene, false, "DNS:a.example");
    return scene;
}

static void a_key_of_another_certificate_is_refused(void **state)
{
    (void)state;
    struct scene *scene = scene_of_files();
    scene_add(scene, false, "DNS:b.example");
    scene->files[0].source.key = scene->files[1].source.key;
    expect_refusal(scene, "cert.pem: its private key belongs to another certificate");
}

static void a_file_without_certificates_is_refused(void **state)
{
    (void)state;
    struct scene *scene = scene_of_files();
    scene->files[0].source.chain = BYTES_LITERAL("not PEM\n");
    expect_refusal(scene, "cert.pem: there is no certificate in the file");
}

static void a_certificate_that_is_cut_off_is_refused(void **state)
{
    (void)state;
    struct scene *scene = scene_of_files();
    scene->files[0].source.chain.length /= 2;
    expect_refusal(scene, "cert.pem: certificate 1 in the file cannot be read");
}

static void a_file_without_a_key_is_refused(void **state)
{
    (void)state;
    struct scene *scene = scene_of_files();
    scene->files[0].source.key = scene->files[0].source.chain;
    expect_refusal(scene, "cert.pem: there is no private key in its key file");
}

static void ciphers_that_leave_nothing_are_refused(void **state)
{
    (void)state;
    struct scene *scene = scene_of_files();
    scene->options.ciphers = "AES128-SHA:AES256-SHA";
    expect_refusal(scene, "ciphers: \"AES128-SHA:AES256-SHA\" leaves no suite");
}

static void ciphers_are_those_of_the_list_that_are_allowed(void **state)
{
    (void)state;
    struct scene *scene = scene_of_files();
    struct tls_facts facts;
    scene->options.ciphers = "AES128-SHA:NO-SUCH:ECDHE-ECDSA-CHACHA20-POLY1305:!aNULL";
    scene_build(scene);
    tls_peer_open(&scene->peer, "a.example", NULL);
    SSL_set_max_proto_version(scene->peer.ssl, TLS1_2_VERSION);
    handshake(scene);
    tls_channel_facts(scene->channel, &facts);
    assert_string_equal(facts.cipher_text, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    scene_end(scene);
}

static void groups_that_are_not_known_are_refused(void **state)
{
    (void)state;
    struct scene *scene = scene_of_files();
    scene->options.groups = "X25519:no-such-group";
    expect_refusal(scene, "tls_groups: \"X25519:no-such-group\"");
}

static void authorities_that_are_none_are_refused(void **state)
{
    (void)state;
    struct scene *scene = scene_of_files();
    scene->options.verify = TLS_VERIFY_REQUIRED;
    scene->trust = BYTES_LITERAL("nothing");
    expect_refusal(scene, "ca_certs: there is no certificate in the file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_gets_through_and_is_heard),
        cmocka_unit_test(tls_1_2_gets_through_too),
        cmocka_unit_test(records_may_be_cut_at_every_octet),
        cmocka_unit_test(finished_and_a_request_in_one_piece_are_both_read),
        cmocka_unit_test(an_rsa_signature_is_made_by_a_signer),
        cmocka_unit_test(a_client_that_goes_while_its_signature_is_made_leaves_nothing),
        cmocka_unit_test(the_protocol_is_the_first_of_ours_that_the_client_knows),
        cmocka_unit_test(a_client_whose_protocols_we_do_not_speak_is_refused),
        cmocka_unit_test(tls_1_1_is_refused),
        cmocka_unit_test(suites_without_forward_secrecy_or_aead_are_refused),
        cmocka_unit_test(the_certificate_is_the_one_of_the_name),
        cmocka_unit_test(an_unknown_name_is_refused_when_names_are_strict),
        cmocka_unit_test(a_client_that_cannot_verify_ecdsa_is_shown_the_rsa_certificate),
        cmocka_unit_test(a_request_for_a_host_of_another_certificate_is_not_covered),
        cmocka_unit_test(a_ticket_resumes_for_the_same_name_only),
        cmocka_unit_test(a_ticket_resumes_for_the_same_protocol_only),
        cmocka_unit_test(a_ticket_outlives_its_certificate_but_not_the_rules_for_clients),
        cmocka_unit_test(a_ticket_lives_until_its_key_has_gone),
        cmocka_unit_test(without_tickets_nothing_is_resumed),
        cmocka_unit_test(early_data_is_taken_once_for_a_ticket_and_only_by_who_sealed_it),
        cmocka_unit_test(early_data_is_not_taken_unless_asked_for),
        cmocka_unit_test(the_first_records_after_a_pause_are_short),
        cmocka_unit_test(parts_are_joined_to_records),
        cmocka_unit_test(the_last_octet_of_plaintext_counts_as_sent_with_the_last_of_its_record),
        cmocka_unit_test(close_notify_is_said_once),
        cmocka_unit_test(key_updates_are_bounded),
        cmocka_unit_test(tiny_records_are_counted_and_bounded),
        cmocka_unit_test(a_record_that_may_hold_a_request_is_not_tiny),
        cmocka_unit_test(tiny_records_at_a_decent_pace_are_welcome),
        cmocka_unit_test(a_tiny_record_behind_a_long_one_is_the_tail_of_a_write),
        cmocka_unit_test(a_long_client_hello_is_refused),
        cmocka_unit_test(a_damaged_client_hello_does_no_harm),
        cmocka_unit_test(a_damaged_record_ends_the_connection_with_an_alert),
        cmocka_unit_test(a_key_of_another_certificate_is_refused),
        cmocka_unit_test(a_file_without_certificates_is_refused),
        cmocka_unit_test(a_certificate_that_is_cut_off_is_refused),
        cmocka_unit_test(a_file_without_a_key_is_refused),
        cmocka_unit_test(ciphers_that_leave_nothing_are_refused),
        cmocka_unit_test(ciphers_are_those_of_the_list_that_are_allowed),
        cmocka_unit_test(groups_that_are_not_known_are_refused),
        cmocka_unit_test(authorities_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
