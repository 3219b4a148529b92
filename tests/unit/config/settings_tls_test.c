#include "config/settings_tls.h"

#include "tests/unit/config/settings_fixture.h"

static void assert_path(const struct fixture *fixture, const char *path, const char *name)
{
    char expected[FIXTURE_PATH_BYTES + 64];

    snprintf(expected, sizeof(expected), "%s/%s", fixture->directory, name);
    assert_string_equal(path, expected);
}

static void assert_protocols(const struct settings *settings, const char *first, const char *second)
{
    assert_int_equal(settings->http_protocols.count, second == NULL ? 1 : 2);
    assert_string_equal(settings->http_protocols.items[0], first);
    if (second != NULL)
        assert_string_equal(settings->http_protocols.items[1], second);
}

static void there_is_no_tls_without_a_certificate(void **state)
{
    struct settings *settings = fixture_run(*state, "m:app");

    assert_false(settings_have_tls(settings));
    assert_int_equal(settings->certfile.count, 0);
    assert_int_equal(settings->cert_reqs, CERT_REQS_NONE);
    assert_int_equal(settings->tls_min_version, TLS_MIN_VERSION_12);
    assert_string_equal(settings->tls_groups, "X25519:P-256");
    assert_true(settings->tls_tickets);
    assert_false(settings->tls_early_data);
    assert_false(settings->tls_strict_sni);
    assert_int_equal(settings->http2_cleartext, HTTP2_CLEARTEXT_OFF);
    assert_protocols(settings, "h2", "h1");
}

static void paths_start_in_chdir(void **state)
{
    struct settings *settings = fixture_run(*state, "m:app --certfile a.pem,/b.pem --keyfile a.key,/b.key "
                                                    "--ocsp-file a.der,b.der --ca-certs ca.pem --cert-reqs 1 "
                                                    "--keyfile-password-file p --tls-ticket-keys t");

    assert_true(settings_have_tls(settings));
    assert_int_equal(settings->certfile.count, 2);
    assert_path(*state, settings->certfile.items[0], "a.pem");
    assert_string_equal(settings->certfile.items[1], "/b.pem");
    assert_path(*state, settings->keyfile.items[0], "a.key");
    assert_path(*state, settings->ocsp_file.items[1], "b.der");
    assert_path(*state, settings->ca_certs, "ca.pem");
    assert_path(*state, settings->keyfile_password_file, "p");
    assert_path(*state, settings->tls_ticket_keys, "t");
}

static void a_credential_of_the_unit_lies_where_systemd_says(void **state)
{
    setenv("CREDENTIALS_DIRECTORY", "/run/credentials/u.service", 1);
    fixture_write("c.toml", "wsgi_app = 'm:app'\ncertfile = 'a.pem'\nkeyfile = '${CREDENTIALS_DIRECTORY}/a.key'\n"
                            "tls_ticket_keys = '${CREDENTIALS_DIRECTORY}/tickets'\n"
                            "[[listen]]\naddress = ':1'\ncertfile = 'b.pem'\n"
                            "keyfile = '${CREDENTIALS_DIRECTORY}//etc/b.key'\n");
    struct settings *settings = fixture_run(*state, "-c c.toml");
    unsetenv("CREDENTIALS_DIRECTORY");

    assert_path(*state, settings->certfile.items[0], "a.pem");
    assert_string_equal(settings->keyfile.items[0], "/run/credentials/u.service/a.key");
    assert_string_equal(settings->tls_ticket_keys, "/run/credentials/u.service/tickets");
    assert_non_null(strstr(settings->listen.items[0], "keyfile=/run/credentials/u.service//etc/b.key"));
}

static void without_credentials_the_setting_that_wants_one_is_named(void **state)
{
    static const char toml[] = "wsgi_app = 'm:app'\ncertfile = 'a'\nkeyfile = '${CREDENTIALS_DIRECTORY}/a.key'\n";

    fixture_write("c.toml", toml);
    fixture_fail(*state, "-c c.toml",
                 "uroboros: %s/c.toml, line 3: keyfile = \"${CREDENTIALS_DIRECTORY}/a.key\": "
                 "${CREDENTIALS_DIRECTORY}/a.key: CREDENTIALS_DIRECTORY is not in the environment; LoadCredential= in "
                 "the unit of a systemd service sets it");
}

