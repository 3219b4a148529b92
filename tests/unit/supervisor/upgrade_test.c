#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/owned.h"
#include "daemon/supervisor/handover.h"
#include "daemon/supervisor/supervisor_state.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { TEXT_BYTES = 8'192, EXECUTED = 42 };

/* A server that serves without a process; the program that it is upgraded to is a script. */
struct fixture {
    struct supervisor supervisor;
    char directory[64];
    char *argv[3];
    char app[16];
    int log;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    struct supervisor *supervisor = &fixture->supervisor;
    fixture->log = memfd_create("log", MFD_CLOEXEC);
    log_init("test", LOG_LEVEL_INFO, fixture->log);
    strcpy(fixture->directory, "/tmp/uroboros-upgrade-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    assert_int_equal(event_loop_init(&supervisor->loop), 0);
    snprintf(supervisor->program, sizeof supervisor->program, "%s/program", fixture->directory);
    strcpy(fixture->app, "site:app");
    fixture->argv[0] = supervisor->program;
    fixture->argv[1] = fixture->app;
    supervisor->argv = fixture->argv;
    supervisor->argc = 2;
    supervisor->manager.notify = -1;
    supervisor->logs = (struct log_files){.error = fixture->log, .access = -1};
    supervisor->settings.start_directory = fixture->directory;
    supervisor->state = SUPERVISOR_SERVING;
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = &fixture->supervisor;
    char command[96];
    upgrade_give_up(supervisor);
    while (child_lives(&supervisor->upgrade.checker))
        assert_int_equal(event_loop_turn(&supervisor->loop), 0);
    event_loop_deinit(&supervisor->loop);
    log_set_fd(STDERR_FILENO);
    close(fixture->log);
    assert_int_equal(chdir("/"), 0); /* an execution that failed has been where the server was started */
    snprintf(command, sizeof command, "rm -r %s", fixture->directory);
    assert_int_equal(system(command), 0);
    free(fixture);
    return 0;
}

static void install(const struct fixture *fixture, const char *script)
{
    OWNED_FD fd = open(fixture->supervisor.program, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, script, strlen(script)), strlen(script));
}

static void run_until_checked(struct fixture *fixture)
{
    while (child_lives(&fixture->supervisor.upgrade.checker))
        assert_int_equal(event_loop_turn(&fixture->supervisor.loop), 0);
}

static const char *logged(const struct fixture *fixture)
{
    static char text[TEXT_BYTES];
    ssize_t length = pread(fixture->log, text, sizeof text - 1, 0);
    text[length < 0 ? 0 : length] = '\0';
    return text;
}

static void assert_logged(const struct fixture *fixture, const char *words)
{
    if (strstr(logged(fixture), words) == NULL)
        fail_msg("'%s' is not in: %s", words, logged(fixture));
}

static enum upgrade_state state_of(const struct fixture *fixture)
{
    return fixture->supervisor.upgrade.state;
}

static void the_new_program_is_tried_first_with_our_own_arguments(void **state)
{
    struct fixture *fixture = *state;
    install(fixture, "#!/bin/sh\necho \"asked: $*, in $PWD\" >&2\n");
    upgrade_begin(&fixture->supervisor);
    assert_int_equal(state_of(fixture), UPGRADE_CHECKING);
    run_until_checked(fixture);
    assert_int_equal(state_of(fixture), UPGRADE_PROVEN);
    assert_logged(fixture, "asked: --check-config site:app, in /tmp/uroboros-upgrade-");
    assert_logged(fixture, "the new program is good");
}

static void what_we_have_is_told_to_the_one_that_is_tried_and_to_nobody_else(void **state)
{
    struct fixture *fixture = *state;
    struct listener *listener = &fixture->supervisor.listeners.items[0];
    listener->fd_count = 1;
    listener->fds[0] = fixture->log;
    snprintf(listener->key, sizeof listener->key, "127.0.0.1:81");
    fixture->supervisor.listeners.count = 1;
    install(fixture, "#!/bin/sh\necho taken: $(tr '\\0' '\\n' <&$_UROBOROS_HANDOVER | grep -a -o '127.0.0.1:81') >&2\n"
                     "echo format: ${_UROBOROS_HANDOVER_FORMAT:?} >&2\n");
    upgrade_begin(&fixture->supervisor);
    assert_null(getenv("_UROBOROS_HANDOVER"));
    assert_null(getenv("_UROBOROS_HANDOVER_FORMAT"));
    run_until_checked(fixture);
    assert_logged(fixture, "taken: 127.0.0.1:81");
    assert_logged(fixture, "format: ");
    assert_int_equal(state_of(fixture), UPGRADE_PROVEN);
    fixture->supervisor.listeners.count = 0;
}

static void one_that_refuses_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    install(fixture, "#!/bin/sh\nexit 3\n");
    upgrade_begin(&fixture->supervisor);
    run_until_checked(fixture);
    assert_int_equal(state_of(fixture), UPGRADE_IDLE);
    assert_logged(fixture, "upgrade failed, nothing has changed: its --check-config exited with status 3");
    assert_string_equal(fixture->supervisor.status.trouble,
                        "the last upgrade failed: its --check-config exited with status 3");
    assert_false(fixture->supervisor.upgrade.deadline.armed);
    assert_false(fixture->supervisor.upgrade.retry.armed);
}

static void one_that_is_not_there_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    upgrade_begin(&fixture->supervisor);
    assert_int_equal(state_of(fixture), UPGRADE_IDLE);
    assert_logged(fixture, "upgrade failed, nothing has changed: ");
    assert_logged(fixture, "program is not there");
    assert_null(getenv("_UROBOROS_HANDOVER"));
}

