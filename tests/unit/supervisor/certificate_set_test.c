#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/supervisor/certificate_set.h"
#include "daemon/supervisor/child.h"
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    char directory[64];
    char paths[6][96]; /* chain, key, OCSP response, password, authorities, and one that is not there */
    char *items[6];
    struct settings settings;
    struct certificate_plan plan;
    struct certificate_set *set;
    char why[CERTIFICATE_WHY_BYTES];
};

enum { CHAIN, KEY, OCSP, PASSWORD, TRUST, MISSING };

static struct string_list list_of(struct fixture *fixture, int which)
{
    return (struct string_list){1, &fixture->items[which]};
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    static const char *const names[] = {"chain", "key", "ocsp", "password", "trust", "missing"};
    struct fixture *fixture = calloc(1, sizeof *fixture);
    char directory[] = "/tmp/uroboros-set-XXXXXX";
    assert_non_null(fixture);
    assert_non_null(mkdtemp(directory));
    strcpy(fixture->directory, directory);
    for (int i = 0; i < 6; i++) {
        snprintf(fixture->paths[i], sizeof fixture->paths[i], "%s/%s", directory, names[i]);
        fixture->items[i] = fixture->paths[i];
        if (i != MISSING)
            write_file(fixture->paths[i], names[i]);
    }
    fixture->plan = (struct certificate_plan){.certfile = list_of(fixture, CHAIN), .keyfile = list_of(fixture, KEY)};
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[96];
    certificate_set_destroy(fixture->set);
    snprintf(command, sizeof command, "rm -r %s", fixture->directory);
    free(fixture);
    return system(command);
}

static void name_all(struct fixture *fixture)
{
    fixture->plan.ocsp_file = list_of(fixture, OCSP);
    fixture->plan.password_file = fixture->paths[PASSWORD];
    fixture->plan.ca_certs = fixture->paths[TRUST];
}

/* A child whose end of the control socket the test holds itself. */
static void open_child(struct child *child, int *ret_fd)
{
    int fds[2];
    assert_int_equal(control_pair(fds), 0);
    *child = (struct child){.pid = 1, .control.fd = fds[0]};
    *ret_fd = fds[1];
}

static void close_child(struct child *child, int fd)
{
    close(child->control.fd);
    close(fd);
}

static void assert_brings(const struct control_message *message, uint32_t index, const char *text)
{
    char content[32] = "";
    assert_true(index < message->fd_count);
    assert_int_equal(pread(message->fds[index], content, sizeof content - 1, 0), strlen(text));
    assert_string_equal(content, text);
}

static void a_set_is_sent_whole_with_the_request_to_use_it(void **state)
{
    struct fixture *fixture = *state;
    struct control_message message;
    struct child child;
    int fd;

    name_all(fixture);
    assert_int_equal(certificate_set_create(&fixture->plan, &fixture->set, fixture->why), 0);
    open_child(&child, &fd);
    certificate_set_send(fixture->set, 3, &child, &fixture->settings, -1);

    assert_int_equal(control_receive(fd, &message), 1);
    assert_int_equal(message.kind, CONTROL_TLS_PAIR);
    const struct control_tls_pair *pair = control_payload(&message, sizeof *pair);
    assert_non_null(pair);
    assert_int_equal(pair->context, 3);
    assert_int_equal(pair->flags, CONTROL_TLS_HAS_PASSWORD | CONTROL_TLS_HAS_OCSP);
    assert_string_equal(pair->name, fixture->paths[CHAIN]);
    assert_brings(&message, 0, "chain");
    assert_brings(&message, 1, "key");
    assert_brings(&message, 2, "password");
    assert_brings(&message, 3, "ocsp");
    control_close_fds(&message);

    assert_int_equal(control_receive(fd, &message), 1);
    assert_int_equal(message.kind, CONTROL_TLS_TRUST);
    assert_brings(&message, 0, "trust");
    control_close_fds(&message);

    assert_int_equal(control_receive(fd, &message), 1);
    assert_int_equal(message.kind, CONTROL_TLS_READY);
    assert_int_equal(message.fd_count, 0);
    close_child(&child, fd);
}

static void settings_to_be_tried_go_with_the_request(void **state)
{
    struct fixture *fixture = *state;
    struct control_message message;
    struct child child;
    int fd;

    assert_int_equal(certificate_set_create(&fixture->plan, &fixture->set, fixture->why), 0);
    open_child(&child, &fd);
    certificate_set_send(fixture->set, 0, &child, &fixture->settings, STDIN_FILENO);
    assert_int_equal(control_receive(fd, &message), 1);
    assert_int_equal(message.fd_count, 2);
    control_close_fds(&message);
    assert_int_equal(control_receive(fd, &message), 1);
    assert_int_equal(message.kind, CONTROL_TLS_READY);
    assert_int_equal(message.fd_count, 1);
    control_close_fds(&message);
    close_child(&child, fd);
}

static void any_file_that_changes_is_seen(void **state)
{
    struct fixture *fixture = *state;

    name_all(fixture);
    for (int i = 0; i < MISSING; i++) {
        assert_int_equal(certificate_set_create(&fixture->plan, &fixture->set, fixture->why), 0);
        assert_true(certificate_set_is_current(fixture->set));
        write_file(fixture->paths[i], "something else");
        assert_false(certificate_set_is_current(fixture->set));
        certificate_set_destroy(fixture->set);
        fixture->set = NULL;
    }
}

static void a_file_that_cannot_be_read_is_named_with_its_setting(void **state)
{
    struct fixture *fixture = *state;
    char expected[256];

    fixture->plan.keyfile = list_of(fixture, MISSING);
    assert_int_equal(certificate_set_create(&fixture->plan, &fixture->set, fixture->why), -ENOENT);
    snprintf(expected, sizeof expected, "keyfile: cannot read %s: No such file or directory", fixture->paths[MISSING]);
    assert_string_equal(fixture->why, expected);

    write_file(fixture->paths[MISSING], "");
    assert_int_equal(certificate_set_create(&fixture->plan, &fixture->set, fixture->why), -ENODATA);
    snprintf(expected, sizeof expected, "keyfile: cannot read %s: it is empty", fixture->paths[MISSING]);
    assert_string_equal(fixture->why, expected);
    assert_null(fixture->set);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_set_is_sent_whole_with_the_request_to_use_it),
        TEST(settings_to_be_tried_go_with_the_request),
        TEST(any_file_that_changes_is_seen),
        TEST(a_file_that_cannot_be_read_is_named_with_its_setting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
