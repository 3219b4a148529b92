#include "proto/hpack.h"

#include <assert.h>

#include "proto/hpack_table.h"
#include "proto/hpack_wire.h"

enum {
    SIZE_UPDATE_BYTES_MAX = 3, /* of sizes up to HPACK_ENCODER_BYTES */
    NUMBER_BYTES_MAX = 6,
    SECRET_SHORT_BYTES = 20, /* below this a value might be guessed, RFC 7541 7.1.3 */
    KNOWN_NAME_BYTES_MAX = sizeof(hpack_known_names[0].text) - 1,
    STATUS_INDEX = 8,
};

static_assert(HPACK_ENCODER_BYTES < HPACK_SIZE_UPDATE_MASK + (1 << 14), "a size update takes three octets");

/* Octets ----------------------------------------------------------------------------------------------------------- */

static uint8_t *put_number(uint8_t *at, uint8_t kind, uint8_t mask, size_t number)
{
    if (number < mask) {
        *at++ = (uint8_t)(kind | number);
        return at;
    }
    *at++ = kind | mask;
    for (number -= mask; number >= 0x80; number >>= 7)
        *at++ = (uint8_t)(number | 0x80);
    *at++ = (uint8_t)number;
    return at;
}

static uint8_t *put_string(uint8_t *at, struct bytes text)
{
    size_t coded_length = hpack_huffman_length(text);
    if (coded_length < text.length) {
        at = put_number(at, HPACK_STRING_HUFFMAN, HPACK_STRING_MASK, coded_length);
        return at + hpack_huffman_encode(text, at);
    }
    at = put_number(at, 0, HPACK_STRING_MASK, text.length);
    if (text.length > 0)
        memcpy(at, text.data, text.length);
    return at + text.length;
}

static uint8_t *put_due_updates(struct hpack_encoder *encoder, uint8_t *at)
{
    if (!encoder->update_due)
        return at;
    uint32_t bytes_max = encoder->table.bytes_max;
    if (encoder->update_smallest < bytes_max)
        at = put_number(at, HPACK_SIZE_UPDATE, HPACK_SIZE_UPDATE_MASK, encoder->update_smallest);
    at = put_number(at, HPACK_SIZE_UPDATE, HPACK_SIZE_UPDATE_MASK, bytes_max);
    encoder->update_due = false;
    return at;
}

/* What is known of a field ----------------------------------------------------------------------------------------- */

/* Indices of the dynamic table, 0 for none. */
struct match {
    uint32_t field;
    uint32_t name;
};

static bool entry_has_name(const struct hpack_table *table, const struct hpack_entry *entry, struct bytes name,
                           uint16_t id)
{
    return entry->id == id && entry->name_length == name.length &&
           (id != HTTP_FIELD_OTHER || hpack_table_has(table, entry->offset, name));
}

static struct match find_field(const struct hpack_table *table, struct bytes name, uint16_t id, struct bytes value)
{
    struct match match = {};
    for (uint32_t age = 0; age < table->count; age++) {
        const struct hpack_entry *entry = hpack_table_entry(table, age);
        if (!entry_has_name(table, entry, name, id))
            continue;
        match.name = HPACK_DYNAMIC_FIRST + age;
        if (entry->value_length == value.length && hpack_table_has(table, entry->offset + entry->name_length, value)) {
            match.field = match.name;
            break;
        }
    }
    return match;
}

static const struct hpack_known_name *known_name(struct bytes name)
{
    if (name.length == 0 || name.length > KNOWN_NAME_BYTES_MAX)
        return &hpack_known_names[0];
    unsigned slot = ((unsigned)name.length * HPACK_WEIGHT_LENGTH + name.data[0] * (unsigned)HPACK_WEIGHT_FIRST +
                     name.data[name.length * 3 / 4] * (unsigned)HPACK_WEIGHT_THIRD_QUARTER +
                     name.data[name.length - 1] * (unsigned)HPACK_WEIGHT_LAST) %
                    HPACK_NAME_SLOTS;
    const struct hpack_known_name *known = &hpack_known_names[hpack_name_of_slot[slot]];
    bool same = known->length == name.length && memcmp(known->text, name.data, name.length) == 0;
    return same ? known : &hpack_known_names[0];
}

/* Eight octets of the beginning and of the end, which are where one identifier differs from the next. */
static uint64_t edges(struct bytes text)
{
    uint64_t front = 0, back = 0;
    size_t length = text.length < sizeof(front) ? text.length : sizeof(front);
    if (length > 0) {
        memcpy(&front, text.data, length);
        memcpy(&back, text.data + text.length - length, length);
    }
    return (front * 0x9e3779b97f4a7c15U ^ (front >> 32) ^ text.length) * 0xbf58476d1ce4e5b9U + back;
}

