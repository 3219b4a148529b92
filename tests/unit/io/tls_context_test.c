#include "tests/unit/io/tls_dialogue.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- what is agreed upon ---------------------------------------------------------------------------------------- */

static void the_protocol_is_the_first_of_ours_that_the_client_knows(void **state)
{
    (void)state;
    static const uint8_t BOTH[] = "\x08http/1.1\x02h2";
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    struct tls_facts facts;
    SSL_set_alpn_protos(dialogue->peer.ssl, BOTH, sizeof BOTH - 1);
    handshake(dialogue);
    tls_channel_facts(dialogue->channel, &facts);
    assert_true(facts.is_h2);
    tls_dialogue_reconnect(dialogue, "a.example", NULL);
    SSL_set_alpn_protos(dialogue->peer.ssl, BOTH, 9);
    handshake(dialogue);
    tls_channel_facts(dialogue->channel, &facts);
    assert_false(facts.is_h2);
    tls_dialogue_end(dialogue);
}

static void a_client_whose_protocols_we_do_not_speak_is_refused(void **state)
{
    (void)state;
    static const uint8_t OTHER[] = "\x03"
                                   "ftp";
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    SSL_set_alpn_protos(dialogue->peer.ssl, OTHER, sizeof OTHER - 1);
    expect_failure(dialogue, TLS_FAILURE_ALPN);
    tls_dialogue_end(dialogue);
}

static void tls_1_1_is_refused(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
    SSL_set_min_proto_version(dialogue->peer.ssl, TLS1_VERSION);
    SSL_set_max_proto_version(dialogue->peer.ssl, TLS1_1_VERSION);
    expect_failure(dialogue, TLS_FAILURE_VERSION);
    tls_dialogue_end(dialogue);
}

static void suites_without_forward_secrecy_or_aead_are_refused(void **state)
{
    (void)state;
    static const char *const LISTS[] = {"AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"};
    for (size_t i = 0; i < 2; i++) {
        struct tls_dialogue *dialogue = tls_dialogue_default("a.example");
        SSL_set_max_proto_version(dialogue->peer.ssl, TLS1_2_VERSION);
        assert_true(SSL_set_strict_cipher_list(dialogue->peer.ssl, LISTS[i]));
        expect_failure(dialogue, TLS_FAILURE_CIPHER);
        tls_dialogue_end(dialogue);
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
    struct tls_dialogue *dialogue = test_calloc(1, sizeof *dialogue);
    tls_dialogue_init(dialogue);
    tls_dialogue_add(dialogue, false, "DNS:first.example");
    tls_dialogue_add(dialogue, false, "DNS:*.wild.example");
    tls_dialogue_add(dialogue, false, "DNS:exact.wild.example");
    tls_dialogue_build(dialogue);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        tls_dialogue_reconnect(dialogue, CASES[i].sni, NULL);
        handshake(dialogue);
        assert_int_equal(shown(dialogue), CASES[i].pair);
    }
    tls_dialogue_end(dialogue);
}

static void an_unknown_name_is_refused_when_names_are_strict(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = test_calloc(1, sizeof *dialogue);
    tls_dialogue_init(dialogue);
    dialogue->options.strict_sni = true;
    tls_dialogue_build(dialogue);
    tls_peer_open(&dialogue->peer, "b.example", NULL);
    expect_failure(dialogue, TLS_FAILURE_SNI);
    tls_dialogue_reconnect(dialogue, "a.example", NULL);
    handshake(dialogue);
    tls_dialogue_reconnect(dialogue, NULL, NULL);
    handshake(dialogue);
    tls_dialogue_end(dialogue);
}

