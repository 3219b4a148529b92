#include "proto/hpack.h"

#include <assert.h>

#include "proto/hpack_table.h"
#include "proto/hpack_wire.h"

/* H2-27. */
enum { INTEGER_MAX = 1 << 28, INTEGER_OCTETS_MAX = 5 };

/* Octets ----------------------------------------------------------------------------------------------------------- */

enum step { STEP_DONE, STEP_CUT, STEP_WRONG };

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

/* RFC 7541 5.1; `mask` has the bits of the first octet, which is there. */
static enum step take_integer(struct cursor *cursor, uint8_t mask, uint32_t *ret_value)
{
    uint64_t value = *cursor->at++ & mask;
    if (value < mask) {
        *ret_value = (uint32_t)value;
        return STEP_DONE;
    }
    for (unsigned i = 0; i < INTEGER_OCTETS_MAX; i++) {
        if (cursor->at == cursor->end)
            return STEP_CUT;
        uint8_t octet = *cursor->at++;
        value += (uint64_t)(octet & 0x7f) << (7 * i);
        if (value > INTEGER_MAX)
            return STEP_WRONG;
        if (octet < 0x80) {
            *ret_value = (uint32_t)value;
            return STEP_DONE;
        }
    }
    return STEP_WRONG;
}

/* A string as it came. */
struct coded_string {
    struct bytes octets;
    bool huffman;
};

static enum step take_string(struct cursor *cursor, struct coded_string *ret_string)
{
    if (cursor->at == cursor->end)
        return STEP_CUT;
    bool huffman = (*cursor->at & HPACK_STRING_HUFFMAN) != 0;
    uint32_t length;
    enum step step = take_integer(cursor, HPACK_STRING_MASK, &length);
    if (step != STEP_DONE)
        return step;
    if ((size_t)(cursor->end - cursor->at) < length)
        return STEP_CUT;
    *ret_string = (struct coded_string){bytes_of(cursor->at, length), huffman};
    cursor->at += length;
    return STEP_DONE;
}

/* What decoding may come to; for most strings this spares measuring. */
static size_t string_bound(const struct coded_string *string)
{
    return string->huffman ? string->octets.length * 8 / 5 : string->octets.length;
}

static int64_t string_measure(const struct coded_string *string)
{
    return string->huffman ? hpack_huffman_measure(string->octets) : (int64_t)string->octets.length;
}

static int64_t string_write(const struct coded_string *string, uint8_t *out, size_t capacity)
{
    if (string->huffman)
        return hpack_huffman_decode(string->octets, out, capacity);
    if (string->octets.length > 0)
        memcpy(out, string->octets.data, string->octets.length);
    return (int64_t)string->octets.length;
}

/* What an index means ---------------------------------------------------------------------------------------------- */

/* A field of the static table, or, where `fixed` is NULL, of the dynamic one. */
struct indexed {
    const struct hpack_static_entry *fixed;
    uint32_t offset;
    uint32_t name_length;
    uint32_t value_length;
    uint16_t id;
};

static bool find_index(const struct hpack_table *table, uint32_t index, struct indexed *ret_indexed)
{
    if (index - 1 < HPACK_STATIC_COUNT) {
        const struct hpack_static_entry *fixed = &hpack_static_entries[index];
        *ret_indexed = (struct indexed){fixed, 0, fixed->name_length, fixed->value_length, fixed->id};
        return true;
    }
    if (index - HPACK_DYNAMIC_FIRST >= table->count)
        return false;
    const struct hpack_entry *entry = hpack_table_entry(table, index - HPACK_DYNAMIC_FIRST);
    *ret_indexed = (struct indexed){NULL, entry->offset, entry->name_length, entry->value_length, entry->id};
    return true;
}

/* The first `length` octets of name and value, one behind the other. */
static void indexed_read(const struct hpack_table *table, const struct indexed *indexed, size_t length, uint8_t *out)
{
    if (indexed->fixed)
        memcpy(out, indexed->fixed->text, length);
    else
        hpack_table_read(table, indexed->offset, length, out);
}

/* The section ------------------------------------------------------------------------------------------------------ */

/* Once a field was dropped, so are all that follow: the request will be refused. */
static bool section_has_room(const struct hpack_section *section, size_t bytes)
{
    return !section->overflowed && section->field_count < section->fields_max &&
           bytes <= section->memory_bytes - section->used;
}

