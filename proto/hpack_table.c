#include "proto/hpack_table.h"

#include <assert.h>

void hpack_table_init(struct hpack_table *table, void *memory, uint32_t capacity)
{
    assert(capacity <= UINT16_MAX);
    uint32_t slots = capacity / HPACK_FIELD_OVERHEAD;
    *table = (struct hpack_table){.entries = memory,
                                  .octets = (uint8_t *)memory + slots * sizeof(struct hpack_entry),
                                  .capacity = capacity,
                                  .bytes_max = capacity};
}

static void make_room(struct hpack_table *table, size_t bytes)
{
    while (table->count > 0 && table->bytes + bytes > table->bytes_max) {
        const struct hpack_entry *oldest = hpack_table_entry(table, --table->count);
        table->bytes -= oldest->name_length + oldest->value_length + HPACK_FIELD_OVERHEAD;
    }
    /* From the beginning again: fewer entries lie across the end. */
    if (table->count == 0)
        table->write_at = 0;
}

void hpack_table_resize(struct hpack_table *table, uint32_t bytes_max)
{
    assert(bytes_max <= table->capacity);
    table->bytes_max = bytes_max;
    make_room(table, 0);
}

void hpack_table_clear(struct hpack_table *table)
{
    table->bytes = 0;
    table->count = 0;
    table->write_at = 0;
}

/* Packed: the entries, newest first, then their octets in the same order. */
size_t hpack_table_packed_bytes(const struct hpack_table *table)
{
    return table->count * sizeof(struct hpack_entry) + table->bytes - (size_t)table->count * HPACK_FIELD_OVERHEAD;
}

void hpack_table_pack(struct hpack_table *table, void *out)
{
    struct hpack_entry *entries = out;
    uint8_t *octets = (uint8_t *)(entries + table->count);
    for (uint32_t age = 0; age < table->count; age++) {
        entries[age] = *hpack_table_entry(table, age);
        const size_t length = (size_t)entries[age].name_length + entries[age].value_length;
        hpack_table_read(table, entries[age].offset, length, octets);
        octets += length;
    }
    table->entries = NULL;
    table->octets = NULL;
}

void hpack_table_unpack(struct hpack_table *table, const void *packed, void *memory)
{
    struct hpack_table fresh;
    const struct hpack_entry *entries = packed;
    const uint8_t *end = (const uint8_t *)packed + hpack_table_packed_bytes(table);
    hpack_table_init(&fresh, memory, table->capacity);
    fresh.bytes_max = table->bytes_max;
    for (uint32_t age = table->count; age-- > 0;) {
        const struct hpack_entry *entry = &entries[age];
        const uint8_t *value = end - entry->value_length, *name = value - entry->name_length;
        hpack_table_insert(&fresh, bytes_of(name, entry->name_length), bytes_of(value, entry->value_length), entry->id);
        end = name;
    }
    *table = fresh;
}

/* Copies to `offset` of the ring; the offset behind. */
static uint32_t write_octets(struct hpack_table *table, uint32_t offset, struct bytes text)
{
    uint32_t to_end = table->capacity - offset;
    if (text.length >= to_end) {
        memcpy(table->octets + offset, text.data, to_end);
        text = bytes_skip(text, to_end);
        offset = 0;
    }
    if (text.length > 0)
        memcpy(table->octets + offset, text.data, text.length);
    return offset + (uint32_t)text.length;
}

void hpack_table_insert(struct hpack_table *table, struct bytes name, struct bytes value, uint16_t id)
{
    size_t bytes = name.length + value.length + HPACK_FIELD_OVERHEAD;
    make_room(table, bytes);
    if (bytes > table->bytes_max)
        return;

    uint32_t slots = table->capacity / HPACK_FIELD_OVERHEAD;
    table->first = (table->first > 0 ? table->first : slots) - 1;
    table->entries[table->first] = (struct hpack_entry){.offset = (uint16_t)table->write_at,
                                                        .name_length = (uint16_t)name.length,
                                                        .value_length = (uint16_t)value.length,
                                                        .id = id};
    table->write_at = write_octets(table, table->write_at, name);
    table->write_at = write_octets(table, table->write_at, value);
    table->bytes += (uint32_t)bytes;
    table->count++;
}

void hpack_table_read(const struct hpack_table *table, uint32_t offset, size_t length, uint8_t *out)
{
    size_t to_end = table->capacity - offset;
    if (length > to_end) {
        memcpy(out, table->octets + offset, to_end);
        memcpy(out + to_end, table->octets, length - to_end);
    } else if (length > 0) {
        memcpy(out, table->octets + offset, length);
    }
}

bool hpack_table_has(const struct hpack_table *table, uint32_t offset, struct bytes text)
{
    if (offset >= table->capacity)
        offset -= table->capacity;
    size_t to_end = table->capacity - offset;
    if (text.length <= to_end)
        return text.length == 0 || memcmp(table->octets + offset, text.data, text.length) == 0;
    return memcmp(table->octets + offset, text.data, to_end) == 0 &&
           memcmp(table->octets, text.data + to_end, text.length - to_end) == 0;
}
