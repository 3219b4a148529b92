#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/owned.h"
#include "daemon/supervisor/supervisor_state.h"

#include <stdio.h>
#include <string.h>

#define READY_WORDS "READY=1\nSTATUS=serving: 3 application processes, 2 addresses\n"

enum { WANTED = 3 };

/* A server that is said to be somewhere in its life: nothing of it runs. */
struct fixture {
    struct supervisor supervisor;
    struct app_child apps[WANTED + 1];
    int socket;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    struct supervisor *supervisor = &fixture->supervisor;
    struct service_manager *manager = &supervisor->manager;
    char name[64];

    manager->address.sun_family = AF_UNIX;
    int length = snprintf(name, sizeof name, "uroboros-status-%d", (int)getpid());
    memcpy(manager->address.sun_path + 1, name, (size_t)length);
    manager->address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    fixture->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    manager->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fixture->socket, (struct sockaddr *)&manager->address, manager->address_bytes), 0);
    supervisor->state = SUPERVISOR_SERVING;
    supervisor->shape.apps = WANTED + 1;
    supervisor->apps.wanted = WANTED;
    supervisor->listeners.count = 2;
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    close(fixture->supervisor.manager.notify);
    close(fixture->socket);
    free(fixture);
    return 0;
}

static void put_apps(struct fixture *fixture, uint32_t count, enum app_state state)
{
    for (uint32_t i = 0; i < count; i++) {
        fixture->apps[i].state = state;
        fixture->supervisor.apps.children[i] = &fixture->apps[i];
    }
}

