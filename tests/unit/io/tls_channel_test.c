#include "tests/unit/io/tls_dialogue.h"

#include "daemon/io/tls_tiny_records.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- handshakes ------------------------------------------------------------------------------------------------- */

static void a_client_gets_through_and_is_heard(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    handshake(dialogue);
    tls_peer_writes(&dialogue->peer, BYTES_LITERAL("hello"));
    talk(dialogue);
    assert_int_equal(dialogue->plain_bytes, 5);
    assert_memory_equal(dialogue->plain, "hello", 5);
    answer(dialogue);
    tls_dialogue_end(dialogue);
}

static void tls_1_2_gets_through_too(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    struct tls_facts facts;
    SSL_set_max_proto_version(dialogue->peer.ssl, TLS1_2_VERSION);
    handshake(dialogue);
    tls_channel_facts(dialogue->channel, &facts);
    assert_int_equal(facts.version, TLS1_2_VERSION);
    assert_string_equal(facts.version_text, "TLSv1.2");
    answer(dialogue);
    tls_dialogue_end(dialogue);
}

static void records_may_be_cut_at_every_octet(void **state)
{
    (void)state;
    for (uint32_t cut = 1; cut < 40; cut++) {
        struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
        dialogue->cut = cut;
        handshake(dialogue);
        tls_peer_writes(&dialogue->peer, BYTES_LITERAL("first"));
        tls_peer_writes(&dialogue->peer, BYTES_LITERAL("second"));
        talk(dialogue);
        assert_int_equal(dialogue->plain_bytes, 11);
        assert_memory_equal(dialogue->plain, "firstsecond", 11);
        tls_dialogue_end(dialogue);
    }
}

static void finished_and_a_request_in_one_piece_are_both_read(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    (void)tls_peer_handshake(&dialogue->peer);
    struct bytes hello = tls_peer_says(&dialogue->peer);
    deliver_to_server(dialogue, hello);
    free((void *)(uintptr_t)hello.data);
    server_speaks(dialogue);
    assert_true(tls_peer_handshake(&dialogue->peer));
    tls_peer_writes(&dialogue->peer, BYTES_LITERAL("request"));
    SSL_shutdown(dialogue->peer.ssl);
    struct bytes rest = tls_peer_says(&dialogue->peer);
    deliver_to_server(dialogue, rest);
    free((void *)(uintptr_t)rest.data);
    assert_int_equal(dialogue->plain_bytes, 7);
    assert_true(dialogue->closed);
    tls_dialogue_end(dialogue);
}

static void an_rsa_signature_is_made_by_a_signer(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = test_calloc(1, sizeof *dialogue);
    tls_dialogue_init(dialogue);
    assert_int_equal(tls_signers_create(&dialogue->signers), 0);
    tls_dialogue_add(dialogue, true, "DNS:a.example");
    tls_dialogue_build(dialogue);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        tls_dialogue_reconnect(dialogue, "a.example", NULL);
        SSL_set_max_proto_version(dialogue->peer.ssl, (uint16_t)version);
        handshake(dialogue);
        answer(dialogue);
    }
    assert_int_equal(tls_signers_waiting(dialogue->signers), 0);
    tls_dialogue_end(dialogue);
}