/* Whether a field was met not long ago. One that is taken for another gets its place too early, which harms nobody. */
static bool met_before(struct hpack_encoder *encoder, struct bytes name, struct bytes value)
{
    uint64_t mixed = (edges(name) * 0x94d049bb133111ebU ^ edges(value)) * 0x9e3779b97f4a7c15U;
    uint32_t mark = (uint32_t)(mixed >> 32) | 1;
    for (unsigned i = 0; i < HPACK_ENCODER_MARKS; i++)
        if (encoder->marks[i] == mark)
            return true;
    encoder->marks[encoder->next_mark] = mark;
    encoder->next_mark = (encoder->next_mark + 1) % HPACK_ENCODER_MARKS;
    return false;
}

/* The kind of literal, by its first octet. */
static uint8_t literal_kind(struct hpack_encoder *encoder, const struct hpack_known_name *known, struct bytes name,
                            struct bytes value)
{
    if (known->policy == HPACK_POLICY_SECRET)
        return value.length < SECRET_SHORT_BYTES ? HPACK_LITERAL_NEVER_INDEXED : HPACK_LITERAL_PLAIN;
    if (known->policy == HPACK_POLICY_PLAIN)
        return HPACK_LITERAL_PLAIN;
    /* What would push out nearly all else is dearer in the table than on the way. */
    if (name.length + value.length + HPACK_FIELD_OVERHEAD > encoder->table.bytes_max / 4 * 3)
        return HPACK_LITERAL_PLAIN;
    if (known->policy == HPACK_POLICY_SECOND_TIME && !met_before(encoder, name, value))
        return HPACK_LITERAL_PLAIN;
    return HPACK_LITERAL_INDEXED;
}

static bool static_has_value(uint32_t index, struct bytes value)
{
    const struct hpack_static_entry *entry = &hpack_static_entries[index];
    return entry->value_length == value.length &&
           (value.length == 0 || memcmp(entry->text + entry->name_length, value.data, value.length) == 0);
}

/* Fields ----------------------------------------------------------------------------------------------------------- */

static uint8_t *put_literal(struct hpack_encoder *encoder, uint8_t *at, struct bytes name, uint16_t id,
                            struct bytes value, uint32_t dynamic_name)
{
    const struct hpack_known_name *known = known_name(name);
    if (known->static_index != 0 && static_has_value(known->static_index, value))
        return put_number(at, HPACK_INDEXED, HPACK_INDEXED_MASK, known->static_index);

    uint8_t kind = literal_kind(encoder, known, name, value);
    uint32_t name_index = known->static_index != 0 ? known->static_index : dynamic_name;
    at = put_number(at, kind, kind == HPACK_LITERAL_INDEXED ? HPACK_LITERAL_INDEXED_MASK : HPACK_LITERAL_MASK,
                    name_index);
    if (name_index == 0)
        at = put_string(at, name);
    at = put_string(at, value);
    if (kind == HPACK_LITERAL_INDEXED)
        hpack_table_insert(&encoder->table, name, value, id);
    return at;
}

void hpack_encoder_init(struct hpack_encoder *encoder, void *memory)
{
    *encoder = (struct hpack_encoder){.update_due = true, .update_smallest = HPACK_ENCODER_BYTES};
    hpack_table_init(&encoder->table, memory, HPACK_ENCODER_BYTES);
}

void hpack_encoder_limit(struct hpack_encoder *encoder, uint32_t bytes)
{
    if (bytes > HPACK_ENCODER_BYTES)
        bytes = HPACK_ENCODER_BYTES;
    if (!encoder->update_due || bytes < encoder->update_smallest)
        encoder->update_smallest = bytes;
    encoder->update_due = true;
    hpack_table_resize(&encoder->table, bytes);
}

size_t hpack_encoded_max(size_t name_length, size_t value_length)
{
    return 2 * SIZE_UPDATE_BYTES_MAX + 1 + 2 * NUMBER_BYTES_MAX + name_length + value_length;
}

size_t hpack_encode_status(struct hpack_encoder *encoder, uint16_t status, uint8_t *out)
{
    static const uint16_t indexed[] = {200, 204, 206, 304, 400, 404, 500};
    for (uint32_t i = 0; i < sizeof(indexed) / sizeof(indexed[0]); i++)
        if (indexed[i] == status)
            return (
                size_t)(put_number(put_due_updates(encoder, out), HPACK_INDEXED, HPACK_INDEXED_MASK, STATUS_INDEX + i) -
                        out);
    const uint8_t digits[] = {(uint8_t)('0' + status / 100 % 10), (uint8_t)('0' + status / 10 % 10),
                              (uint8_t)('0' + status % 10)};
    return hpack_encode(encoder, BYTES_LITERAL(":status"), HTTP_FIELD_OTHER, bytes_of(digits, sizeof(digits)), out);
}

size_t hpack_encode(struct hpack_encoder *encoder, struct bytes lower_name, enum http_field_id id, struct bytes value,
                    uint8_t *out)
{
    uint8_t *at = put_due_updates(encoder, out);
    struct match match = find_field(&encoder->table, lower_name, (uint16_t)id, value);
    if (match.field != 0)
        at = put_number(at, HPACK_INDEXED, HPACK_INDEXED_MASK, match.field);
    else
        at = put_literal(encoder, at, lower_name, (uint16_t)id, value, match.name);
    return (size_t)(at - out);
}