static void section_count(struct hpack_section *section, size_t name_length, size_t value_length)
{
    section->seen_count++;
    section->list_bytes += name_length + value_length + HPACK_FIELD_OVERHEAD;
}

/* The field whose name and value stand at the end of what is used of the memory. */
static void section_keep(struct hpack_section *section, size_t name_length, size_t value_length, uint16_t id,
                         bool never_indexed)
{
    section->fields[section->field_count++] =
        (struct hpack_field){.name_offset = section->used,
                             .name_length = (uint32_t)name_length,
                             .value_offset = section->used + (uint32_t)name_length,
                             .value_length = (uint32_t)value_length,
                             .id = id,
                             .never_indexed = never_indexed};
    section->used += (uint32_t)(name_length + value_length);
    section_count(section, name_length, value_length);
}

static void section_drop(struct hpack_section *section, size_t name_length, size_t value_length)
{
    section->overflowed = true;
    section_count(section, name_length, value_length);
}

/* Representations -------------------------------------------------------------------------------------------------- */

static enum step decode_indexed(struct hpack_decoder *decoder, struct cursor *cursor, struct hpack_section *section)
{
    uint32_t index;
    struct indexed indexed;
    enum step step = take_integer(cursor, HPACK_INDEXED_MASK, &index);
    if (step != STEP_DONE)
        return step;
    if (!find_index(&decoder->table, index, &indexed))
        return STEP_WRONG;

    size_t bytes = indexed.name_length + indexed.value_length;
    if (!section_has_room(section, bytes)) {
        section_drop(section, indexed.name_length, indexed.value_length);
        return STEP_DONE;
    }
    indexed_read(&decoder->table, &indexed, bytes, section->memory + section->used);
    section_keep(section, indexed.name_length, indexed.value_length, indexed.id, false);
    return STEP_DONE;
}

/* A literal field as it came: its name by index, or as a string. */
struct literal {
    bool has_index;
    struct indexed named;
    struct coded_string name;
    struct coded_string value;
    bool incremental;
    bool never_indexed;
};

static enum step take_literal(const struct hpack_decoder *decoder, struct cursor *cursor, struct literal *ret_literal)
{
    uint8_t first = *cursor->at;
    uint32_t index;
    ret_literal->incremental = (first & HPACK_LITERAL_INDEXED) != 0;
    ret_literal->never_indexed = !ret_literal->incremental && (first & HPACK_LITERAL_NEVER_INDEXED) != 0;
    enum step step =
        take_integer(cursor, ret_literal->incremental ? HPACK_LITERAL_INDEXED_MASK : HPACK_LITERAL_MASK, &index);
    if (step != STEP_DONE)
        return step;
    ret_literal->has_index = index != 0;
    if (index == 0)
        step = take_string(cursor, &ret_literal->name);
    else if (!find_index(&decoder->table, index, &ret_literal->named))
        return STEP_WRONG;
    return step == STEP_DONE ? take_string(cursor, &ret_literal->value) : step;
}

/* Name and value, one behind the other at `out`. */
struct text {
    size_t name_length;
    size_t value_length;
    uint16_t id;
};

static bool literal_write(const struct hpack_table *table, const struct literal *literal, uint8_t *out, size_t capacity,
                          struct text *ret_text)
{
    if (literal->has_index) {
        ret_text->name_length = literal->named.name_length;
        ret_text->id = literal->named.id;
        indexed_read(table, &literal->named, ret_text->name_length, out);
    } else {
        int64_t length = string_write(&literal->name, out, capacity);
        if (length < 0)
            return false;
        ret_text->name_length = (size_t)length;
        ret_text->id = http_field_id_of(bytes_of(out, ret_text->name_length));
    }
    int64_t length = string_write(&literal->value, out + ret_text->name_length, capacity - ret_text->name_length);
    ret_text->value_length = (size_t)length;
    return length >= 0;
}

static void table_insert_text(struct hpack_table *table, const uint8_t *at, const struct text *text)
{
    hpack_table_insert(table, bytes_of(at, text->name_length), bytes_of(at + text->name_length, text->value_length),
                       text->id);
}

