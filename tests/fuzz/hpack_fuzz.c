/*
 * HPACK: blocks whole, cut at places the input chooses, and with too little memory must leave the same dynamic table;
 * what was decoded must come back when it is encoded and decoded again; Huffman text has one coding.
 *
 * Input: one octet for the memory, one for the number of fields, then blocks: an octet for where to cut, an octet of
 * length, and so many octets.
 */
#include <assert.h>
#include <stdlib.h>

#include "proto/hpack.h"
#include "proto/hpack_table.h"

enum { MEMORY_BYTES = 1 << 13, FIELDS_MAX = 64, TABLE_ENTRIES = 640 };

/* One end, with memory of exactly its size, so that an octet too far is found. */
struct end {
    struct hpack_decoder decoder;
    struct hpack_entry *table;
    struct hpack_section section;
    bool good;
    bool cut;
};

static_assert(TABLE_ENTRIES * sizeof(struct hpack_entry) == HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES));

static void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes + (bytes == 0));
    assert(memory);
    return memory;
}

static void end_init(struct end *end, uint32_t memory_bytes, uint32_t fields_max)
{
    *end = (struct end){.table = allocate(TABLE_ENTRIES * sizeof(struct hpack_entry)), .good = true};
    end->section = (struct hpack_section){.memory = allocate(memory_bytes),
                                          .memory_bytes = memory_bytes,
                                          .fields = allocate(fields_max * sizeof(struct hpack_field)),
                                          .fields_max = fields_max};
    hpack_decoder_init(&end->decoder, end->table);
}

static void end_deinit(struct end *end)
{
    free(end->table);
    free(end->section.memory);
    free(end->section.fields);
}

static void end_begin(struct end *end)
{
    end->section = (struct hpack_section){.memory = end->section.memory,
                                          .memory_bytes = end->section.memory_bytes,
                                          .fields = end->section.fields,
                                          .fields_max = end->section.fields_max};
    hpack_decode_begin(&end->decoder);
}

static size_t feed(struct end *end, struct bytes input)
{
    size_t consumed = 0;
    uint8_t *copy = allocate(input.length);
    memcpy(copy, input.data, input.length);
    end->good = end->good && hpack_decode(&end->decoder, bytes_of(copy, input.length), &end->section, &consumed);
    assert(consumed <= input.length);
    free(copy);
    return consumed;
}

/* In steps of `step` octets, giving again what is left over. */
static void decode(struct end *end, struct bytes block, size_t step)
{
    size_t taken = 0;
    end_begin(end);
    for (size_t given = 0; given < block.length && end->good;) {
        given = step < block.length - given ? given + step : block.length;
        taken += feed(end, bytes_of(block.data + taken, given - taken));
    }
    end->cut = taken < block.length;
}

static struct bytes name_of(const struct end *end, uint32_t index)
{
    const struct hpack_field *field = &end->section.fields[index];
    assert(field->name_offset + field->name_length <= end->section.used);
    return bytes_of(end->section.memory + field->name_offset, field->name_length);
}

static struct bytes value_of(const struct end *end, uint32_t index)
{
    const struct hpack_field *field = &end->section.fields[index];
    assert(field->value_offset + field->value_length <= end->section.used);
    return bytes_of(end->section.memory + field->value_offset, field->value_length);
}

static void assert_same_table(const struct hpack_table *a, const struct hpack_table *b)
{
    assert(a->count == b->count && a->bytes == b->bytes && a->bytes_max == b->bytes_max);
    assert(a->bytes <= a->bytes_max && a->bytes_max <= a->capacity);
    uint32_t bytes = 0;
    for (uint32_t age = 0; age < a->count; age++) {
        const struct hpack_entry *x = hpack_table_entry(a, age), *y = hpack_table_entry(b, age);
        size_t length = x->name_length + x->value_length;
        uint8_t text[HPACK_DECODER_BYTES];
        assert(x->name_length == y->name_length && x->value_length == y->value_length && x->id == y->id);
        hpack_table_read(a, x->offset, length, text);
        assert(hpack_table_has(b, y->offset, bytes_of(text, length)));
        assert(x->id == http_field_id_of(bytes_of(text, x->name_length)));
        bytes += (uint32_t)length + HPACK_FIELD_OVERHEAD;
    }
    assert(bytes == a->bytes);
}

