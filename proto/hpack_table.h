/*
 * The dynamic table of HPACK (RFC 7541 2.3.2, 4): entries in a ring, their octets in another, the oldest leaving first.
 *
 * An entry's octets may lie across the end of their ring; callers get them in two parts or copied, never in place.
 *
 * Owns:    nothing; see hpack.h.
 */
#ifndef PROTO_HPACK_TABLE_H
#define PROTO_HPACK_TABLE_H

#include "proto/hpack.h"

/* `memory`, of HPACK_TABLE_MEMORY(capacity), stays with the table. */
void hpack_table_init(struct hpack_table *table, void *memory, uint32_t capacity);

/* A new maximum, of `capacity` at most; what no longer fits leaves. */
void hpack_table_resize(struct hpack_table *table, uint32_t bytes_max);

void hpack_table_clear(struct hpack_table *table);

/* While nobody uses the table, what it holds may lie in less memory: so much, written at `out`, aligned as the table's.
 * The table's own is free from then on, until it is given back as `memory`, with what was packed. */
size_t hpack_table_packed_bytes(const struct hpack_table *table);
void hpack_table_pack(struct hpack_table *table, void *out);
void hpack_table_unpack(struct hpack_table *table, const void *packed, void *memory);

/* Neither span may lie in the table. An entry that is larger than the table empties it and is not kept (4.4). */
void hpack_table_insert(struct hpack_table *table, struct bytes name, struct bytes value, uint16_t id);

/* `age`: 0 for the newest; less than `count`. */
static inline const struct hpack_entry *hpack_table_entry(const struct hpack_table *table, uint32_t age)
{
    uint32_t slots = table->capacity / HPACK_FIELD_OVERHEAD;
    uint32_t slot = table->first + age;
    return &table->entries[slot < slots ? slot : slot - slots];
}

/* Copies the first `length` octets of name and value of the entry at `offset`. */
void hpack_table_read(const struct hpack_table *table, uint32_t offset, size_t length, uint8_t *out);

/* Whether the ring has `text` at `offset`, which is that of an entry, with the length of its name added or without. */
bool hpack_table_has(const struct hpack_table *table, uint32_t offset, struct bytes text);

#endif