static enum step keep_literal(struct hpack_decoder *decoder, const struct literal *literal,
                              struct hpack_section *section)
{
    uint8_t *at = section->memory + section->used;
    struct text text;
    if (!literal_write(&decoder->table, literal, at, section->memory_bytes - section->used, &text))
        return STEP_WRONG;
    section_keep(section, text.name_length, text.value_length, text.id, literal->never_indexed);
    if (literal->incremental)
        table_insert_text(&decoder->table, at, &text);
    return STEP_DONE;
}

/* The table must know also what the section has no room for, or all that follows would be misunderstood. */
static void insert_dropped(struct hpack_table *table, const struct literal *literal, size_t bytes)
{
    /* As large as any entry; cleared for nothing, it would be the price of a flood of dropped fields. */
    uint8_t scratch[HPACK_DECODER_BYTES] __attribute__((uninitialized));
    struct text text;
    if (bytes + HPACK_FIELD_OVERHEAD > table->bytes_max) {
        hpack_table_clear(table);
        return;
    }
    bool good = literal_write(table, literal, scratch, sizeof(scratch), &text);
    assert(good); /* it has been measured */
    table_insert_text(table, scratch, &text);
}

/* A literal that might not fit: how long it is has to be known exactly. */
static enum step decode_tight_literal(struct hpack_decoder *decoder, const struct literal *literal,
                                      struct hpack_section *section)
{
    int64_t name_length = literal->has_index ? literal->named.name_length : string_measure(&literal->name);
    int64_t value_length = string_measure(&literal->value);
    if (name_length < 0 || value_length < 0)
        return STEP_WRONG;
    size_t bytes = (size_t)(name_length + value_length);
    if (section_has_room(section, bytes))
        return keep_literal(decoder, literal, section);
    section_drop(section, (size_t)name_length, (size_t)value_length);
    if (literal->incremental)
        insert_dropped(&decoder->table, literal, bytes);
    return STEP_DONE;
}

static enum step decode_literal(struct hpack_decoder *decoder, struct cursor *cursor, struct hpack_section *section)
{
    struct literal literal;
    enum step step = take_literal(decoder, cursor, &literal);
    if (step != STEP_DONE)
        return step;
    size_t name_bound = literal.has_index ? literal.named.name_length : string_bound(&literal.name);
    if (section_has_room(section, name_bound + string_bound(&literal.value)))
        return keep_literal(decoder, &literal, section);
    return decode_tight_literal(decoder, &literal, section);
}

static enum step decode_size_update(struct hpack_decoder *decoder, struct cursor *cursor)
{
    uint32_t bytes;
    enum step step = take_integer(cursor, HPACK_SIZE_UPDATE_MASK, &bytes);
    if (step != STEP_DONE)
        return step;
    if (!decoder->update_allowed || bytes > decoder->table.capacity)
        return STEP_WRONG;
    hpack_table_resize(&decoder->table, bytes);
    return STEP_DONE;
}

static enum step decode_one(struct hpack_decoder *decoder, struct cursor *cursor, struct hpack_section *section)
{
    uint8_t first = *cursor->at;
    if ((first & (HPACK_INDEXED | HPACK_LITERAL_INDEXED | HPACK_SIZE_UPDATE)) == HPACK_SIZE_UPDATE)
        return decode_size_update(decoder, cursor);
    decoder->update_allowed = false;
    return (first & HPACK_INDEXED) != 0 ? decode_indexed(decoder, cursor, section)
                                        : decode_literal(decoder, cursor, section);
}

void hpack_decoder_init(struct hpack_decoder *decoder, void *memory)
{
    *decoder = (struct hpack_decoder){};
    hpack_table_init(&decoder->table, memory, HPACK_DECODER_BYTES);
}

void hpack_decode_begin(struct hpack_decoder *decoder)
{
    decoder->update_allowed = true;
}

bool hpack_decode(struct hpack_decoder *decoder, struct bytes input, struct hpack_section *section,
                  size_t *ret_consumed)
{
    struct cursor cursor = {input.data, input.data + input.length};
    size_t consumed = 0;
    enum step step = decoder->failed ? STEP_WRONG : STEP_DONE;
    while (step == STEP_DONE && consumed < input.length) {
        step = decode_one(decoder, &cursor, section);
        if (step == STEP_DONE)
            consumed = (size_t)(cursor.at - input.data);
    }
    if (step == STEP_WRONG) {
        decoder->failed = true;
        return false;
    }
    *ret_consumed = consumed;
    return true;
}
