#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/owned.h"
#include "daemon/supervisor/handover.h"
#include "daemon/supervisor/listeners.h"
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { BACKLOG = 16 };

struct fixture {
    struct listeners listeners;
    char directory[64];
    char path[96];
    char why[LISTENERS_WHY_BYTES];
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    strcpy(fixture->directory, "/tmp/uroboros-listen-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->path, sizeof fixture->path, "%s/app.sock", fixture->directory);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    listeners_deinit(&fixture->listeners);
    unlink(fixture->path);
    assert_int_equal(rmdir(fixture->directory), 0);
    free(fixture);
    return 0;
}

static int open_at(struct fixture *fixture, struct listeners *listeners, const char *bind, uint32_t rings)
{
    char text[128];
    char *items[] = {text};
    const struct string_list list = {.count = 1, .items = items};
    const struct listeners_request request = {.bind = &list, .backlog = BACKLOG, .rings = rings};
    snprintf(text, sizeof text, "%s", bind);
    return listeners_open(listeners, &request, fixture->why);
}

static int open_unix(struct fixture *fixture, struct listeners *listeners)
{
    char bind[128];
    snprintf(bind, sizeof bind, "unix:%s", fixture->path);
    return open_at(fixture, listeners, bind, 1);
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &length), 0);
    return value;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    return ntohs(address.sin_port);
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void assert_says(const struct fixture *fixture, const char *expected)
{
    if (strstr(fixture->why, expected) == NULL)
        fail_msg("'%s' does not say '%s'", fixture->why, expected);
}

static void every_ring_gets_a_socket_of_its_own_at_the_port_that_the_kernel_chose(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(open_at(fixture, &fixture->listeners, "127.0.0.1:0", 3), 0);
    const struct listener *listener = &fixture->listeners.items[0];
    assert_int_equal(listener->fd_count, 3);
    assert_int_not_equal(listener->hello.server_port, 0);
    for (uint32_t ring = 0; ring < 3; ring++)
        assert_int_equal(port_of(listener_fd(listener, ring)), listener->hello.server_port);
    assert_int_not_equal(listener_fd(listener, 0), listener_fd(listener, 2));
    assert_int_equal(listener->hello.flags, 0);
    assert_string_equal(listener->hello.server, "127.0.0.1");
}