/* `b` may have kept less. */
static void assert_same(const struct end *a, const struct end *b)
{
    assert(a->good == b->good && a->cut == b->cut);
    assert(a->section.seen_count == b->section.seen_count && a->section.list_bytes == b->section.list_bytes);
    assert(b->section.overflowed ? b->section.field_count <= a->section.field_count
                                 : b->section.field_count == a->section.field_count);
    for (uint32_t i = 0; i < b->section.field_count; i++) {
        assert(bytes_equal(name_of(a, i), name_of(b, i)) && bytes_equal(value_of(a, i), value_of(b, i)));
        assert(a->section.fields[i].id == b->section.fields[i].id);
        assert(a->section.fields[i].id == http_field_id_of(name_of(a, i)));
        assert(a->section.fields[i].never_indexed == b->section.fields[i].never_indexed);
    }
    assert_same_table(&a->decoder.table, &b->decoder.table);
}

/* What `from` holds, encoded for `to`; without a field there is nothing that could tell `to` of a new limit. */
static void assert_comes_back(struct hpack_encoder *encoder, const struct end *from, struct end *to)
{
    size_t bytes = 0, used = 0;
    if (from->section.field_count == 0)
        return;
    for (uint32_t i = 0; i < from->section.field_count; i++)
        bytes += hpack_encoded_max(name_of(from, i).length, value_of(from, i).length);
    uint8_t *block = allocate(bytes);
    for (uint32_t i = 0; i < from->section.field_count; i++) {
        struct bytes name = name_of(from, i), value = value_of(from, i);
        size_t length = hpack_encode(encoder, name, from->section.fields[i].id, value, block + used);
        assert(length > 0 && length <= hpack_encoded_max(name.length, value.length));
        used += length;
    }
    decode(to, bytes_of(block, used), used + 1);
    assert(to->good && !to->cut && to->section.field_count == from->section.field_count);
    for (uint32_t i = 0; i < from->section.field_count; i++)
        assert(bytes_equal(name_of(from, i), name_of(to, i)) && bytes_equal(value_of(from, i), value_of(to, i)));
    assert(encoder->table.count == to->decoder.table.count && encoder->table.bytes == to->decoder.table.bytes);
    free(block);
}

static void check_huffman(struct bytes input)
{
    size_t room = input.length * 8 / 5, coded_length = hpack_huffman_length(input);
    uint8_t *text = allocate(room), *coded = allocate(coded_length > input.length ? coded_length : input.length);
    int64_t length = hpack_huffman_decode(input, text, room);
    assert(length == hpack_huffman_measure(input));
    if (length >= 0) {
        assert(hpack_huffman_length(bytes_of(text, (size_t)length)) == input.length);
        assert(hpack_huffman_encode(bytes_of(text, (size_t)length), coded) == input.length);
        assert(memcmp(coded, input.data, input.length) == 0);
    }
    assert(hpack_huffman_encode(input, coded) == coded_length);
    assert(hpack_huffman_measure(bytes_of(coded, coded_length)) == (int64_t)input.length);
    free(text);
    free(coded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    struct end whole, parts, tight, back;
    struct hpack_encoder encoder;
    struct hpack_entry *encoder_table = allocate(HPACK_TABLE_MEMORY(HPACK_ENCODER_BYTES));
    end_init(&whole, MEMORY_BYTES, FIELDS_MAX);
    end_init(&parts, MEMORY_BYTES, FIELDS_MAX);
    end_init(&tight, data[0], data[1] % 8);
    end_init(&back, MEMORY_BYTES, FIELDS_MAX);
    hpack_encoder_init(&encoder, encoder_table);

    check_huffman(bytes_of(data + 2, size - 2));
    for (struct bytes rest = bytes_of(data + 2, size - 2); rest.length > 2 && whole.good;) {
        size_t length = rest.data[1] < rest.length - 2 ? rest.data[1] : rest.length - 2;
        struct bytes block = bytes_of(rest.data + 2, length);
        decode(&whole, block, length + 1);
        decode(&parts, block, rest.data[0] % 16U + 1);
        decode(&tight, block, length + 1);
        assert_same(&whole, &parts);
        assert_same(&whole, &tight);
        if (rest.data[0] >= 0xf0)
            hpack_encoder_limit(&encoder, rest.data[0] % 16U * 100);
        assert_comes_back(&encoder, &whole, &back);
        rest = bytes_skip(rest, 2 + length);
    }
    end_deinit(&whole);
    end_deinit(&parts);
    end_deinit(&tight);
    end_deinit(&back);
    free(encoder_table);
    return 0;
}