static void one_file_may_hold_the_chain_and_its_key(void **state)
{
    struct settings *settings = fixture_run(*state, "m:app --certfile both.pem");

    assert_int_equal(settings->keyfile.count, 1);
    assert_string_equal(settings->keyfile.items[0], settings->certfile.items[0]);
}

static void what_does_not_go_together_is_refused_with_one_sentence(void **state)
{
    static const char *const rows[][2] = {
        {"--keyfile k", "--keyfile = \"k\": keyfile without certfile: name the certificate of the key as well"},
        {"--ocsp-file o", "--ocsp-file = \"o\": ocsp_file without certfile"},
        {"--certfile a,b --keyfile k", "--certfile = \"a,b\": 1 keys for 2 certificates: expected one key for each, in "
                                       "order"},
        {"--certfile a,b --ocsp-file o", "--certfile = \"a,b\": 1 OCSP responses for 2 certificates: expected one for "
                                         "each"},
        {"--cert-reqs 2", "--cert-reqs = \"2\": \"required\" needs certfile: without TLS no client can show a "
                          "certificate"},
        {"--cert-reqs 1 --certfile a", "--cert-reqs = \"1\": \"optional\" needs ca_certs: the authorities that client "
                                       "certificates are checked against"},
        {"--cert-reqs 3", "--cert-reqs = \"3\": expected one of \"none\", \"optional\", \"required\""},
        {"--dev-tls --certfile a", "--dev-tls = \"true\": contradicts certfile; a server has one or the other"},
        {"--tls-ticket-keys t --tls-tickets=off", "--tls-ticket-keys = \"t\": contradicts tls_tickets = false"},
        {"--tls-early-data --no-tls-tickets",
         "--tls-early-data = \"true\": contradicts tls_tickets = false: early data "
         "comes with a resumed session"},
        {"--http-protocols h3,h2",
         "--http-protocols = \"h3,h2\": \"h3\": HTTP/3 runs over QUIC, which this server does "
         "not speak; use \"h2\" and \"h1\""},
        {"--http-protocols spdy", "--http-protocols = \"spdy\": \"spdy\": expected \"h2\" or \"h1\""},
        {"--http-protocols h1,h1", "--http-protocols = \"h1,h1\": \"h1\" is there twice"},
        {"--http-protocols=", "--http-protocols = \"\": expected at least one of \"h2\" and \"h1\""},
        {"--ssl-version TLSv1_1", "--ssl-version = \"TLSv1_1\": SSL and TLS before 1.2 are not spoken (RFC 8996); use "
                                  "\"TLSv1_2\", or leave it out"},
        {"--tls-min-version 1.1", "--tls-min-version = \"1.1\": SSL and TLS before 1.2 are not spoken (RFC 8996); use "
                                  "\"TLSv1_2\", or leave it out"},
        {"--http2-initial-window-size 0",
         "--http2-initial-window-size = \"0\": expected bytes from 1 to 2147483647, as "
         "a number that K, M or G may follow"},
        {"--http2-max-frame-size 16383",
         "--http2-max-frame-size = \"16383\": expected bytes from 16384 to 16777215, as "
         "a number that K, M or G may follow"},
        {"--http2-max-concurrent-streams 0",
         "--http2-max-concurrent-streams = \"0\": expected a whole number from 1 to "
         "10000"},
    };
    char line[256], message[SETTINGS_MESSAGE_BYTES];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(line, sizeof(line), "m:app %s", rows[i][0]);
        snprintf(message, sizeof(message), "uroboros: command line: %s", rows[i][1]);
        fixture_fail(*state, line, message);
    }
}

static void authorities_that_nobody_asks_for_are_a_warning(void **state)
{
    fixture_run(*state, "m:app --certfile a --ca-certs b");
    assert_true(fixture_warned(*state, "ca_certs has no effect while cert_reqs is \"none\""));
}

static void python_s_constants_are_known(void **state)
{
    fixture_write("g.py", "import ssl\nwsgi_app = 'm:app'\ncertfile = 'c'\nca_certs = 'a'\n"
                          "cert_reqs = ssl.CERT_REQUIRED\nssl_version = ssl.PROTOCOL_TLSv1_2\n"
                          "http_protocols = ['h1', 'h2']\n");
    struct settings *settings = fixture_run(*state, "-c g.py");
    assert_int_equal(settings->cert_reqs, CERT_REQS_REQUIRED);
    assert_int_equal(settings->ssl_version, SSL_VERSION_TLS12);
    assert_int_equal(settings->tls_min_version, TLS_MIN_VERSION_12);
    assert_protocols(settings, "h1", "h2");
}

