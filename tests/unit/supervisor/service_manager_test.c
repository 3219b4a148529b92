#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/owned.h"
#include "daemon/supervisor/service_manager.h"
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct fixture {
    int socket;
    char address[64];
    struct service_manager manager;
};

static void clear_environment(void)
{
    static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                        "LISTEN_PID",    "LISTEN_FDS",    "LISTEN_FDNAMES"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_non_null(fixture);
    clear_environment();
    snprintf(fixture->address, sizeof fixture->address, "@uroboros-notify-%d", (int)getpid());
    memcpy(address.sun_path + 1, fixture->address + 1, strlen(fixture->address) - 1);
    fixture->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(fixture->address));
    assert_int_equal(bind(fixture->socket, (struct sockaddr *)&address, length), 0);
    fixture->manager.notify = -1;
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    service_manager_deinit(&fixture->manager);
    fd_drop(&fixture->socket);
    free(fixture);
    return 0;
}

static const char *received(struct fixture *fixture)
{
    static char text[1024];
    ssize_t length = recv(fixture->socket, text, sizeof text - 1, 0);
    text[length < 0 ? 0 : length] = '\0';
    return text;
}

static void set_number(const char *name, long number)
{
    char text[32];
    snprintf(text, sizeof text, "%ld", number);
    setenv(name, text, 1);
}

static void without_a_service_manager_nothing_happens(void **state)
{
    struct fixture *fixture = *state;
    service_manager_init(&fixture->manager);
    service_manager_ready(&fixture->manager, "serving");
    service_manager_alive(&fixture->manager);
    assert_int_equal(fixture->manager.notify, -1);
    assert_int_equal(fixture->manager.listen_count, 0);
    assert_int_equal(fixture->manager.watchdog_ms, 0);
}

static void each_change_is_told_in_the_words_of_sd_notify(void **state)
{
    struct fixture *fixture = *state;
    char expected[128];
    setenv("NOTIFY_SOCKET", fixture->address, 1);
    service_manager_init(&fixture->manager);
    service_manager_ready(&fixture->manager, "serving");
    snprintf(expected, sizeof expected, "READY=1\nSTATUS=serving\nMAINPID=%d", (int)getpid());
    assert_string_equal(received(fixture), expected);
    service_manager_reloading(&fixture->manager);
    assert_int_equal(strncmp(received(fixture), "RELOADING=1\nMONOTONIC_USEC=", 27), 0);
    service_manager_status(&fixture->manager, "serving: 2");
    assert_string_equal(received(fixture), "STATUS=serving: 2");
    service_manager_stopping(&fixture->manager, "finishing");
    assert_string_equal(received(fixture), "STOPPING=1\nSTATUS=finishing");
    service_manager_alive(&fixture->manager);
    assert_string_equal(received(fixture), "WATCHDOG=1");
    service_manager_extend(&fixture->manager, 10'000);
    assert_string_equal(received(fixture), "EXTEND_TIMEOUT_USEC=10000000");
}

static void the_watchdog_is_fed_twice_per_interval(void **state)
{
    struct fixture *fixture = *state;
    setenv("WATCHDOG_USEC", "30000000", 1);
    set_number("WATCHDOG_PID", getpid());
    service_manager_init(&fixture->manager);
    assert_int_equal(fixture->manager.watchdog_ms, 15'000);
}

static void what_is_meant_for_another_process_is_ignored(void **state)
{
    struct fixture *fixture = *state;
    setenv("WATCHDOG_USEC", "30000000", 1);
    set_number("WATCHDOG_PID", getpid() + 1);
    set_number("LISTEN_PID", getpid() + 1);
    setenv("LISTEN_FDS", "2", 1);
    service_manager_init(&fixture->manager);
    assert_int_equal(fixture->manager.watchdog_ms, 0);
    assert_int_equal(fixture->manager.listen_count, 0);
}

static void inherited_sockets_are_counted_and_the_variables_taken_out(void **state)
{
    struct fixture *fixture = *state;
    set_number("LISTEN_PID", getpid());
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_FDNAMES", "web:admin", 1);
    setenv("NOTIFY_SOCKET", fixture->address, 1);
    service_manager_init(&fixture->manager);
    assert_int_equal(fixture->manager.listen_count, 2);
    assert_string_equal(fixture->manager.listen_names, "web:admin");
    assert_null(getenv("LISTEN_FDNAMES"));
    assert_null(getenv("LISTEN_PID"));
    assert_null(getenv("LISTEN_FDS"));
    assert_null(getenv("NOTIFY_SOCKET"));
}

static void sockets_of_the_program_before_are_found_again_and_closed_at_the_end(void **state)
{
    struct fixture *fixture = *state;
    int last = dup(STDIN_FILENO);
    while (last < SERVICE_MANAGER_FIRST_FD + 1) /* both numbers are open, whoever opened them */
        last = dup(STDIN_FILENO);
    service_manager_init(&fixture->manager);
    service_manager_adopt_sockets(&fixture->manager, 2, "web:admin");
    assert_string_equal(fixture->manager.listen_names, "web:admin");
    service_manager_adopt_sockets(&fixture->manager, 2, "");
    assert_null(fixture->manager.listen_names);
    fixture->socket = fcntl(fixture->socket, F_DUPFD_CLOEXEC, 100); /* which may be one of the two numbers */
    service_manager_close_sockets(&fixture->manager);
    assert_int_equal(fixture->manager.listen_count, 0);
    assert_int_equal(fcntl(SERVICE_MANAGER_FIRST_FD, F_GETFD), -1);
    assert_int_equal(fcntl(SERVICE_MANAGER_FIRST_FD + 1, F_GETFD), -1);
}

static void nonsense_is_ignored(void **state)
{
    static const char *const nonsense[] = {"-1", "x", "", "99999999999999999999", "3x"};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        set_number("LISTEN_PID", getpid());
        setenv("LISTEN_FDS", nonsense[i], 1);
        setenv("WATCHDOG_USEC", nonsense[i], 1);
        setenv("NOTIFY_SOCKET", nonsense[i], 1);
        service_manager_init(&fixture->manager);
        assert_int_equal(fixture->manager.listen_count, 0);
        assert_int_equal(fixture->manager.watchdog_ms, 0);
        assert_int_equal(fixture->manager.notify, -1);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(without_a_service_manager_nothing_happens),
        TEST(each_change_is_told_in_the_words_of_sd_notify),
        TEST(the_watchdog_is_fed_twice_per_interval),
        TEST(what_is_meant_for_another_process_is_ignored),
        TEST(inherited_sockets_are_counted_and_the_variables_taken_out),
        TEST(sockets_of_the_program_before_are_found_again_and_closed_at_the_end),
        TEST(nonsense_is_ignored),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
