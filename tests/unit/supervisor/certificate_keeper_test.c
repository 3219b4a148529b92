/*
 * The keeper with I/O processes that are a socket each: what they are sent, and what their answers bring about.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "config/settings_arena.h"
#include "daemon/base/log.h"
#include "daemon/supervisor/listener_plan.h"
#include "daemon/supervisor/supervisor_state.h"
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RINGS = 2 };

struct fixture {
    struct supervisor supervisor;
    char directory[64];
    char paths[3][96]; /* chain, key, ticket keys */
    int theirs[RINGS]; /* the I/O processes' ends */
    int log;
};

static void write_file(const char *path, const char *text)
{
    char fresh[128];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    FILE *file = fopen(fresh, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(fresh, path), 0);
}

static char *text_of(struct supervisor *supervisor, const char *text)
{
    char *copy = settings_arena_string(supervisor->settings.arena, text);
    assert_non_null(copy);
    return copy;
}

static void open_ring(struct fixture *fixture, uint32_t ring)
{
    struct io_child *io = &fixture->supervisor.io.rings[ring];
    int fds[2];

    assert_int_equal(control_pair(fds), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    fixture->theirs[ring] = fds[1];
    io->supervisor = &fixture->supervisor;
    io->index = ring;
    io->generation++;
    io->state = IO_SERVING;
    io->child = (struct child){.pid = 1, .control.fd = fds[0], .exit.fd = -1};
}

static void close_ring(struct fixture *fixture, uint32_t ring)
{
    struct io_child *io = &fixture->supervisor.io.rings[ring];
    close(io->child.control.fd);
    close(fixture->theirs[ring]);
    io->child = (struct child){};
    io->state = IO_ABSENT;
}

static void begin(struct fixture *fixture)
{
    struct supervisor *supervisor = &fixture->supervisor;
    struct settings *settings = &supervisor->settings;
    struct listener_plan plan;
    char why[CERTIFICATE_WHY_BYTES];

    assert_int_equal(string_list_add(settings->arena, &settings->certfile, text_of(supervisor, fixture->paths[0])), 0);
    assert_int_equal(string_list_add(settings->arena, &settings->keyfile, text_of(supervisor, fixture->paths[1])), 0);
    settings->tls_tickets = true;
    assert_int_equal(listener_plan_make(settings, settings->arena, &plan, why), 0);
    assert_int_equal(certificate_keeper_init(supervisor, &plan, why), 0);
    for (uint32_t ring = 0; ring < RINGS; ring++)
        open_ring(fixture, ring);
}

static int set_up(void **state)
{
    static const char *const names[] = {"chain", "key", "tickets"};
    struct fixture *fixture = calloc(1, sizeof *fixture);
    char directory[] = "/tmp/uroboros-keeper-XXXXXX";

    assert_non_null(fixture);
    assert_non_null(mkdtemp(directory));
    strcpy(fixture->directory, directory);
    for (int i = 0; i < 3; i++)
        snprintf(fixture->paths[i], sizeof fixture->paths[i], "%s/%s", directory, names[i]);
    write_file(fixture->paths[0], "chain 1");
    write_file(fixture->paths[1], "key 1");
    fixture->log = memfd_create("log", MFD_CLOEXEC);
    log_init("test", LOG_LEVEL_INFO, fixture->log);
    fixture->supervisor.state = SUPERVISOR_SERVING;
    fixture->supervisor.shape.rings = RINGS;
    fixture->supervisor.fresh_fd = -1;
    fixture->supervisor.settings.arena = settings_arena_create();
    begin(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[96];

    for (uint32_t ring = 0; ring < RINGS; ring++)
        if (fixture->supervisor.io.rings[ring].child.pid != 0)
            close_ring(fixture, ring);
    certificate_keeper_deinit(&fixture->supervisor);
    settings_deinit(&fixture->supervisor.settings);
    log_set_fd(STDERR_FILENO);
    close(fixture->log);
    snprintf(command, sizeof command, "rm -r %s", fixture->directory);
    free(fixture);
    return system(command);
}

/* How often the log says so. */
static int said(const struct fixture *fixture, const char *what)
{
    char text[16'384] = "";
    int count = 0;
    assert_true(pread(fixture->log, text, sizeof text - 1, 0) >= 0);
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        count++;
    return count;
}

/* What a ring was sent, in words: the text of each chain, "keys" and "ready". */
static void hear(const struct fixture *fixture, uint32_t ring, char *words, size_t bytes)
{
    struct control_message message;
    size_t used = 0;

    words[0] = '\0';
    while (control_receive(fixture->theirs[ring], &message) == 1) {
        char chain[32] = "?";
        if (message.kind == CONTROL_TLS_PAIR)
            assert_true(pread(message.fds[0], chain, sizeof chain - 1, 0) > 0);
        const char *word = message.kind == CONTROL_TLS_PAIR      ? chain
                           : message.kind == CONTROL_TLS_TICKETS ? "keys"
                           : message.kind == CONTROL_TLS_READY   ? "ready"
                                                                 : "?";
        used += (size_t)snprintf(words + used, bytes - used, "%s%s", used == 0 ? "" : ", ", word);
        control_close_fds(&message);
    }
}

static void assert_hears(const struct fixture *fixture, uint32_t ring, const char *expected)
{
    char words[512];
    hear(fixture, ring, words, sizeof words);
    assert_string_equal(words, expected);
}

static void answer(struct fixture *fixture, uint32_t ring, const char *refusal)
{
    struct control_message message = {};
    struct io_child *io = &fixture->supervisor.io.rings[ring];

    if (refusal == NULL) {
        message.payload_bytes = sizeof(struct control_tls_context);
        certificate_keeper_on_taken(io, &message);
        return;
    }
    struct control_tls_refusal *refused = (struct control_tls_refusal *)(void *)message.payload;
    message.payload_bytes = sizeof *refused;
    snprintf(refused->text, sizeof refused->text, "%s", refusal);
    certificate_keeper_on_refused(io, &message);
}

/* Two looks: one that sees the change, one that finds it over. */
static void change(struct fixture *fixture, const char *chain, const char *key)
{
    write_file(fixture->paths[0], chain);
    write_file(fixture->paths[1], key);
    certificate_keeper_check(&fixture->supervisor);
    certificate_keeper_check(&fixture->supervisor);
}

static void die(struct fixture *fixture, uint32_t ring)
{
    close_ring(fixture, ring);
    certificate_keeper_ring_gone(&fixture->supervisor, &fixture->supervisor.io.rings[ring]);
}

static void an_io_process_is_greeted_with_keys_and_certificates(void **state)
{
    struct fixture *fixture = *state;
    certificate_keeper_greet(&fixture->supervisor, &fixture->supervisor.io.rings[0]);
    assert_hears(fixture, 0, "keys, chain 1, ready");
    answer(fixture, 0, NULL);
    assert_int_equal(said(fixture, "new connections"), 0);
}

static void nothing_is_sent_while_nothing_changes(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 3; i++)
        certificate_keeper_check(&fixture->supervisor);
    assert_hears(fixture, 0, "");
    assert_hears(fixture, 1, "");
}

static void one_tries_before_all_get_it(void **state)
{
    struct fixture *fixture = *state;
    change(fixture, "chain 2", "key 2");
    assert_hears(fixture, 0, "chain 2, ready");
    assert_hears(fixture, 1, "");
    answer(fixture, 0, NULL);
    assert_hears(fixture, 1, "chain 2, ready");
    assert_int_equal(said(fixture, "new connections get the new certificates"), 1);
    certificate_keeper_greet(&fixture->supervisor, &fixture->supervisor.io.rings[1]);
    assert_hears(fixture, 1, "keys, chain 2, ready");
}

static void a_change_that_goes_on_is_waited_for(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 4; i++) {
        write_file(fixture->paths[0], "chain 2");
        certificate_keeper_check(&fixture->supervisor);
    }
    assert_hears(fixture, 0, "");
    certificate_keeper_check(&fixture->supervisor);
    certificate_keeper_check(&fixture->supervisor);
    assert_hears(fixture, 0, "chain 2, ready");
}

static void what_is_refused_is_said_once_and_not_tried_again(void **state)
{
    struct fixture *fixture = *state;
    change(fixture, "chain 2", "key 1");
    assert_hears(fixture, 0, "chain 2, ready");
    answer(fixture, 0, "they do not match");
    for (int i = 0; i < 3; i++)
        certificate_keeper_check(&fixture->supervisor);
    assert_hears(fixture, 0, "");
    assert_hears(fixture, 1, "");
    assert_int_equal(said(fixture, "the new certificates are refused, those from before serve on: they do not match"),
                     1);
    certificate_keeper_greet(&fixture->supervisor, &fixture->supervisor.io.rings[1]);
    assert_hears(fixture, 1, "keys, chain 1, ready");

    change(fixture, "chain 2", "key 2");
    assert_hears(fixture, 0, "chain 2, ready");
}

static void an_answer_to_an_earlier_set_decides_nothing(void **state)
{
    struct fixture *fixture = *state;
    certificate_keeper_greet(&fixture->supervisor, &fixture->supervisor.io.rings[0]);
    assert_hears(fixture, 0, "keys, chain 1, ready");
    change(fixture, "chain 2", "key 2");
    assert_hears(fixture, 0, "chain 2, ready");
    answer(fixture, 0, NULL); /* of the greeting */
    assert_hears(fixture, 1, "");
    answer(fixture, 0, "not these");
    assert_hears(fixture, 1, "");
    assert_int_equal(said(fixture, "are refused"), 1);
}

static void an_answer_that_nobody_waits_for_is_nothing(void **state)
{
    struct fixture *fixture = *state;
    change(fixture, "chain 2", "key 2");
    answer(fixture, 1, NULL);
    assert_hears(fixture, 1, "");
    assert_int_equal(said(fixture, "new connections"), 0);
}

static void when_the_one_that_tries_dies_the_next_one_does(void **state)
{
    struct fixture *fixture = *state;
    change(fixture, "chain 2", "key 2");
    die(fixture, 0);
    certificate_keeper_check(&fixture->supervisor);
    assert_hears(fixture, 1, "chain 2, ready");
    answer(fixture, 1, NULL);
    assert_int_equal(said(fixture, "new connections get the new certificates"), 1);
}

static void certificates_that_kill_two_are_not_given_to_a_third(void **state)
{
    struct fixture *fixture = *state;
    change(fixture, "chain 2", "key 2");
    die(fixture, 0);
    certificate_keeper_check(&fixture->supervisor);
    die(fixture, 1);
    open_ring(fixture, 0);
    certificate_keeper_check(&fixture->supervisor);
    assert_hears(fixture, 0, "");
    assert_int_equal(said(fixture, "an I/O process died while it tried them"), 1);
}

static void a_file_that_is_gone_is_said_once(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(unlink(fixture->paths[1]), 0);
    for (int i = 0; i < 3; i++)
        certificate_keeper_check(&fixture->supervisor);
    assert_int_equal(said(fixture, "the new certificates cannot be read, those from before serve on: keyfile: "), 1);
    change(fixture, "chain 2", "key 2");
    assert_hears(fixture, 0, "chain 2, ready");
}

static int check_thrice(struct fixture *fixture, const char *words)
{
    for (int i = 0; i < 3; i++)
        certificate_keeper_check(&fixture->supervisor);
    return said(fixture, words);
}

static void each_reason_why_certificates_cannot_be_read_is_said_once(void **state)
{
    struct fixture *fixture = *state;
    write_file(fixture->paths[1], "");
    assert_int_equal(check_thrice(fixture, "the new certificates cannot be read"), 1);
    assert_int_equal(unlink(fixture->paths[1]), 0);
    assert_int_equal(check_thrice(fixture, "the new certificates cannot be read"), 2);
}

static void each_reason_why_ticket_keys_are_refused_is_said_once(void **state)
{
    static const char refused[] = "the new ticket keys are refused, those from before serve on: tls_ticket_keys: ";
    struct fixture *fixture = *state;
    struct supervisor *supervisor = &fixture->supervisor;
    struct ticket_keys *keys = &supervisor->certificates.keys;
    char why[TICKET_KEYS_WHY_BYTES], eighty[81] = "";

    memset(eighty, 'k', 80);
    write_file(fixture->paths[2], eighty);
    supervisor->settings.tls_ticket_keys = fixture->paths[2];
    ticket_keys_deinit(keys);
    assert_int_equal(ticket_keys_load(keys, fixture->paths[2], why), 0);
    /* As whoever writes it in place leaves it for a moment, and then for good. */
    write_file(fixture->paths[2], "");
    assert_int_equal(check_thrice(fixture, refused), 1);
    write_file(fixture->paths[2], "too short");
    assert_int_equal(check_thrice(fixture, refused), 2);
    write_file(fixture->paths[2], eighty);
    assert_int_equal(check_thrice(fixture, "new ticket keys: "), 1);
    supervisor->settings.tls_ticket_keys = NULL;
}

static void a_bad_one_at_start_ends_the_server(void **state)
{
    struct fixture *fixture = *state;
    fixture->supervisor.state = SUPERVISOR_STARTING;
    certificate_keeper_greet(&fixture->supervisor, &fixture->supervisor.io.rings[0]);
    answer(fixture, 0, "no certificate");
    assert_int_equal(fixture->supervisor.verdict.kind, VERDICT_STOP);
    assert_int_equal(fixture->supervisor.verdict.exit_code, 1);
}

static void files_are_left_alone_but_while_serving(void **state)
{
    struct fixture *fixture = *state;
    fixture->supervisor.state = SUPERVISOR_DRAINING;
    change(fixture, "chain 2", "key 2");
    assert_hears(fixture, 0, "");
}

static void a_reload_is_agreed_when_one_has_tried_it(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = &fixture->supervisor;
    char why[CERTIFICATE_WHY_BYTES];

    write_file(fixture->paths[0], "chain 2");
    supervisor->fresh = supervisor->settings;
    assert_int_equal(certificate_keeper_prepare(supervisor, why), 0);
    supervisor->state = SUPERVISOR_RELOADING;
    assert_false(certificate_keeper_agrees(supervisor));
    assert_false(certificate_keeper_agrees(supervisor));
    assert_hears(fixture, 0, "chain 2, ready");
    answer(fixture, 0, NULL);
    assert_hears(fixture, 1, "");
    assert_true(certificate_keeper_agrees(supervisor));
    certificate_keeper_commit(supervisor);
    for (uint32_t ring = 0; ring < RINGS; ring++)
        assert_hears(fixture, ring, "chain 2, ready, keys");
}

static void a_reload_that_is_given_up_leaves_nothing_of_it(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = &fixture->supervisor;
    char why[CERTIFICATE_WHY_BYTES];

    write_file(fixture->paths[0], "chain 2");
    supervisor->fresh = supervisor->settings;
    assert_int_equal(certificate_keeper_prepare(supervisor, why), 0);
    assert_false(certificate_keeper_agrees(supervisor));
    assert_hears(fixture, 0, "chain 2, ready");
    answer(fixture, 0, NULL);
    certificate_keeper_abandon(supervisor);
    assert_hears(fixture, 0, "chain 1, ready");
    assert_hears(fixture, 1, "");
}

static void a_reload_with_unreadable_files_is_refused_before_it_begins(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = &fixture->supervisor;
    char why[CERTIFICATE_WHY_BYTES];

    supervisor->fresh = supervisor->settings;
    supervisor->fresh.tls_ticket_keys = fixture->paths[2];
    assert_int_equal(certificate_keeper_prepare(supervisor, why), -ENOENT);
    assert_non_null(strstr(why, "tls_ticket_keys: cannot read "));
    supervisor->fresh.tls_ticket_keys = NULL;
    assert_int_equal(unlink(fixture->paths[0]), 0);
    assert_int_equal(certificate_keeper_prepare(supervisor, why), -ENOENT);
    assert_non_null(strstr(why, "certfile: cannot read "));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_io_process_is_greeted_with_keys_and_certificates),
        TEST(nothing_is_sent_while_nothing_changes),
        TEST(one_tries_before_all_get_it),
        TEST(a_change_that_goes_on_is_waited_for),
        TEST(what_is_refused_is_said_once_and_not_tried_again),
        TEST(an_answer_to_an_earlier_set_decides_nothing),
        TEST(an_answer_that_nobody_waits_for_is_nothing),
        TEST(when_the_one_that_tries_dies_the_next_one_does),
        TEST(certificates_that_kill_two_are_not_given_to_a_third),
        TEST(a_file_that_is_gone_is_said_once),
        TEST(each_reason_why_certificates_cannot_be_read_is_said_once),
        TEST(each_reason_why_ticket_keys_are_refused_is_said_once),
        TEST(a_bad_one_at_start_ends_the_server),
        TEST(files_are_left_alone_but_while_serving),
        TEST(a_reload_is_agreed_when_one_has_tried_it),
        TEST(a_reload_that_is_given_up_leaves_nothing_of_it),
        TEST(a_reload_with_unreadable_files_is_refused_before_it_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