static void a_client_that_goes_while_its_signature_is_made_leaves_nothing(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = test_calloc(1, sizeof *dialogue);
    tls_dialogue_init(dialogue);
    assert_int_equal(tls_signers_create(&dialogue->signers), 0);
    tls_dialogue_add(dialogue, true, "DNS:a.example");
    tls_dialogue_build(dialogue);
    tls_peer_open(&dialogue->peer, "a.example", NULL);
    (void)tls_peer_handshake(&dialogue->peer);
    struct bytes hello = tls_peer_says(&dialogue->peer);
    tls_channel_offer(dialogue->channel, hello);
    assert_int_equal(tls_channel_handshake(dialogue->channel, NOW_MS), TLS_SIGNING);
    assert_int_equal(tls_channel_settle_input(dialogue->channel), 0);
    free((void *)(uintptr_t)hello.data);
    tls_channel_destroy(dialogue->channel);
    dialogue->channel = NULL;
    struct pollfd wake = {.fd = tls_signers_fd(dialogue->signers), .events = POLLIN};
    assert_int_equal(poll(&wake, 1, 30'000), 1);
    bool came = false;
    tls_signers_drain(dialogue->signers, on_signed, &came);
    assert_false(came);
    assert_int_equal(tls_signers_waiting(dialogue->signers), 0);
    tls_dialogue_end(dialogue);
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

/* Lengths of the records in the output that has just been sealed. */
static uint32_t record_lengths(struct tls_dialogue *dialogue, uint32_t *lengths, uint32_t max)
{
    uint32_t count = 0;
    struct bytes output = tls_channel_output(dialogue->channel);
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
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    handshake(dialogue);
    answer(dialogue);
    for (int round = 0; round < 2; round++) {
        dialogue->now_ms += TLS_IDLE_MS + 1;
        seal(dialogue, bytes_of(data, sizeof data));
        assert_int_equal(record_lengths(dialogue, lengths, 64), 47);
        assert_in_range(lengths[0], TLS_FIRST_RECORD_BYTES, TLS_FIRST_RECORD_BYTES + 32);
        server_speaks(dialogue);
        seal(dialogue, bytes_of(data, sizeof data));
        assert_int_equal(record_lengths(dialogue, lengths, 64), 4);
        server_speaks(dialogue);
    }
    tls_dialogue_end(dialogue);
}

static void what_is_sealed_is_counted_and_is_little_where_memory_is_scarce(void **state)
{
    (void)state;
    static const struct {
        enum memory_step step;
        uint32_t records, plain;
    } CASES[] = {
        {MEMORY_NORMAL, TLS_SEAL_MAX / TLS_RECORD_BYTES_MAX, TLS_SEAL_MAX},
        {MEMORY_SCARCE, 1, TLS_RECORD_BYTES_MAX},
        {MEMORY_EXHAUSTED, 1, TLS_FIRST_RECORD_BYTES},
    };
    static uint8_t data[2 * TLS_SEAL_MAX];
    const struct iovec part = {data, sizeof data};
    uint32_t lengths[64];
    size_t plain;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    handshake(dialogue);
    answer(dialogue);
    seal(dialogue, bytes_of(data, 2 * TLS_FIRST_BYTES)); /* past the short records of a beginning */
    server_speaks(dialogue);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const uint64_t before = dialogue->memory.charged;
        dialogue->memory.step = CASES[i].step;
        assert_int_equal(tls_channel_seal(dialogue->channel, &part, 1, dialogue->now_ms, &plain), 0);
        assert_int_equal(plain, CASES[i].plain);
        assert_int_equal(record_lengths(dialogue, lengths, 64), CASES[i].records);
        assert_in_range(dialogue->memory.charged - before, plain, 2 * (plain + TLS_RECORD_BYTES_MAX));
        server_speaks(dialogue);
        assert_int_equal(dialogue->memory.charged, before);
    }
    tls_dialogue_end(dialogue);
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
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    handshake(dialogue);
    answer(dialogue);
    assert_int_equal(tls_channel_seal(dialogue->channel, parts, 5, NOW_MS, &plain), 0);
    assert_int_equal(plain, 8);
    assert_int_equal(record_lengths(dialogue, lengths, 4), 1);
    server_speaks(dialogue);
    assert_int_equal(tls_peer_reads(&dialogue->peer, memory, sizeof memory, &closed), 8);
    assert_memory_equal(memory, "abcdefgh", 8);
    tls_dialogue_end(dialogue);
}

static void the_last_octet_of_plaintext_counts_as_sent_with_the_last_of_its_record(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    handshake(dialogue);
    answer(dialogue);
    seal(dialogue, BYTES_LITERAL("0123456789"));
    struct bytes output = tls_channel_output(dialogue->channel);
    uint32_t told = 0;
    for (size_t i = 0; i < output.length - 1; i++)
        told += tls_channel_output_sent(dialogue->channel, 1);
    assert_int_equal(told, 9);
    assert_true(tls_channel_is_sending(dialogue->channel));
    assert_int_equal(tls_channel_output_sent(dialogue->channel, 1), 1);
    assert_false(tls_channel_is_sending(dialogue->channel));
    tls_dialogue_end(dialogue);
}

static void close_notify_is_said_once(void **state)
{
    (void)state;
    uint8_t memory[4];
    bool closed;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    handshake(dialogue);
    answer(dialogue);
    assert_true(tls_channel_close_notify(dialogue->channel));
    assert_false(tls_channel_close_notify(dialogue->channel));
    server_speaks(dialogue);
    assert_int_equal(tls_peer_reads(&dialogue->peer, memory, sizeof memory, &closed), 0);
    assert_true(closed);
    tls_dialogue_end(dialogue);
}

/* ---- what a client must not do ---------------------------------------------------------------------------------- */

static void key_updates_are_bounded(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    handshake(dialogue);
    answer(dialogue);
    for (int i = 0; i <= TLS_KEY_UPDATES_FREE && dialogue->progress == TLS_READY; i++) {
        SSL_key_update(dialogue->peer.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
        tls_peer_writes(&dialogue->peer, BYTES_LITERAL("x"));
        talk(dialogue);
        assert_int_equal(dialogue->progress, i < TLS_KEY_UPDATES_FREE ? TLS_READY : TLS_FAILED);
    }
    assert_int_equal(tls_channel_failure(dialogue->channel), TLS_FAILURE_FLOOD);
    assert_int_equal(tls_channel_take_counts(dialogue->channel).key_updates, TLS_KEY_UPDATES_FREE + 1);
    tls_dialogue_end(dialogue);
}

static void tiny_records_are_counted_and_bounded(void **state)
{
    (void)state;
    static const char *const SUITES[] = {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", NULL};
    for (size_t i = 0; i < sizeof SUITES / sizeof SUITES[0]; i++) {
        struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
        if (SUITES[i] != NULL) {
            SSL_set_max_proto_version(dialogue->peer.ssl, TLS1_2_VERSION);
            SSL_set_strict_cipher_list(dialogue->peer.ssl, SUITES[i]);
        }
        handshake(dialogue);
        answer(dialogue);
        uint32_t sent = 0;
        while (dialogue->progress == TLS_READY && sent < 3 * TLS_TINY_RECORDS_MAX) {
            tls_peer_writes(&dialogue->peer, BYTES_LITERAL("x"));
            talk(dialogue);
            sent++;
        }
        assert_int_equal(sent, TLS_TINY_RECORDS_MAX + TLS_TINY_RECORDS_BEYOND + 1);
        assert_int_equal(tls_channel_failure(dialogue->channel), TLS_FAILURE_FLOOD);
        assert_int_equal(tls_channel_take_counts(dialogue->channel).tiny_records, sent);
        tls_dialogue_end(dialogue);
    }
}

static void a_tiny_record_behind_a_long_one_is_the_tail_of_a_write(void **state)
{
    (void)state;
    static const uint8_t frame[TLS_RECORD_BYTES_MAX + 9];
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    handshake(dialogue);
    answer(dialogue);
    for (uint32_t i = 0; i < 3 * TLS_TINY_RECORDS_MAX; i++) {
        dialogue->plain_bytes = 0;
        tls_peer_writes(&dialogue->peer, bytes_of(frame, sizeof frame));
        talk(dialogue);
        assert_int_equal(dialogue->plain_bytes, sizeof frame);
    }
    assert_int_equal(dialogue->progress, TLS_READY);
    tls_dialogue_end(dialogue);
}

static void a_record_that_may_hold_a_request_is_not_tiny(void **state)
{
    (void)state;
    static const uint8_t request[] = {0, 0, 4, 1, 5, 0, 0, 0, 1, 0x82, 0x84, 0x87, 0xbe};
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    handshake(dialogue);
    answer(dialogue);
    for (uint32_t i = 0; i < 3 * TLS_TINY_RECORDS_MAX; i++) {
        tls_peer_writes(&dialogue->peer, bytes_of(request, sizeof request));
        talk(dialogue);
    }
    assert_int_equal(dialogue->progress, TLS_READY);
    assert_int_equal(tls_channel_take_counts(dialogue->channel).tiny_records, 0);
    tls_dialogue_end(dialogue);
}

static void tiny_records_at_a_decent_pace_are_welcome(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    handshake(dialogue);
    answer(dialogue);
    for (uint32_t i = 0; i < 3 * TLS_TINY_RECORDS_MAX; i++) {
        dialogue->now_ms += TLS_TINY_WINDOW_MS / TLS_TINY_RECORDS_MAX;
        tls_peer_writes(&dialogue->peer, BYTES_LITERAL("x"));
        talk(dialogue);
    }
    assert_int_equal(dialogue->progress, TLS_READY);
    tls_dialogue_end(dialogue);
}

static void a_long_client_hello_is_refused(void **state)
{
    (void)state;
    static uint8_t hello[TLS_RECORD_HEADER_BYTES + 16'000] = {22, 3, 1, 16'000 >> 8, 16'000 & 255, 1, 0, 0x7d, 0};
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    tls_channel_offer(dialogue->channel, bytes_of(hello, sizeof hello));
    enum tls_progress progress = tls_channel_handshake(dialogue->channel, NOW_MS);
    assert_int_equal(tls_channel_settle_input(dialogue->channel), 0);
    if (progress != TLS_FAILED) {
        tls_channel_offer(dialogue->channel, bytes_of(hello, sizeof hello));
        progress = tls_channel_handshake(dialogue->channel, NOW_MS);
        assert_int_equal(tls_channel_settle_input(dialogue->channel), 0);
    }
    assert_int_equal(progress, TLS_FAILED);
    assert_int_equal(tls_channel_failure(dialogue->channel), TLS_FAILURE_FLOOD);
    tls_dialogue_end(dialogue);
}

/* Every octet of a hello wrong in turn: refused, or ignored, and never a step beyond. */
static void a_damaged_client_hello_does_no_harm(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    (void)tls_peer_handshake(&dialogue->peer);
    struct bytes said = tls_peer_says(&dialogue->peer);
    uint8_t *damaged = malloc(said.length);
    for (size_t i = 0; i < said.length; i++) {
        tls_channel_destroy(dialogue->channel);
        assert_int_equal(tls_channel_create(dialogue->context, &dialogue->memory, OWNER, &dialogue->channel), 0);
        memcpy(damaged, said.data, said.length);
        damaged[i] ^= 0x55;
        tls_channel_offer(dialogue->channel, bytes_of(damaged, said.length));
        enum tls_progress progress = tls_channel_handshake(dialogue->channel, NOW_MS);
        assert_true(progress == TLS_HUNGRY || progress == TLS_FAILED);
        assert_int_equal(tls_channel_settle_input(dialogue->channel), 0);
    }
    free(damaged);
    free((void *)(uintptr_t)said.data);
    tls_dialogue_end(dialogue);
}

static void a_damaged_record_ends_the_connection_with_an_alert(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    handshake(dialogue);
    answer(dialogue);
    tls_peer_writes(&dialogue->peer, BYTES_LITERAL("request"));
    struct bytes said = tls_peer_says(&dialogue->peer);
    ((uint8_t *)(uintptr_t)said.data)[said.length - 1] ^= 1;
    deliver_to_server(dialogue, said);
    free((void *)(uintptr_t)said.data);
    assert_int_equal(dialogue->progress, TLS_FAILED);
    assert_int_equal(dialogue->plain_bytes, 0);
    assert_true(tls_channel_has_output(dialogue->channel));
    tls_dialogue_end(dialogue);
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
        cmocka_unit_test(the_first_records_after_a_pause_are_short),
        cmocka_unit_test(what_is_sealed_is_counted_and_is_little_where_memory_is_scarce),
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
