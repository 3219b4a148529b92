#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "daemon/exchange/tls_record.h"

enum { CAPACITY = 512, HEADER_BYTES = 12 + 8 * TLS_RECORD_TEXTS };

static struct tls_record sample(void)
{
    struct tls_record record = {
        .protocol = 0x0304,
        .cipher = 0x1301,
        .cipher_bits = 128,
        .client = TLS_RECORD_CLIENT_VERIFIED,
        .is_resumed = true,
    };
    record.texts[TLS_RECORD_CIPHER_NAME] = BYTES_LITERAL("TLS_AES_128_GCM_SHA256");
    record.texts[TLS_RECORD_CLIENT_SUBJECT] = BYTES_LITERAL("CN=client,O=Example");
    return record;
}

/* In memory of exactly its size: reading past the end is seen by the sanitizer. */
static struct bytes written(const struct tls_record *record)
{
    const size_t bytes = tls_record_bytes(record);
    uint8_t *memory = malloc(bytes);
    assert_non_null(memory);
    assert_int_equal(tls_record_write(record, memory, bytes), 0);
    return bytes_of(memory, bytes);
}

static void what_was_written_is_read_back(void **state)
{
    (void)state;
    const struct tls_record record = sample();
    struct bytes block = written(&record);
    struct tls_record seen;
    assert_int_equal(tls_record_read(block, &seen), 0);
    assert_int_equal(seen.protocol, 0x0304);
    assert_int_equal(seen.cipher, 0x1301);
    assert_int_equal(seen.cipher_bits, 128);
    assert_int_equal(seen.client, TLS_RECORD_CLIENT_VERIFIED);
    assert_true(seen.is_resumed);
    for (int i = 0; i < TLS_RECORD_TEXTS; i++)
        assert_true(bytes_equal(seen.texts[i], record.texts[i]));
    free((void *)(uintptr_t)block.data);
}

static void too_little_room_writes_nothing(void **state)
{
    (void)state;
    const struct tls_record record = sample();
    uint8_t memory[CAPACITY] = {};
    assert_int_equal(tls_record_write(&record, memory, tls_record_bytes(&record) - 1), -EMSGSIZE);
    assert_int_equal(memory[0], 0);
}

static void a_chain_beyond_all_bounds_is_refused(void **state)
{
    (void)state;
    enum { BYTES = 2 * TLS_RECORD_BLOCK_BYTES_MAX };
    uint8_t *memory = calloc(1, BYTES);
    assert_non_null(memory);
    struct tls_record record = sample();
    record.texts[TLS_RECORD_CLIENT_CHAIN] = bytes_of(memory, TLS_RECORD_BLOCK_BYTES_MAX);
    assert_int_equal(tls_record_write(&record, memory, BYTES), -EMSGSIZE);
    free(memory);
}

static void a_block_cut_anywhere_is_refused(void **state)
{
    (void)state;
    const struct tls_record record = sample();
    struct bytes block = written(&record);
    struct tls_record seen;
    for (size_t length = 0; length < block.length; length++) {
        uint8_t *cut = malloc(length + 1);
        assert_non_null(cut);
        memcpy(cut, block.data, length);
        assert_int_equal(tls_record_read(bytes_of(cut, length), &seen), -EBADMSG);
        free(cut);
    }
    free((void *)(uintptr_t)block.data);
}

/* Whatever single octet of the header another process changes: what is read lies inside the block. */
static void a_changed_header_names_nothing_outside(void **state)
{
    (void)state;
    const struct tls_record record = sample();
    struct bytes block = written(&record);
    uint8_t *memory = (uint8_t *)(uintptr_t)block.data;
    for (size_t at = 0; at < HEADER_BYTES; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            struct tls_record seen;
            memory[at] ^= (uint8_t)(1U << bit);
            if (tls_record_read(block, &seen) == 0)
                for (int i = 0; i < TLS_RECORD_TEXTS; i++)
                    assert_true(seen.texts[i].data >= block.data &&
                                seen.texts[i].data + seen.texts[i].length <= block.data + block.length);
            memory[at] ^= (uint8_t)(1U << bit);
        }
    }
    free(memory);
}

static void another_layout_is_refused(void **state)
{
    (void)state;
    const struct tls_record record = sample();
    struct bytes block = written(&record);
    struct tls_record seen;
    ((uint8_t *)(uintptr_t)block.data)[0] ^= 0xff;
    assert_int_equal(tls_record_read(block, &seen), -EBADMSG);
    free((void *)(uintptr_t)block.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_back),          cmocka_unit_test(too_little_room_writes_nothing),
        cmocka_unit_test(a_chain_beyond_all_bounds_is_refused),   cmocka_unit_test(a_block_cut_anywhere_is_refused),
        cmocka_unit_test(a_changed_header_names_nothing_outside), cmocka_unit_test(another_layout_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