static void one_that_goes_between_the_trial_and_its_execution_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    install(fixture, "#!/bin/sh\nrm \"$0\"\n");
    upgrade_begin(&fixture->supervisor);
    run_until_checked(fixture);
    upgrade_settle(&fixture->supervisor);
    assert_int_equal(state_of(fixture), UPGRADE_IDLE);
    assert_logged(fixture, "upgrade failed, nothing has changed: No such file or directory");
    assert_null(getenv("_UROBOROS_HANDOVER"));
}

/* Runs in a process of its own, which becomes the new program. */
static void execute(struct fixture *fixture)
{
    upgrade_begin(&fixture->supervisor);
    run_until_checked(fixture);
    upgrade_settle(&fixture->supervisor);
}

static void one_that_is_good_is_executed_in_our_place_and_told_of_all(void **state)
{
    struct fixture *fixture = *state;
    char script[512], expected[64];
    int status;
    snprintf(script, sizeof script,
             "#!/bin/sh\ncase $1 in --check-config) exit 0;; esac\n"
             "test -e /proc/$$/fd/$_UROBOROS_HANDOVER && echo $$ was executed: $* >said\nexit %d\n",
             EXECUTED);
    install(fixture, script);
    pid_t pid = fork();
    if (pid == 0) {
        execute(fixture);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXECUTED);
    snprintf(expected, sizeof expected, "%d was executed: site:app\n", (int)pid);
    snprintf(script, sizeof script, "%s/said", fixture->directory);
    OWNED_FD said = open(script, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(said, script, sizeof script - 1);
    assert_true(length >= 0);
    script[length] = '\0';
    assert_string_equal(script, expected);
}

static void it_waits_until_a_start_or_a_reload_is_over(void **state)
{
    static const enum supervisor_state busy[] = {SUPERVISOR_STARTING, SUPERVISOR_RELOADING};
    struct fixture *fixture = *state;
    install(fixture, "#!/bin/sh\n");
    for (size_t i = 0; i < sizeof busy / sizeof busy[0]; i++) {
        fixture->supervisor.upgrade.state = UPGRADE_IDLE;
        fixture->supervisor.state = busy[i];
        upgrade_begin(&fixture->supervisor);
        upgrade_settle(&fixture->supervisor);
        assert_int_equal(state_of(fixture), UPGRADE_WAITING);
    }
    assert_logged(fixture, "the upgrade waits until the server has started or reloaded");
    fixture->supervisor.state = SUPERVISOR_SERVING;
    upgrade_settle(&fixture->supervisor);
    assert_int_equal(state_of(fixture), UPGRADE_CHECKING);
}

static void a_second_one_or_one_of_a_server_that_ends_is_refused(void **state)
{
    struct fixture *fixture = *state;
    install(fixture, "#!/bin/sh\nexec sleep 60\n");
    upgrade_begin(&fixture->supervisor);
    upgrade_begin(&fixture->supervisor);
    assert_logged(fixture, "no upgrade is begun: another one is under way");
    fixture->supervisor.state = SUPERVISOR_DRAINING;
    upgrade_begin(&fixture->supervisor);
    assert_logged(fixture, "no upgrade is begun: the server stops");
}

/* A kill at once would leave the processes that it has started. */
static void a_stop_ends_the_trial_in_peace_first(void **state)
{
    struct fixture *fixture = *state;
    install(fixture,
            "#!/bin/sh\ntrap 'echo in peace >&2; exit 0' TERM\necho begun >&2\nwhile :; do sleep 0.01; done\n");
    upgrade_begin(&fixture->supervisor);
    while (strstr(logged(fixture), "begun") == NULL)
        sched_yield();
    upgrade_give_up(&fixture->supervisor);
    assert_int_equal(state_of(fixture), UPGRADE_IDLE);
    run_until_checked(fixture);
    assert_logged(fixture, "in peace");
    assert_int_equal(state_of(fixture), UPGRADE_IDLE); /* that it ended well proves nothing any more */
}

static void the_time_tries_again_only_while_processes_are_missing(void **state)
{
    struct fixture *fixture = *state;
    upgrade_retry_later(&fixture->supervisor);
    assert_false(fixture->supervisor.upgrade.retry.armed);
    fixture->supervisor.state = SUPERVISOR_KEEPING;
    upgrade_retry_later(&fixture->supervisor);
    assert_false(fixture->supervisor.upgrade.retry.armed);
    fixture->supervisor.predecessors.incomplete = true;
    upgrade_retry_later(&fixture->supervisor);
    assert_true(fixture->supervisor.upgrade.retry.armed);
    uint64_t at_ms = fixture->supervisor.upgrade.retry.at_ms;
    assert_true(at_ms > event_loop_now_ms());
    upgrade_retry_later(&fixture->supervisor);
    assert_int_equal(fixture->supervisor.upgrade.retry.at_ms, at_ms);
    upgrade_give_up(&fixture->supervisor);
    assert_false(fixture->supervisor.upgrade.retry.armed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_new_program_is_tried_first_with_our_own_arguments),
        TEST(what_we_have_is_told_to_the_one_that_is_tried_and_to_nobody_else),
        TEST(one_that_refuses_changes_nothing),
        TEST(one_that_is_not_there_changes_nothing),
        TEST(one_that_goes_between_the_trial_and_its_execution_changes_nothing),
        TEST(one_that_is_good_is_executed_in_our_place_and_told_of_all),
        TEST(it_waits_until_a_start_or_a_reload_is_over),
        TEST(a_second_one_or_one_of_a_server_that_ends_is_refused),
        TEST(a_stop_ends_the_trial_in_peace_first),
        TEST(the_time_tries_again_only_while_processes_are_missing),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
