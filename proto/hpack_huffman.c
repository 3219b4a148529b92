#include "proto/hpack.h"
#include "proto/hpack_tables.h"

enum {
    WINDOW_BITS = 64,
    SHORT_BITS = 8,
    SHORT_LENGTH_MASK = 63, /* of an entry of hpack_short_codes; what a shift takes as it is */
    REFILL_BITS = WINDOW_BITS - 8,
    PADDING_BITS_MAX = 7, /* RFC 7541 5.2: a whole octet of padding is an error */
};

/*
 * Octets on their way through a window of bits, the next one leftmost. The window has the bits inverted, so that the
 * zeros which shifting brings in are ones of the code: behind the end of the input it goes on as padding does. Behind
 * the bits that `bit_count` counts there may also stand some that the next refill brings again, at the same place.
 */
struct huffman_reader {
    const uint8_t *at;
    const uint8_t *end;
    uint64_t inverse;
    unsigned bit_count;
    enum { HUFFMAN_RUNNING, HUFFMAN_ENDED, HUFFMAN_WRONG } state;
};

static uint64_t load_big_endian(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(value) : value;
}

/* To REFILL_BITS or more, or to all there are. */
static inline void refill(struct huffman_reader *reader)
{
    if (reader->end - reader->at >= (ptrdiff_t)sizeof(uint64_t)) {
        reader->inverse |= ~load_big_endian(reader->at) >> reader->bit_count;
        reader->at += (WINDOW_BITS - 1 - reader->bit_count) / 8;
        reader->bit_count |= REFILL_BITS;
        return;
    }
    while (reader->bit_count < REFILL_BITS && reader->at < reader->end) {
        reader->inverse |= (uint64_t)(*reader->at++ ^ 0xff) << (REFILL_BITS - reader->bit_count);
        reader->bit_count += 8;
    }
}

static inline bool only_padding_left(const struct huffman_reader *reader)
{
    return reader->bit_count <= PADDING_BITS_MAX && reader->inverse == 0;
}

static inline void drop_bits(struct huffman_reader *reader, unsigned count)
{
    reader->inverse <<= count;
    reader->bit_count -= count;
}

static inline uint16_t look(const struct huffman_reader *reader)
{
    return hpack_short_codes[reader->inverse >> (WINDOW_BITS - SHORT_BITS)];
}

/* Whether the window has a short code, and all of it: a length of 0 stands for a longer one. */
static inline bool is_whole(const struct huffman_reader *reader, uint16_t code)
{
    return (code & SHORT_LENGTH_MASK) - 1U < reader->bit_count;
}

/* A symbol of more than SHORT_BITS out of a window that is full, or has all there is. */
static bool read_long(struct huffman_reader *reader, uint8_t *ret_octet)
{
    uint32_t bits = (uint32_t)(~reader->inverse >> 32);
    const struct hpack_long_range *range = hpack_long_ranges;
    while (bits > range->last)
        range++;
    unsigned symbol = hpack_long_symbols[range->place + (bits >> (32 - range->length)) - range->first];
    if (range->length > reader->bit_count || symbol == HPACK_HUFFMAN_EOS)
        return false;
    drop_bits(reader, range->length);
    *ret_octet = (uint8_t)symbol;
    return true;
}

/* Octets written. The reader runs on as long as only the room was at its end. */
static size_t read_text(struct huffman_reader *reader, uint8_t *out, size_t capacity)
{
    struct huffman_reader now = *reader;
    size_t used = 0;
    while (now.state == HUFFMAN_RUNNING) {
        refill(&now);
        if (only_padding_left(&now)) {
            now.state = HUFFMAN_ENDED;
            break;
        }
        if (used == capacity)
            break;
        uint16_t code = look(&now);
        if (!is_whole(&now, code)) {
            if (code == 0 && read_long(&now, &out[used]))
                used++;
            else
                now.state = HUFFMAN_WRONG;
            continue;
        }
        do {
            out[used++] = (uint8_t)(code >> 8);
            drop_bits(&now, code & SHORT_LENGTH_MASK);
            code = look(&now);
        } while (used < capacity && is_whole(&now, code));
    }
    *reader = now;
    return used;
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
