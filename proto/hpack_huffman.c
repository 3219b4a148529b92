#include "proto/hpack.h"
#include "proto/hpack_tables.h"

enum {
    WINDOW_BITS = 64,
    SHORT_BITS = 8,
    CODE_BITS_MIN = 5,
    PADDING_BITS_MAX = 7, /* RFC 7541 5.2: a whole octet of padding is an error */
    REFILL_BITS = WINDOW_BITS - 8,
    RUN_SYMBOLS_MAX = WINDOW_BITS / CODE_BITS_MIN + 1,
};

/*
 * Octets on their way through a window of bits, the next one leftmost. Behind those that `bit_count` counts there may
 * stand some that the next refill brings again, at the same place.
 */
struct huffman_reader {
    const uint8_t *at;
    const uint8_t *end;
    uint64_t window;
    unsigned bit_count;
    enum { HUFFMAN_RUNNING, HUFFMAN_ENDED, HUFFMAN_WRONG } state;
};

static uint64_t load_big_endian(const uint8_t *from)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < sizeof(value); i++)
        value = value << 8 | from[i];
    return value;
}

/* To REFILL_BITS or more, or to all there are. */
static inline void refill(struct huffman_reader *reader)
{
    if (reader->end - reader->at >= (ptrdiff_t)sizeof(uint64_t)) {
        reader->window |= load_big_endian(reader->at) >> reader->bit_count;
        reader->at += (WINDOW_BITS - 1 - reader->bit_count) / 8;
        reader->bit_count |= REFILL_BITS;
        return;
    }
    while (reader->bit_count < REFILL_BITS && reader->at < reader->end) {
        reader->window |= (uint64_t)*reader->at++ << (REFILL_BITS - reader->bit_count);
        reader->bit_count += 8;
    }
}

static inline void drop_bits(struct huffman_reader *reader, unsigned count)
{
    reader->window <<= count;
    reader->bit_count -= count;
}

/* The symbol of a code of more than SHORT_BITS, which may be EOS. */
static unsigned long_symbol(uint64_t window, unsigned *ret_length)
{
    uint32_t bits = (uint32_t)(window >> 32);
    const struct hpack_long_range *range = hpack_long_ranges;
    while (bits > range->last)
        range++;
    *ret_length = range->length;
    return hpack_long_symbols[range->place + (bits >> (32 - range->length)) - range->first];
}

/* Symbols while there is plenty of input and of room, which almost all need only one look each. */
static size_t read_runs(struct huffman_reader *reader, uint8_t *out, size_t capacity)
{
    struct huffman_reader now = *reader;
    size_t used = 0;
    while (now.end - now.at >= (ptrdiff_t)sizeof(uint64_t) && capacity - used >= RUN_SYMBOLS_MAX) {
        refill(&now);
        struct hpack_short_code code = hpack_short_codes[now.window >> (WINDOW_BITS - SHORT_BITS)];
        if (code.length == 0) {
            unsigned length, symbol = long_symbol(now.window, &length);
            if (symbol == HPACK_HUFFMAN_EOS)
                break;
            out[used++] = (uint8_t)symbol;
            drop_bits(&now, length);
            continue;
        }
        do {
            out[used++] = code.symbol;
            drop_bits(&now, code.length);
            code = hpack_short_codes[now.window >> (WINDOW_BITS - SHORT_BITS)];
        } while (code.length != 0 && now.bit_count >= SHORT_BITS);
    }
    *reader = now;
    return used;
}

/* One symbol, near the end of the input or of the room. What is missing of the window counts as ones, so that the
 * padding passes for the beginning of EOS, and for nothing else. */
static bool read_symbol(struct huffman_reader *reader, uint8_t *ret_octet)
{
    uint64_t window = reader->window | UINT64_MAX >> reader->bit_count;
    struct hpack_short_code code = hpack_short_codes[window >> (WINDOW_BITS - SHORT_BITS)];
    unsigned symbol = code.symbol, length = code.length;
    if (length == 0)
        symbol = long_symbol(window, &length);
    if (length > reader->bit_count || symbol == HPACK_HUFFMAN_EOS) {
        reader->state = HUFFMAN_WRONG;
        return false;
    }
    drop_bits(reader, length);
    *ret_octet = (uint8_t)symbol;
    return true;
}

static bool only_padding_left(const struct huffman_reader *reader)
{
    return reader->bit_count <= PADDING_BITS_MAX && (reader->window | UINT64_MAX >> reader->bit_count) == UINT64_MAX;
}

/* Octets written. The reader runs on as long as only the room was at its end. */
static size_t read_text(struct huffman_reader *reader, uint8_t *out, size_t capacity)
{
    size_t used = read_runs(reader, out, capacity);
    for (;;) {
        refill(reader);
        if (only_padding_left(reader)) {
            reader->state = HUFFMAN_ENDED;
            return used;
        }
        if (used == capacity || !read_symbol(reader, &out[used]))
            return used;
        used++;
    }
}

static struct huffman_reader reader_of(struct bytes input)
{
    return (struct huffman_reader){.at = input.data, .end = input.data + input.length};
}

int64_t hpack_huffman_decode(struct bytes input, uint8_t *out, size_t capacity)
{
    struct huffman_reader reader = reader_of(input);
    size_t used = read_text(&reader, out, capacity);
    return reader.state == HUFFMAN_ENDED ? (int64_t)used : -1;
}

int64_t hpack_huffman_measure(struct bytes input)
{
    struct huffman_reader reader = reader_of(input);
    uint8_t scratch[256];
    int64_t length = 0;
    while (reader.state == HUFFMAN_RUNNING)
        length += (int64_t)read_text(&reader, scratch, sizeof(scratch));
    return reader.state == HUFFMAN_ENDED ? length : -1;
}

size_t hpack_huffman_length(struct bytes text)
{
    size_t bits = 0;
    for (size_t i = 0; i < text.length; i++)
        bits += hpack_code_lengths[text.data[i]];
    return (bits + 7) / 8;
}

size_t hpack_huffman_encode(struct bytes text, uint8_t *out)
{
    uint64_t bits = 0; /* the lower `bit_count`, less than 8 between two octets of text */
    unsigned bit_count = 0;
    size_t used = 0;
    for (size_t i = 0; i < text.length; i++) {
        unsigned length = hpack_code_lengths[text.data[i]];
        bits = bits << length | hpack_codes[text.data[i]];
        for (bit_count += length; bit_count >= 8; bit_count -= 8)
            out[used++] = (uint8_t)(bits >> (bit_count - 8));
    }
    if (bit_count > 0)
        out[used++] = (uint8_t)(bits << (8 - bit_count) | 0xffU >> bit_count);
    return used;
}