/* The next message without its first word; "" when there is none. */
static const char *said(struct fixture *fixture)
{
    static char text[1'024];
    ssize_t length = recv(fixture->socket, text, sizeof text - 1, 0);
    text[length < 0 ? 0 : length] = '\0';
    return strncmp(text, "STATUS=", 7) == 0 ? text + 7 : text;
}

static void assert_says(struct fixture *fixture, const char *expected)
{
    service_status_refresh(&fixture->supervisor);
    assert_string_equal(said(fixture), expected);
}

static void what_is_said_once_is_not_said_again(void **state)
{
    struct fixture *fixture = *state;
    put_apps(fixture, WANTED, APP_SERVING);
    assert_says(fixture, "serving: 3 application processes, 2 addresses");
    assert_says(fixture, "");
    fixture->supervisor.listeners.count = 1;
    assert_says(fixture, "serving: 3 application processes, 1 address");
}

static void ready_comes_with_the_words_and_counts_as_said(void **state)
{
    struct fixture *fixture = *state;
    put_apps(fixture, WANTED, APP_SERVING);
    service_status_ready(&fixture->supervisor);
    assert_memory_equal(said(fixture), READY_WORDS, sizeof READY_WORDS - 1);
    assert_says(fixture, "");
}

static void those_that_are_missing_and_those_that_leave_are_counted(void **state)
{
    struct fixture *fixture = *state;
    put_apps(fixture, WANTED, APP_SERVING);
    fixture->apps[1].state = APP_DRAINING;
    assert_says(fixture, "serving: 2 of 3 application processes, 2 addresses; 1 finishes its requests");
    fixture->apps[2].state = APP_DRAINING;
    assert_says(fixture, "serving: 1 of 3 application processes, 2 addresses; 2 finish their requests");
}

static void dying_again_and_again_is_said_while_some_are_missing(void **state)
{
    struct fixture *fixture = *state;
    fixture->supervisor.apps.backoff.delay_ms = 1'000;
    put_apps(fixture, 2, APP_SERVING);
    assert_says(fixture, "serving: 2 of 3 application processes, 2 addresses; they keep dying");
    put_apps(fixture, WANTED, APP_SERVING);
    assert_says(fixture, "serving: 3 application processes, 2 addresses");
}

static void what_failed_stands_behind_until_something_worked(void **state)
{
    struct fixture *fixture = *state;
    put_apps(fixture, WANTED, APP_SERVING);
    service_status_failed(&fixture->supervisor, "reload", "line 3: workers");
    assert_says(fixture, "serving: 3 application processes, 2 addresses; the last reload failed: line 3: workers");
    service_status_worked(&fixture->supervisor);
    assert_says(fixture, "serving: 3 application processes, 2 addresses");
}

static void a_start_says_how_far_it_is(void **state)
{
    struct fixture *fixture = *state;
    fixture->supervisor.state = SUPERVISOR_STARTING;
    put_apps(fixture, 1, APP_SERVING);
    assert_says(fixture, "starting: 1 of 3 application processes ready");
    fixture->supervisor.predecessors.first =
        (struct predecessor *)(void *)fixture; /* only asked whether there is one */
    assert_says(fixture, "starting: 1 of 3 application processes ready; those of the program before this one serve");
}

static void a_reload_says_how_far_it_is(void **state)
{
    struct fixture *fixture = *state;
    fixture->supervisor.state = SUPERVISOR_RELOADING;
    put_apps(fixture, 2, APP_WAITING);
    assert_says(fixture, "reloading: 2 of 3 application processes of the new settings ready");
}

static void an_upgrade_is_said_from_the_waiting_to_the_end_of_the_old_ones(void **state)
{
    struct fixture *fixture = *state;
    put_apps(fixture, WANTED, APP_SERVING);
    fixture->supervisor.upgrade.state = UPGRADE_WAITING;
    assert_says(fixture, "serving: 3 application processes, 2 addresses; an upgrade waits");
    fixture->supervisor.upgrade.state = UPGRADE_CHECKING;
    assert_says(fixture, "upgrading: trying the new program");
    fixture->supervisor.upgrade.state = UPGRADE_IDLE;
    fixture->supervisor.predecessors.first = (struct predecessor *)(void *)fixture;
    assert_says(fixture, "serving: 3 application processes, 2 addresses; the program before this one finishes its "
                         "requests");
}

static void a_program_that_cannot_start_says_who_serves_and_whether_all_of_them(void **state)
{
    struct fixture *fixture = *state;
    fixture->supervisor.state = SUPERVISOR_KEEPING;
    fixture->supervisor.apps.wanted = 0;
    service_status_failed(&fixture->supervisor, "upgrade", "no port");
    assert_says(fixture, "serving by the processes of the program before this one; the last upgrade failed: no port");
    fixture->supervisor.predecessors.incomplete = true;
    assert_says(fixture, "serving by what is left of the processes of the program before this one; the last upgrade "
                         "failed: no port");
}

static void nothing_is_said_while_the_server_ends_or_only_tries(void **state)
{
    struct fixture *fixture = *state;
    fixture->supervisor.state = SUPERVISOR_DRAINING;
    assert_says(fixture, "");
    fixture->supervisor.state = SUPERVISOR_SERVING;
    fixture->supervisor.settings.check_config = true;
    assert_says(fixture, "");
}

/* Longer than what systemd takes in one message is cut, and nothing else is lost by it. */
static void a_reason_without_end_is_cut(void **state)
{
    struct fixture *fixture = *state;
    char why[1'000];
    memset(why, 'w', sizeof why - 1);
    why[sizeof why - 1] = '\0';
    put_apps(fixture, WANTED, APP_SERVING);
    service_status_failed(&fixture->supervisor, "reload", why);
    service_status_refresh(&fixture->supervisor);
    const char *text = said(fixture);
    assert_true(strlen(text) < SERVICE_STATUS_BYTES);
    assert_non_null(strstr(text, "2 addresses; the last reload failed: www"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_said_once_is_not_said_again),
        TEST(ready_comes_with_the_words_and_counts_as_said),
        TEST(those_that_are_missing_and_those_that_leave_are_counted),
        TEST(dying_again_and_again_is_said_while_some_are_missing),
        TEST(what_failed_stands_behind_until_something_worked),
        TEST(a_start_says_how_far_it_is),
        TEST(a_reload_says_how_far_it_is),
        TEST(an_upgrade_is_said_from_the_waiting_to_the_end_of_the_old_ones),
        TEST(a_program_that_cannot_start_says_who_serves_and_whether_all_of_them),
        TEST(nothing_is_said_while_the_server_ends_or_only_tries),
        TEST(a_reason_without_end_is_cut),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
