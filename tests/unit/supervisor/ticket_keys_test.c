#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/supervisor/ticket_keys.h"
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BYTES = CONTROL_TLS_TICKET_KEY_BYTES };

static char why[TICKET_KEYS_WHY_BYTES];

static void write_octets(const char *path, uint8_t first, size_t bytes)
{
    uint8_t octets[4 * BYTES];
    for (size_t i = 0; i < bytes; i++)
        octets[i] = (uint8_t)(first + i / BYTES);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, octets, bytes), bytes);
    close(fd);
}

static void keys_of_our_own_differ(void **)
{
    struct ticket_keys keys = {}, other = {};

    assert_int_equal(ticket_keys_load(&keys, NULL, why), 0);
    assert_int_equal(ticket_keys_load(&other, NULL, why), 0);
    assert_int_equal(keys.keys.count, 3);
    assert_null(keys.file.path);
    for (int i = 0; i < 3; i++) {
        assert_memory_not_equal(keys.keys.keys[i], other.keys.keys[i], BYTES);
        assert_memory_not_equal(keys.keys.keys[i], keys.keys.keys[(i + 1) % 3], BYTES);
    }
    ticket_keys_deinit(&other);
    ticket_keys_deinit(&keys);
}

static void the_next_key_is_known_before_it_seals(void **)
{
    struct ticket_keys keys = {};
    struct control_tls_tickets before;

    assert_int_equal(ticket_keys_load(&keys, NULL, why), 0);
    before = keys.keys;
    assert_int_equal(ticket_keys_rotate(&keys), 0);
    assert_memory_equal(keys.keys.keys[0], before.keys[2], BYTES);
    assert_memory_equal(keys.keys.keys[1], before.keys[0], BYTES);
    for (int i = 0; i < 3; i++)
        assert_memory_not_equal(keys.keys.keys[2], before.keys[i], BYTES);
    ticket_keys_deinit(&keys);
}

static void a_file_has_one_to_three_keys(void **)
{
    char path[] = "/tmp/uroboros-keys-XXXXXX";
    struct ticket_keys keys = {};
    int fd = mkstemp(path);

    close(fd);
    for (uint32_t count = 1; count <= 3; count++) {
        write_octets(path, (uint8_t)(16 * count), count * BYTES);
        assert_int_equal(ticket_keys_load(&keys, path, why), 0);
        assert_int_equal(keys.keys.count, count);
        assert_int_equal(keys.keys.keys[count - 1][BYTES - 1], 16 * count + count - 1);
        assert_string_equal(keys.file.path, path);
    }
    ticket_keys_deinit(&keys);
    assert_int_equal(keys.keys.count, 0);
    unlink(path);
}

static void what_is_no_key_file_changes_nothing(void **)
{
    static const size_t wrong[] = {1, 48, BYTES - 1, BYTES + 1, 4 * BYTES};
    char path[] = "/tmp/uroboros-keys-XXXXXX", expected[256];
    struct ticket_keys keys = {};
    int fd = mkstemp(path);

    close(fd);
    write_octets(path, 1, BYTES);
    assert_int_equal(ticket_keys_load(&keys, path, why), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        write_octets(path, 9, wrong[i]);
        assert_int_equal(ticket_keys_load(&keys, path, why), -EINVAL);
        snprintf(expected, sizeof expected, "tls_ticket_keys: %s: expected one to 3 keys of 80 octets each", path);
        assert_string_equal(why, expected);
        assert_int_equal(keys.keys.keys[0][0], 1);
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(ticket_keys_load(&keys, path, why), -ENOENT);
    assert_int_equal(keys.keys.count, 1);
    ticket_keys_deinit(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_our_own_differ),
        cmocka_unit_test(the_next_key_is_known_before_it_seals),
        cmocka_unit_test(a_file_has_one_to_three_keys),
        cmocka_unit_test(what_is_no_key_file_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