static void tcp_listeners_pass_their_options_on_to_accepted_sockets(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(open_at(fixture, &fixture->listeners, "127.0.0.1:0", 1), 0);
    const struct listener *listener = &fixture->listeners.items[0];
    assert_true((fcntl(listener->fds[0], F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(listener->fds[0], F_GETFD) & FD_CLOEXEC) != 0);
    [[maybe_unused]] OWNED_FD client = connect_to((uint16_t)listener->hello.server_port);
    OWNED_FD accepted = accept4(listener->fds[0], NULL, NULL, SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    assert_int_equal(option(accepted, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(accepted, SOL_SOCKET, SO_KEEPALIVE), 1);
}

static void a_second_server_is_refused_although_ports_can_be_shared(void **state)
{
    struct fixture *fixture = *state;
    struct listeners second;
    char bind[32];
    for (uint32_t rings = 1; rings <= 2; rings++) {
        assert_int_equal(open_at(fixture, &fixture->listeners, "127.0.0.1:0", rings), 0);
        snprintf(bind, sizeof bind, "127.0.0.1:%u", fixture->listeners.items[0].hello.server_port);
        assert_int_equal(open_at(fixture, &second, bind, rings), -EADDRINUSE);
        assert_says(fixture, "in use");
        assert_int_equal(second.count, 0);
        listeners_deinit(&fixture->listeners);
    }
}

static void ipv6_is_ipv6_only_and_shown_in_brackets(void **state)
{
    struct fixture *fixture = *state;
    char text[128];
    if (open_at(fixture, &fixture->listeners, "[::1]:0", 1) < 0)
        skip(); /* a machine without IPv6 */
    listeners_describe(&fixture->listeners, text, sizeof text);
    assert_int_equal(strncmp(text, "http://[::1]:", 13), 0);
    assert_int_equal(option(fixture->listeners.items[0].fds[0], IPPROTO_IPV6, IPV6_V6ONLY), 1);
}

static void a_unix_socket_is_shared_and_removed_at_the_end(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(open_unix(fixture, &fixture->listeners), 0);
    const struct listener *listener = &fixture->listeners.items[0];
    assert_int_equal(listener->hello.flags, CONTROL_LISTENER_UNIX | CONTROL_LISTENER_SHARED);
    assert_int_equal(listener_fd(listener, 0), listener_fd(listener, 5));
    assert_string_equal(listener->hello.server, fixture->path);
    assert_int_equal(access(fixture->path, F_OK), 0);
    listeners_deinit(&fixture->listeners);
    assert_int_equal(access(fixture->path, F_OK), -1);
}

static void the_umask_gives_a_unix_socket_its_mode(void **state)
{
    struct fixture *fixture = *state;
    struct stat status;
    mode_t before = umask(0117);
    int r = open_unix(fixture, &fixture->listeners);
    umask(before);
    assert_int_equal(r, 0);
    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0660);
}

static void a_socket_that_somebody_answers_on_is_left_alone(void **state)
{
    struct fixture *fixture = *state;
    struct listeners second;
    assert_int_equal(open_unix(fixture, &fixture->listeners), 0);
    assert_int_equal(open_unix(fixture, &second), -EADDRINUSE);
    assert_says(fixture, "another process answers");
    assert_int_equal(access(fixture->path, F_OK), 0);
}

static void a_stale_socket_is_replaced(void **state)
{
    struct fixture *fixture = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    OWNED_FD dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, fixture->path);
    assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof address), 0);
    fd_drop(&dead);
    assert_int_equal(open_unix(fixture, &fixture->listeners), 0);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
    struct fixture *fixture = *state;
    close(open(fixture->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(open_unix(fixture, &fixture->listeners), -EEXIST);
    assert_says(fixture, "no socket");
    assert_int_equal(access(fixture->path, F_OK), 0);
}

static void a_socket_that_another_server_put_in_place_of_ours_stays(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(open_unix(fixture, &fixture->listeners), 0);
    char aside[128];
    snprintf(aside, sizeof aside, "%s.old", fixture->path);
    assert_int_equal(rename(fixture->path, aside), 0);
    close(open(fixture->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    listeners_deinit(&fixture->listeners);
    assert_int_equal(access(fixture->path, F_OK), 0);
    assert_int_equal(unlink(aside), 0);
}

static void an_abstract_socket_has_no_file(void **state)
{
    struct fixture *fixture = *state;
    char bind[64];
    snprintf(bind, sizeof bind, "unix:@uroboros-test-%d", (int)getpid());
    assert_int_equal(open_at(fixture, &fixture->listeners, bind, 1), 0);
    assert_string_equal(fixture->listeners.items[0].text, bind);
    assert_string_equal(fixture->listeners.items[0].path, "");
}

static int listening_socket(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, BACKLOG), 0);
    return fd;
}

static void an_inherited_socket_is_adopted_by_number(void **state)
{
    struct fixture *fixture = *state;
    char bind[32];
    int fd = listening_socket();
    uint16_t port = port_of(fd);
    snprintf(bind, sizeof bind, "fd://%d", fd);
    assert_int_equal(open_at(fixture, &fixture->listeners, bind, 4), 0);
    const struct listener *listener = &fixture->listeners.items[0];
    assert_int_equal(listener->hello.flags, CONTROL_LISTENER_SHARED);
    assert_int_equal(listener->hello.server_port, port);
    assert_true((fcntl(listener->fds[0], F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(listener->fds[0], F_GETFD) & FD_CLOEXEC) != 0);
}

static void what_is_no_listening_socket_is_not_adopted(void **state)
{
    struct fixture *fixture = *state;
    char bind[32];
    OWNED_FD idle = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    OWNED_FD file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    snprintf(bind, sizeof bind, "fd://%d", idle);
    assert_int_equal(open_at(fixture, &fixture->listeners, bind, 1), -EBADF);
    assert_says(fixture, "not listening");
    snprintf(bind, sizeof bind, "fd://%d", file);
    assert_int_equal(open_at(fixture, &fixture->listeners, bind, 1), -EBADF);
    assert_says(fixture, "no socket");
    assert_int_equal(open_at(fixture, &fixture->listeners, "fd://999999", 1), -EBADF);
    assert_says(fixture, "not open");
}

static void socket_activation_takes_the_place_of_bind(void **state)
{
    struct fixture *fixture = *state;
    char address[] = "127.0.0.1:1";
    char *items[] = {address};
    const struct string_list list = {.count = 1, .items = items};
    int fd = listening_socket();
    uint16_t port = port_of(fd);
    const struct listeners_request request = {
        .bind = &list, .backlog = BACKLOG, .rings = 1, .inherited_first = fd, .inherited_count = 1};
    assert_int_equal(listeners_open(&fixture->listeners, &request, fixture->why), 0);
    assert_int_equal(fixture->listeners.count, 1);
    assert_int_equal(fixture->listeners.items[0].hello.server_port, port);
}

static void inherited_sockets_are_adopted_by_their_name(void **state)
{
    struct fixture *fixture = *state;
    char address[] = "fd://web";
    char *items[] = {address};
    const struct string_list list = {.count = 1, .items = items};
    const int32_t tls_contexts[] = {-1};
    const enum listen_proxy proxies[] = {LISTEN_PROXY_V2};
    int first = listening_socket(), second = listening_socket(), third = listening_socket();
    uint16_t first_port = port_of(first), third_port = port_of(third);
    assert_int_equal(third, first + 2);
    const struct listeners_request request = {.bind = &list,
                                              .tls_contexts = tls_contexts,
                                              .proxies = proxies,
                                              .backlog = BACKLOG,
                                              .rings = 2,
                                              .inherited_first = first,
                                              .inherited_count = 3,
                                              .inherited_names = "web:admin:web"};
    assert_int_equal(listeners_open(&fixture->listeners, &request, fixture->why), 0);
    assert_int_equal(fixture->listeners.count, 2);
    assert_int_equal(fixture->listeners.items[0].hello.server_port, first_port);
    assert_int_equal(fixture->listeners.items[1].hello.server_port, third_port);
    assert_int_equal(fixture->listeners.items[0].hello.proxy_protocol, LISTEN_PROXY_V2);
    assert_int_equal(fixture->listeners.items[1].hello.proxy_protocol, LISTEN_PROXY_V2);
    assert_string_equal(fixture->listeners.items[1].key, "fd://web");
    /* The originals stay, for a program that is executed in place of this one, and the one in between is nobody's. */
    assert_int_equal(fixture->listeners.inherited_used, 0b101);
    for (int fd = first; fd <= third; fd++)
        assert_int_equal(close(fd), 0);
    assert_true(second > first);
}

static void one_socket_cannot_be_two_addresses(void **state)
{
    struct fixture *fixture = *state;
    char name[] = "fd://web", number[32];
    char *items[] = {name, number};
    const struct string_list list = {.count = 2, .items = items};
    OWNED_FD fd = listening_socket();
    const struct listeners_request request = {.bind = &list,
                                              .backlog = BACKLOG,
                                              .rings = 1,
                                              .inherited_first = fd,
                                              .inherited_count = 1,
                                              .inherited_names = "web"};
    snprintf(number, sizeof number, "fd://%d", fd);
    assert_int_equal(listeners_open(&fixture->listeners, &request, fixture->why), -EADDRINUSE);
    assert_says(fixture, "another address of the settings is that socket already");
}

/* In a trial there are the names of sockets, and no sockets. */
static int try_addresses(struct fixture *fixture, struct handover *handed, char *first, char *second)
{
    char *items[] = {first, second};
    const struct string_list list = {.count = 2, .items = items};
    const struct listeners_request request = {.bind = &list,
                                              .backlog = BACKLOG,
                                              .rings = 1,
                                              .inherited_first = 990'000,
                                              .inherited_count = 2,
                                              .inherited_names = "web:admin",
                                              .handed = handed,
                                              .is_trial = true};
    int r = listeners_open(&fixture->listeners, &request, fixture->why);
    if (r == 0)
        listeners_deinit(&fixture->listeners);
    return r;
}

static void a_trial_opens_what_is_new_and_believes_in_the_rest(void **state)
{
    struct fixture *fixture = *state;
    char taken[64], name[] = "fd://admin", number[] = "fd://990000", other[] = "fd://990002";
    OWNED_FD fd = listening_socket();
    struct handover *handed = handover_create();
    assert_non_null(handed);
    snprintf(taken, sizeof taken, "127.0.0.1:%u", port_of(fd));
    assert_int_equal(try_addresses(fixture, handed, name, number), 0);
    assert_int_equal(try_addresses(fixture, handed, name, other), -EBADF);
    assert_int_equal(try_addresses(fixture, handed, name, taken), -EADDRINUSE);
    assert_says(fixture, "the address is in use");
    handed->listener_count = 1;
    handed->listeners[0].fd_count = 1;
    handed->listeners[0].fds[0] = -1;
    snprintf(handed->listeners[0].key, sizeof handed->listeners[0].key, "%s", taken);
    assert_int_equal(try_addresses(fixture, handed, name, taken), 0);
    handover_destroy(handed);
}

static void a_socket_is_called_what_a_client_would_call_it(void **state)
{
    struct fixture *fixture = *state;
    char text[LISTENER_TEXT_BYTES], expected[LISTENER_TEXT_BYTES];
    OWNED_FD fd = listening_socket();
    snprintf(expected, sizeof expected, "127.0.0.1:%u", port_of(fd));
    listeners_describe_socket(fd, text);
    assert_string_equal(text, expected);
    assert_int_equal(open_unix(fixture, &fixture->listeners), 0);
    snprintf(expected, sizeof expected, "unix:%s", fixture->path);
    listeners_describe_socket(fixture->listeners.items[0].fds[0], text);
    assert_string_equal(text, expected);
    listeners_describe_socket(999'999, text);
    assert_string_equal(text, "999999 (the descriptor is not open)");
}

static void a_name_that_nobody_has_given_is_refused_with_those_that_there_are(void **state)
{
    struct fixture *fixture = *state;
    char address[] = "fd://wbe";
    char *items[] = {address};
    const struct string_list list = {.count = 1, .items = items};
    OWNED_FD fd = listening_socket();
    struct listeners_request request = {.bind = &list,
                                        .backlog = BACKLOG,
                                        .rings = 1,
                                        .inherited_first = fd,
                                        .inherited_count = 1,
                                        .inherited_names = "web"};
    assert_int_equal(listeners_open(&fixture->listeners, &request, fixture->why), -ENOENT);
    assert_string_equal(fixture->why, "cannot listen at fd://wbe: no inherited socket has that name; there are: web");
    request.inherited_names = NULL;
    assert_int_equal(listeners_open(&fixture->listeners, &request, fixture->why), -ENOENT);
    assert_says(fixture, "no inherited socket has a name; FileDescriptorName=");
}

static void a_failure_leaves_nothing_open(void **state)
{
    struct fixture *fixture = *state;
    char good[128], bad[] = "fd://999999";
    char *items[] = {good, bad};
    const struct string_list list = {.count = 2, .items = items};
    const struct listeners_request request = {.bind = &list, .backlog = BACKLOG, .rings = 2};
    snprintf(good, sizeof good, "unix:%s", fixture->path);
    OWNED_FD before = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(listeners_open(&fixture->listeners, &request, fixture->why), -EBADF);
    assert_int_equal(access(fixture->path, F_OK), -1);
    OWNED_FD after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(after, before + 1);
}

static void the_text_names_what_is_spoken(void **state)
{
    static const char protocols[][LISTENER_PROTOCOLS_BYTES] = {"h2, http/1.1", "http/1.1"};
    static const int32_t contexts[] = {1, -1, 0};
    struct fixture *fixture = *state;
    char unix_text[128], text[512], expected[512];
    char *items[] = {(char[]){"127.0.0.1:0"}, (char[]){"127.0.0.1:0"}, unix_text};
    const struct string_list list = {.count = 3, .items = items};
    const struct listeners_request request = {.bind = &list,
                                              .tls_contexts = contexts,
                                              .protocols = protocols,
                                              .http2_cleartext = true,
                                              .backlog = BACKLOG,
                                              .rings = 1};

    snprintf(unix_text, sizeof unix_text, "unix:%s", fixture->path);
    assert_int_equal(listeners_open(&fixture->listeners, &request, fixture->why), 0);
    const struct listener *opened = fixture->listeners.items;
    listeners_describe(&fixture->listeners, text, sizeof text);
    snprintf(expected, sizeof expected,
             "https://127.0.0.1:%u (http/1.1), http://127.0.0.1:%u (h2c, http/1.1), unix:%s (tls, h2, http/1.1)",
             opened[0].hello.server_port, opened[1].hello.server_port, fixture->path);
    assert_string_equal(text, expected);
    assert_int_equal(opened[0].hello.tls_context, 1);
    assert_int_equal(opened[1].hello.tls_context, -1);
    assert_int_equal(opened[2].hello.tls_context, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_ring_gets_a_socket_of_its_own_at_the_port_that_the_kernel_chose),
        TEST(tcp_listeners_pass_their_options_on_to_accepted_sockets),
        TEST(a_second_server_is_refused_although_ports_can_be_shared),
        TEST(ipv6_is_ipv6_only_and_shown_in_brackets),
        TEST(a_unix_socket_is_shared_and_removed_at_the_end),
        TEST(the_umask_gives_a_unix_socket_its_mode),
        TEST(a_socket_that_somebody_answers_on_is_left_alone),
        TEST(a_stale_socket_is_replaced),
        TEST(a_file_that_is_no_socket_is_left_alone),
        TEST(a_socket_that_another_server_put_in_place_of_ours_stays),
        TEST(an_abstract_socket_has_no_file),
        TEST(an_inherited_socket_is_adopted_by_number),
        TEST(the_text_names_what_is_spoken),
        TEST(what_is_no_listening_socket_is_not_adopted),
        TEST(socket_activation_takes_the_place_of_bind),
        TEST(inherited_sockets_are_adopted_by_their_name),
        TEST(one_socket_cannot_be_two_addresses),
        TEST(a_trial_opens_what_is_new_and_believes_in_the_rest),
        TEST(a_socket_is_called_what_a_client_would_call_it),
        TEST(a_name_that_nobody_has_given_is_refused_with_those_that_there_are),
        TEST(a_failure_leaves_nothing_open),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
