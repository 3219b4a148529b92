#include "config/settings_transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "config/setting_value.h"
#include "config/settings_arena.h"
#include "tests/unit/config/settings_fixture.h"

static void all_values_arrive(void **state)
{
    struct settings *sent = fixture_run(*state, "m:app -b :1 -b unix:/x -w 3 --timeout 2.5 -k sync --no-sendfile -e "
                                                "A=b=c --umask 022 --server-header= --request-buffering off");
    struct settings received = {};
    int fd = -1;

    assert_int_equal(settings_serialize(sent, &fd), 0);
    assert_int_equal(settings_deserialize(fd, &received), 0);
    for (size_t i = 0; i < setting_count(); i++)
        if (setting_at(i)->field != SETTING_NO_FIELD)
            assert_true(setting_equal(setting_at(i), sent, &received));
    assert_int_equal(received.timeout_ms, 2500);
    assert_string_equal(received.raw_env.items[0], "A=b=c");
    assert_null(received.server_header);
    settings_deinit(&received);
    close(fd);
}

static void nobody_can_change_what_was_sent(void **state)
{
    struct settings *settings = fixture_run(*state, "m:app");
    int fd = -1;

    assert_int_equal(settings_serialize(settings, &fd), 0);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    close(fd);
}

static char *text_of(struct settings *settings, size_t *ret_bytes)
{
    int fd = -1;

    assert_int_equal(settings_serialize(settings, &fd), 0);
    *ret_bytes = (size_t)lseek(fd, 0, SEEK_END);
    char *text = malloc(*ret_bytes);
    assert_int_equal(pread(fd, text, *ret_bytes, 0), *ret_bytes);
    close(fd);
    return text;
}

static int deserialize_text(const char *text, size_t bytes)
{
    struct settings settings = {};
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_int_equal(write(fd, text, bytes), bytes);
    int result = settings_deserialize(fd, &settings);
    settings_deinit(&settings);
    close(fd);
    return result;
}

static void the_text_is_one_record_for_each_value(void **state)
{
    static const char *const records[] = {"wsgi_app=m:app",
                                          "bind=:1",
                                          "bind=:2",
                                          "timeout_ms=30000",
                                          "sendfile=1",
                                          "worker_class=auto",
                                          "limit_request_body=1073741824"};
    size_t bytes;
    char *text = text_of(fixture_run(*state, "m:app -b :1,:2"), &bytes);

    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
        assert_non_null(memmem(text, bytes, records[i], strlen(records[i]) + 1));
    assert_null(memmem(text, bytes, "pidfile", 7));
    free(text);
}

static void a_text_cut_anywhere_is_refused(void **state)
{
    size_t bytes;
    char *text = text_of(fixture_run(*state, "m:app"), &bytes);
    size_t last = bytes - 1;

    while (text[last - 1] != '\0')
        last--;
    /* Whole records that are missing at the end could be strings that are not set, save that a string ends it. */
    for (size_t cut = 0; cut < last; cut++)
        assert_int_equal(deserialize_text(text, cut), -EBADMSG);
    free(text);
}

static void a_foreign_or_changed_record_is_refused(void **state)
{
    static const char *const changes[][2] = {{"workers=1", "workers=x"},   {"workers=1", "wurkers=1"},
                                             {"sendfile=1", "sendfile=2"}, {"spin=adaptive", "spin=adoptive"},
                                             {"workers=1", "workers= "},   {"threads=1", "threads"}};

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        size_t bytes;
        char *text = text_of(fixture_run(*state, "m:app"), &bytes);
        char *record = memmem(text, bytes, changes[i][0], strlen(changes[i][0]) + 1);
        assert_non_null(record);
        memcpy(record, changes[i][1], strlen(changes[i][1]) + 1);
        assert_int_equal(deserialize_text(text, bytes), -EBADMSG);
        free(text);
    }
}

static void too_much_and_nothing_are_refused(void **)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    struct settings settings = {};

    assert_int_equal(settings_deserialize(fd, &settings), -EBADMSG);
    assert_int_equal(ftruncate(fd, SETTINGS_TRANSFER_BYTES_MAX + 1), 0);
    assert_int_equal(settings_deserialize(fd, &settings), -EBADMSG);
    close(fd);
    assert_int_equal(settings_deserialize(-1, &settings), -EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_values_arrive, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(nobody_can_change_what_was_sent, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(the_text_is_one_record_for_each_value, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_text_cut_anywhere_is_refused, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_foreign_or_changed_record_is_refused, fixture_set_up, fixture_tear_down),
        cmocka_unit_test(too_much_and_nothing_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