static void the_higher_of_the_two_oldest_versions_holds(void **state)
{
    assert_int_equal(fixture_run(*state, "m:app --ssl-version TLSv1_3")->tls_min_version, TLS_MIN_VERSION_13);
    assert_int_equal(fixture_run(*state, "m:app --ssl-version TLSv1_2 --tls-min-version 1.3")->tls_min_version,
                     TLS_MIN_VERSION_13);
}

static void the_sync_worker_falls_back_to_http1(void **state)
{
    static const char warning[] = "HTTP/2 is not supported by the sync worker";

    assert_protocols(fixture_run(*state, "m:app -k sync"), "h1", NULL);
    assert_false(fixture_warned(*state, warning));
    assert_protocols(fixture_run(*state, "m:app -k sync --http-protocols h2,h1"), "h1", NULL);
    assert_true(fixture_warned(*state, warning));
    assert_protocols(fixture_run(*state, "m:app -k sync --http-protocols h2"), "h1", NULL);
    assert_true(fixture_warned(*state, warning));
    assert_int_equal(fixture_run(*state, "m:app -k sync --http2-cleartext prior-knowledge")->http2_cleartext,
                     HTTP2_CLEARTEXT_OFF);
    assert_true(fixture_warned(*state, warning));
    /* With threads it is gthread. */
    assert_protocols(fixture_run(*state, "m:app -k sync --threads 2 --http-protocols h2"), "h2", NULL);
    assert_false(fixture_warned(*state, warning));
}

static void both_ways_of_cleartext_are_one(void **state)
{
    assert_int_equal(fixture_run(*state, "m:app --http2-cleartext both")->http2_cleartext,
                     HTTP2_CLEARTEXT_PRIOR_KNOWLEDGE);
    assert_true(fixture_warned(*state, "only prior knowledge is offered"));
    assert_int_equal(fixture_run(*state, "m:app --http2-cleartext off")->http2_cleartext, HTTP2_CLEARTEXT_OFF);
}

static void a_development_certificate_lies_in_the_state_directory(void **state)
{
    struct fixture *fixture = *state;

    setenv("XDG_STATE_HOME", fixture->directory, 1);
    struct settings *settings = fixture_run(fixture, "m:app --dev-tls");
    assert_path(fixture, settings->certfile.items[0], "uroboros/dev-certificate.pem");
    assert_path(fixture, settings->keyfile.items[0], "uroboros/dev-key.pem");
    unsetenv("XDG_STATE_HOME");
    setenv("HOME", fixture->directory, 1);
    settings = fixture_run(fixture, "m:app --dev-tls");
    assert_path(fixture, settings->certfile.items[0], ".local/state/uroboros/dev-certificate.pem");
}

static void tables_of_a_file_have_addresses_with_and_without_tls(void **state)
{
    char expected[5 * FIXTURE_PATH_BYTES];
    struct fixture *fixture = *state;

    fixture_write("a.toml", "wsgi_app = 'm:app'\n[[listen]]\naddress = ':8443'\ncertfile = ['a', 'b']\n"
                            "keyfile = ['c', 'd']\n[[listen]]\naddress = ':8000'\n");
    struct settings *settings = fixture_run(fixture, "-c a.toml");
    assert_int_equal(settings->bind.count, 0);
    assert_int_equal(settings->listen.count, 2);
    snprintf(expected, sizeof(expected), "address=:8443\ntls=true\ncertfile=%1$s/a,%1$s/b\nkeyfile=%1$s/c,%1$s/d",
             fixture->directory);
    assert_string_equal(settings->listen.items[0], expected);
    assert_string_equal(settings->listen.items[1], "address=:8000\ntls=false");
    assert_true(settings_have_tls(settings));
    assert_int_equal(fixture_run(fixture, "-c a.toml -b :9000")->bind.count, 1);

    fixture_write("b.toml", "[[listen]]\naddress = ':1'\ncertfile = '/a'\nhttp_protocols = ['h1', 'h2']\n");
    settings = fixture_run(fixture, "m:app -c b.toml");
    assert_string_equal(settings->listen.items[0],
                        "address=:1\ntls=true\ncertfile=/a\nkeyfile=/a\nhttp_protocols=h1,h2");
    settings = fixture_run(fixture, "m:app -c b.toml -k sync");
    assert_string_equal(settings->listen.items[0], "address=:1\ntls=true\ncertfile=/a\nkeyfile=/a");
    assert_true(fixture_warned(fixture, "HTTP/2 is not supported by the sync worker"));

    settings = fixture_run(fixture, "-c a.toml --certfile x");
    assert_string_equal(settings->listen.items[1], "address=:8000\ntls=true");
}

