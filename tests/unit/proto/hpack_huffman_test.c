#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guarded.h"
#include "proto/hpack.h"

/* Padding, EOS and cut codes are among the vectors, tests/vectors/hpack/huffman.txt. */

enum { TEXT_MAX = 400, CODED_MAX = TEXT_MAX * 30 / 8 + 1 };

static uint32_t chance(uint32_t *seed)
{
    *seed = *seed * 1'664'525 + 1'013'904'223;
    return *seed >> 8;
}

/* There and back, with memory for no octet more than it takes. */
static void assert_round_trip(const uint8_t *text, size_t length)
{
    struct guarded coded = guarded_create(CODED_MAX), decoded = guarded_create(TEXT_MAX);
    size_t coded_length = hpack_huffman_length(bytes_of(text, length));
    uint8_t *code = coded.map + coded.room - coded_length;
    uint8_t *out = decoded.map + decoded.room - length;
    assert_int_equal(hpack_huffman_encode(bytes_of(text, length), code), coded_length);
    assert_int_equal(hpack_huffman_decode(bytes_of(code, coded_length), out, length), length);
    assert_memory_equal(out, text, length);
    assert_int_equal(hpack_huffman_measure(bytes_of(code, coded_length)), length);
    assert_true(length <= coded_length * 8 / 5);
    if (length > 0)
        assert_int_equal(hpack_huffman_decode(bytes_of(code, coded_length), out + 1, length - 1), -1);
    guarded_destroy(&coded);
    guarded_destroy(&decoded);
}

static void every_octet_comes_back_from_every_place(void **state)
{
    (void)state;
    for (unsigned octet = 0; octet < 256; octet++) {
        uint8_t text[TEXT_MAX] = {};
        memset(text, 'e', sizeof(text)); /* five bits: the octet's code begins at every bit there is */
        for (size_t before = 0; before < 20; before++) {
            text[before] = (uint8_t)octet;
            assert_round_trip(text, before + 1);
            assert_round_trip(text, before + 30);
            text[before] = 'e';
        }
    }
}

static void texts_of_all_lengths_come_back(void **state)
{
    (void)state;
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789-/.=;%";
    uint32_t seed = 1;
    for (size_t length = 0; length <= TEXT_MAX; length++) {
        uint8_t text[TEXT_MAX] = {};
        for (size_t i = 0; i < length; i++)
            text[i] = (uint8_t)alphabet[chance(&seed) % (sizeof(alphabet) - 1)];
        assert_round_trip(text, length);
    }
}

static void arbitrary_octets_come_back(void **state)
{
    (void)state;
    uint32_t seed = 2;
    for (size_t round = 0; round < 400; round++) {
        uint8_t text[TEXT_MAX] = {};
        size_t length = chance(&seed) % TEXT_MAX;
        for (size_t i = 0; i < length; i++)
            text[i] = (uint8_t)chance(&seed);
        assert_round_trip(text, length);
    }
}

/* RFC 7541 5.2 defines the code by what decodes: octets that decode are those that encoding gives. */
static void only_one_coding_of_a_text_is_accepted(void **state)
{
    (void)state;
    uint32_t seed = 3;
    size_t accepted = 0;
    for (size_t round = 0; round < 200'000; round++) {
        uint8_t input[6], text[6 * 8 / 5], again[CODED_MAX];
        size_t length = chance(&seed) % 6 + 1;
        for (size_t i = 0; i < length; i++)
            input[i] = (uint8_t)(chance(&seed) | (i + 1 == length ? 7 : 0));
        int64_t text_length = hpack_huffman_decode(bytes_of(input, length), text, sizeof(text));
        assert_int_equal(hpack_huffman_measure(bytes_of(input, length)), text_length);
        if (text_length < 0)
            continue;
        accepted++;
        assert_int_equal(hpack_huffman_encode(bytes_of(text, (size_t)text_length), again), length);
        assert_memory_equal(input, again, length);
    }
    assert_true(accepted > 10'000);
}

static void one_octet_too_little_room_is_told(void **state)
{
    (void)state;
    const uint8_t no_cache[] = {0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf};
    uint8_t out[8];
    assert_int_equal(hpack_huffman_decode(bytes_of(no_cache, 6), out, 8), 8);
    assert_memory_equal(out, "no-cache", 8);
    assert_int_equal(hpack_huffman_decode(bytes_of(no_cache, 6), out, 7), -1);
    assert_int_equal(hpack_huffman_decode(bytes_of(no_cache, 6), out, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_octet_comes_back_from_every_place),
        cmocka_unit_test(texts_of_all_lengths_come_back),
        cmocka_unit_test(arbitrary_octets_come_back),
        cmocka_unit_test(only_one_coding_of_a_text_is_accepted),
        cmocka_unit_test(one_octet_too_little_room_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