static void a_client_that_cannot_verify_ecdsa_is_shown_the_rsa_certificate(void **state)
{
    (void)state;
    static const uint16_t RSA_ONLY[] = {SSL_SIGN_RSA_PSS_RSAE_SHA256, SSL_SIGN_RSA_PKCS1_SHA256};
    struct tls_dialogue *dialogue = test_calloc(1, sizeof *dialogue);
    tls_dialogue_init(dialogue);
    assert_int_equal(tls_signers_create(&dialogue->signers), 0);
    tls_dialogue_add(dialogue, true, "DNS:a.example");
    tls_dialogue_add(dialogue, false, "DNS:a.example");
    tls_dialogue_build(dialogue);
    for (int i = 0; i < 4; i++) {
        bool only_rsa = (i & 1) != 0;
        tls_dialogue_reconnect(dialogue, i < 2 ? "a.example" : NULL, NULL);
        if (only_rsa)
            SSL_set_verify_algorithm_prefs(dialogue->peer.ssl, RSA_ONLY, 2);
        handshake(dialogue);
        assert_int_equal(shown(dialogue), only_rsa ? 0 : 1);
    }
    tls_dialogue_end(dialogue);
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
    struct tls_dialogue *dialogue = test_calloc(1, sizeof *dialogue);
    tls_dialogue_init(dialogue);
    tls_dialogue_add(dialogue, false, "DNS:a.example,DNS:*.a.example,IP:192.0.2.7");
    tls_dialogue_add(dialogue, false, "DNS:b.example");
    tls_dialogue_build(dialogue);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        tls_dialogue_reconnect(dialogue, CASES[i].sni, NULL);
        handshake(dialogue);
        assert_int_equal(tls_channel_covers(dialogue->channel, bytes_of_string(CASES[i].host)), CASES[i].covered);
    }
    tls_dialogue_end(dialogue);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static void expect_refusal(struct tls_dialogue *dialogue, const char *words)
{
    assert_int_equal(tls_dialogue_try(dialogue), -EINVAL);
    if (strstr(dialogue->why, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", dialogue->why, words);
    tls_dialogue_end(dialogue);
}

static struct tls_dialogue *dialogue_of_files(void)
{
    struct tls_dialogue *dialogue = test_calloc(1, sizeof *dialogue);
    tls_dialogue_init(dialogue);
    tls_dialogue_add(dialogue, false, "DNS:a.example");
    return dialogue;
}

static void a_key_of_another_certificate_is_refused(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = dialogue_of_files();
    tls_dialogue_add(dialogue, false, "DNS:b.example");
    dialogue->files[0].source.key = dialogue->files[1].source.key;
    expect_refusal(dialogue, "cert.pem: its private key belongs to another certificate");
}

static void a_file_without_certificates_is_refused(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = dialogue_of_files();
    dialogue->files[0].source.chain = BYTES_LITERAL("not PEM\n");
    expect_refusal(dialogue, "cert.pem: there is no certificate in the file");
}

static void a_certificate_that_is_cut_off_is_refused(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = dialogue_of_files();
    dialogue->files[0].source.chain.length /= 2;
    expect_refusal(dialogue, "cert.pem: certificate 1 in the file cannot be read");
}

static void a_file_without_a_key_is_refused(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = dialogue_of_files();
    dialogue->files[0].source.key = dialogue->files[0].source.chain;
    expect_refusal(dialogue, "cert.pem: there is no private key in its key file");
}

static void ciphers_that_leave_nothing_are_refused(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = dialogue_of_files();
    dialogue->options.ciphers = "AES128-SHA:AES256-SHA";
    expect_refusal(dialogue, "ciphers: \"AES128-SHA:AES256-SHA\" leaves no suite");
}

static void ciphers_are_those_of_the_list_that_are_allowed(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = dialogue_of_files();
    struct tls_facts facts;
    dialogue->options.ciphers = "AES128-SHA:NO-SUCH:ECDHE-ECDSA-CHACHA20-POLY1305:!aNULL";
    tls_dialogue_build(dialogue);
    tls_peer_open(&dialogue->peer, "a.example", NULL);
    SSL_set_max_proto_version(dialogue->peer.ssl, TLS1_2_VERSION);
    handshake(dialogue);
    tls_channel_facts(dialogue->channel, &facts);
    assert_string_equal(facts.cipher_text, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    tls_dialogue_end(dialogue);
}

static void groups_that_are_not_known_are_refused(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = dialogue_of_files();
    dialogue->options.groups = "X25519:no-such-group";
    expect_refusal(dialogue, "tls_groups: \"X25519:no-such-group\"");
}

static void authorities_that_are_none_are_refused(void **state)
{
    (void)state;
    struct tls_dialogue *dialogue = dialogue_of_files();
    dialogue->options.verify = TLS_VERIFY_REQUIRED;
    dialogue->trust = BYTES_LITERAL("nothing");
    expect_refusal(dialogue, "ca_certs: there is no certificate in the file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_protocol_is_the_first_of_ours_that_the_client_knows),
        cmocka_unit_test(a_client_whose_protocols_we_do_not_speak_is_refused),
        cmocka_unit_test(tls_1_1_is_refused),
        cmocka_unit_test(suites_without_forward_secrecy_or_aead_are_refused),
        cmocka_unit_test(the_certificate_is_the_one_of_the_name),
        cmocka_unit_test(an_unknown_name_is_refused_when_names_are_strict),
        cmocka_unit_test(a_client_that_cannot_verify_ecdsa_is_shown_the_rsa_certificate),
        cmocka_unit_test(a_request_for_a_host_of_another_certificate_is_not_covered),
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