static void a_wrong_table_is_refused(void **state)
{
    static const char *const rows[][2] = {
        {"listen = [{address = ':1', tls = true}]", ":1: tls = true needs a certfile, here or for all"},
        {"listen = [{address = ':1', tls = false, certfile = 'a'}]",
         ":1: tls = false contradicts a certificate of its own"},
        {"listen = [{address = ':1', keyfile = 'a'}]", "keyfile without certfile: name the certificate of the key as "
                                                       "well"},
        {"listen = [{address = ':1'}, {address = ':1'}]", "0.0.0.0:1 is there twice"},
        {"bind = ':1'\nlisten = [{address = ':1'}]", "0.0.0.0:1 is there twice"},
        {"listen = [{}]", "a table without an address"},
        {"listen = [{address = ':1', http_protocols = 'h1'}]",
         ":1: http_protocols are offered by TLS; without it http2_cleartext decides"},
        {"listen = [{address = ':1', certfile = 'a', http_protocols = 'h3'}]", "\"h3\": HTTP/3 runs over QUIC"},
        {"listen = ':1'", "expected tables [[listen]] in a settings file"},
        {"listen = [{address = {}}]", "expected tables [[listen]] in a settings file"},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fixture_write("a.toml", rows[i][0]);
        assert_int_equal(fixture_load(fixture, "m:app -c a.toml"), SETTINGS_FAILED);
        if (strstr(fixture->outcome.message, rows[i][1]) == NULL)
            fail_msg("%s: %s", rows[i][0], fixture->outcome.message);
    }
    fixture_fail(fixture, "m:app --listen :1",
                 "uroboros: command line: --listen = \":1\": expected tables [[listen]] in a settings file");
}

static enum settings_verdict reload(struct fixture *fixture, char *line, struct settings *ret_fresh,
                                    struct settings_outcome *ret_outcome)
{
    char *arguments[FIXTURE_ARGUMENTS_MAX];
    int count = fixture_arguments(line, arguments);

    return settings_reload(count, arguments, &fixture->settings, ret_fresh, ret_outcome);
}

static void a_reload_brings_other_certificates_and_turns_no_tls_on_or_off(void **state)
{
    struct fixture *fixture = *state;
    struct settings fresh = {};
    struct settings_outcome outcome;
    char other[] = "m:app --certfile b --keyfile c", none[] = "m:app";

    fixture_run(fixture, "m:app --certfile a");
    assert_int_equal(reload(fixture, other, &fresh, &outcome), SETTINGS_RUN);
    assert_path(fixture, fresh.keyfile.items[0], "c");
    assert_int_equal(outcome.changed.count, 2);
    settings_outcome_deinit(&outcome);
    settings_deinit(&fresh);

    assert_int_equal(reload(fixture, none, &fresh, &outcome), SETTINGS_RUN);
    assert_path(fixture, fresh.certfile.items[0], "a");
    assert_path(fixture, fresh.keyfile.items[0], "a");
    assert_int_equal(outcome.needs_restart.count, 2);
    assert_string_equal(outcome.needs_restart.items[0], "certfile");
    settings_outcome_deinit(&outcome);
    settings_deinit(&fresh);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(there_is_no_tls_without_a_certificate),
        TEST(paths_start_in_chdir),
        TEST(a_credential_of_the_unit_lies_where_systemd_says),
        TEST(without_credentials_the_setting_that_wants_one_is_named),
        TEST(one_file_may_hold_the_chain_and_its_key),
        TEST(what_does_not_go_together_is_refused_with_one_sentence),
        TEST(authorities_that_nobody_asks_for_are_a_warning),
        TEST(python_s_constants_are_known),
        TEST(the_higher_of_the_two_oldest_versions_holds),
        TEST(the_sync_worker_falls_back_to_http1),
        TEST(both_ways_of_cleartext_are_one),
        TEST(a_development_certificate_lies_in_the_state_directory),
        TEST(tables_of_a_file_have_addresses_with_and_without_tls),
        TEST(a_wrong_table_is_refused),
        TEST(a_reload_brings_other_certificates_and_turns_no_tls_on_or_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
