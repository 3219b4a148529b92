#include "tests/unit/io/tls_dialogue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- sessions --------------------------------------------------------------------------------------------------- */

/* A session of a client that named `sni`, for the caller to free. */
static SSL_SESSION *earn_ticket(struct tls_dialogue *dialogue, const char *sni)
{
    tls_dialogue_reconnect(dialogue, sni, NULL);
    handshake(dialogue);
    answer(dialogue);
    assert_non_null(dialogue->peer.session);
    SSL_SESSION_up_ref(dialogue->peer.session);
    return dialogue->peer.session;
}

static bool resumes(struct tls_dialogue *dialogue, const char *sni, SSL_SESSION *session)
{
    struct tls_facts facts;
    tls_dialogue_reconnect(dialogue, sni, session);
    handshake(dialogue);
    tls_channel_facts(dialogue->channel, &facts);
    assert_int_equal(facts.is_resumed, SSL_session_reused(dialogue->peer.ssl));
    return facts.is_resumed;
}

static void a_ticket_resumes_for_the_same_name_only(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = test_calloc(1, sizeof *dialogue);
    tls_dialogue_init(dialogue);
    tls_dialogue_add(dialogue, false, "DNS:a.example,DNS:b.example");
    tls_dialogue_build(dialogue);
    SSL_SESSION *session = earn_ticket(dialogue, "a.example");
    assert_true(resumes(dialogue, "a.example", session));
    assert_true(resumes(dialogue, "A.example", session));
    assert_false(resumes(dialogue, "b.example", session));
    assert_false(resumes(dialogue, NULL, session));
    SSL_SESSION_free(session);
    tls_dialogue_end(dialogue);
}

static void a_ticket_resumes_for_the_same_protocol_only(void **state)
{
    (void)state;
    static const uint8_t H2[] = "\x02h2";
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    struct tls_facts facts;
    SSL_SESSION *session = earn_ticket(dialogue, "a.example");
    tls_dialogue_reconnect(dialogue, "a.example", session);
    SSL_set_alpn_protos(dialogue->peer.ssl, H2, sizeof H2 - 1);
    handshake(dialogue);
    tls_channel_facts(dialogue->channel, &facts);
    assert_false(facts.is_resumed);
    SSL_SESSION_free(session);
    tls_dialogue_end(dialogue);
}

static void a_ticket_outlives_its_certificate_but_not_the_rules_for_clients(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    SSL_SESSION *session = earn_ticket(dialogue, "a.example");
    struct tls_context *before = dialogue->context;
    dialogue->file_count = 0;
    struct tls_files old = dialogue->files[0];
    tls_dialogue_add(dialogue, false, "DNS:a.example");
    assert_int_equal(tls_dialogue_try(dialogue), 0);
    assert_true(resumes(dialogue, "a.example", session));
    tls_context_drop(before);
    before = dialogue->context;
    dialogue->options.verify = TLS_VERIFY_OPTIONAL;
    dialogue->trust = dialogue->files[0].source.chain;
    assert_int_equal(tls_dialogue_try(dialogue), 0);
    assert_false(resumes(dialogue, "a.example", session));
    tls_context_drop(before);
    tls_files_free(&old);
    SSL_SESSION_free(session);
    tls_dialogue_end(dialogue);
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
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    struct control_tls_tickets keys = keys_of("A");
    tls_tickets_set(&dialogue->tickets, &keys);
    SSL_SESSION *session = earn_ticket(dialogue, "a.example");
    keys = keys_of("BAC");
    tls_tickets_set(&dialogue->tickets, &keys);
    assert_true(resumes(dialogue, "a.example", session));
    keys = keys_of("CBD");
    tls_tickets_set(&dialogue->tickets, &keys);
    assert_false(resumes(dialogue, "a.example", session));
    SSL_SESSION_free(session);
    tls_dialogue_end(dialogue);
}

static void without_tickets_nothing_is_resumed(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = test_calloc(1, sizeof *dialogue);
    tls_dialogue_init(dialogue);
    dialogue->options.tickets = false;
    tls_dialogue_build(dialogue);
    tls_peer_open(&dialogue->peer, "a.example", NULL);
    handshake(dialogue);
    answer(dialogue);
    assert_true(dialogue->peer.session == NULL || !SSL_SESSION_has_ticket(dialogue->peer.session));
    tls_dialogue_end(dialogue);
}

/* ---- early data ------------------------------------------------------------------------------------------------- */

/* Connects with a ticket and sends a request as early data; whether the server took it before the handshake was over.
 */
static bool early_is_taken(struct tls_dialogue *dialogue, SSL_SESSION *session)
{
    tls_dialogue_reconnect(dialogue, "a.example", session);
    SSL_set_early_data_enabled(dialogue->peer.ssl, 1);
    dialogue->progress = TLS_HUNGRY;
    assert_true(tls_peer_handshake(&dialogue->peer));
    tls_peer_writes(&dialogue->peer, BYTES_LITERAL("early"));
    struct bytes said = tls_peer_says(&dialogue->peer);
    deliver_to_server(dialogue, said);
    free((void *)(uintptr_t)said.data);
    bool taken = dialogue->plain_bytes == 5 && tls_channel_is_early(dialogue->channel);
    server_speaks(dialogue);
    if (taken) {
        talk(dialogue);
        assert_false(tls_channel_is_early(dialogue->channel));
    }
    return taken;
}

static void early_data_is_taken_once_for_a_ticket_and_only_by_who_sealed_it(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = test_calloc(1, sizeof *dialogue);
    tls_dialogue_init(dialogue);
    dialogue->options.early_data = true;
    tls_dialogue_build(dialogue);
    SSL_SESSION *session = earn_ticket(dialogue, "a.example");
    assert_true(SSL_SESSION_early_data_capable(session));
    assert_true(early_is_taken(dialogue, session));
    assert_false(early_is_taken(dialogue, session));
    SSL_SESSION_free(session);
    session = earn_ticket(dialogue, "a.example");
    dialogue->tickets.life[0] ^= 1; /* another process */
    assert_false(early_is_taken(dialogue, session));
    SSL_SESSION_free(session);
    tls_dialogue_end(dialogue);
}

static void early_data_is_not_taken_unless_asked_for(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    SSL_SESSION *session = earn_ticket(dialogue, "a.example");
    assert_false(SSL_SESSION_early_data_capable(session));
    SSL_SESSION_free(session);
    tls_dialogue_end(dialogue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ticket_resumes_for_the_same_name_only),
        cmocka_unit_test(a_ticket_resumes_for_the_same_protocol_only),
        cmocka_unit_test(a_ticket_outlives_its_certificate_but_not_the_rules_for_clients),
        cmocka_unit_test(a_ticket_lives_until_its_key_has_gone),
        cmocka_unit_test(without_tickets_nothing_is_resumed),
        cmocka_unit_test(early_data_is_taken_once_for_a_ticket_and_only_by_who_sealed_it),
        cmocka_unit_test(early_data_is_not_taken_unless_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
