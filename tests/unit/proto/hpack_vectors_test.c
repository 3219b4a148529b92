#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "guarded.h"
#include "proto/hpack.h"
#include "proto/hpack_table.h"
#include "tests/unit/proto/vector_file.h"

/* Runs the text vectors of tests/vectors/hpack, whose README explains their form. */

enum { BLOCKS_MAX = 8, INPUT_BYTES_MAX = 4'096, WHOLE = 1 << 30, BY_OCTETS = 0 };

struct block {
    struct text input;
    struct text expected; /* lines as in the file, without "= " */
};

struct vector {
    const char *name;
    struct block blocks[BLOCKS_MAX];
    size_t block_count;
    uint32_t memory_bytes;
    uint32_t fields_max;
    uint32_t table_bytes;
};

static void text_escape(struct text *text, const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (data[i] == '\\')
            text_print(text, "\\\\");
        else if (data[i] < 0x20 || data[i] >= 0x7f)
            text_print(text, "\\x%02x", data[i]);
        else
            text_append(text, &data[i], 1);
    }
}

/* A decoder between guard pages -------------------------------------------------------------------------------- */

struct bench {
    struct guarded input;
    struct guarded memory[2]; /* the section's, by turns */
    struct guarded fields;
    struct guarded table;
    struct hpack_decoder decoder;
    struct hpack_section section;
    unsigned turn;
};

static void bench_create(struct bench *bench, const struct vector *vector)
{
    *bench = (struct bench){.input = guarded_create(INPUT_BYTES_MAX),
                            .memory = {guarded_create(vector->memory_bytes), guarded_create(vector->memory_bytes)},
                            .fields = guarded_create(vector->fields_max * sizeof(struct hpack_field)),
                            .table = guarded_create(HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES))};
    hpack_decoder_init(&bench->decoder,
                       guarded_place(&bench->table, NULL, 0) - HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES));
    hpack_table_resize(&bench->decoder.table, vector->table_bytes);
}

static void bench_destroy(struct bench *bench)
{
    guarded_destroy(&bench->input);
    guarded_destroy(&bench->memory[0]);
    guarded_destroy(&bench->memory[1]);
    guarded_destroy(&bench->fields);
    guarded_destroy(&bench->table);
}

static void bench_begin_block(struct bench *bench, uint32_t memory_bytes, uint32_t fields_max)
{
    uint8_t *fields = bench->fields.map + bench->fields.room - fields_max * sizeof(struct hpack_field);
    bench->section = (struct hpack_section){.memory = bench->memory[0].map + bench->memory[0].room - memory_bytes,
                                            .memory_bytes = memory_bytes,
                                            .fields = (struct hpack_field *)(void *)fields,
                                            .fields_max = fields_max};
    hpack_decode_begin(&bench->decoder);
}

/* The section's memory goes elsewhere, and what it was is no more. */
static void bench_move_memory(struct bench *bench)
{
    struct hpack_section *section = &bench->section;
    bench->turn ^= 1;
    struct guarded *to = &bench->memory[bench->turn];
    uint8_t *place = to->map + to->room - section->memory_bytes;
    if (place != section->memory) {
        memcpy(place, section->memory, section->used);
        memset(section->memory, 'Z', section->used);
    }
    section->memory = place;
}

static bool bench_decode(struct bench *bench, const uint8_t *data, size_t length, size_t *ret_consumed)
{
    const uint8_t *input = guarded_place(&bench->input, data, length);
    bench_move_memory(bench);
    bool good = hpack_decode(&bench->decoder, bytes_of(input, length), &bench->section, ret_consumed);
    assert_true(!good || *ret_consumed <= length);
    return good;
}

static void note_fields(const struct bench *bench, struct text *events)
{
    const struct hpack_section *section = &bench->section;
    for (uint32_t i = 0; i < section->field_count; i++) {
        const struct hpack_field *field = &section->fields[i];
        assert_true(field->name_offset + field->name_length <= section->used);
        assert_true(field->value_offset + field->value_length <= section->used);
        const uint8_t *name = section->memory + field->name_offset, *value = section->memory + field->value_offset;
        assert_int_equal(field->id, http_field_id_of(bytes_of(name, field->name_length)));
        text_print(events, "%s", field->never_indexed ? "never " : "");
        text_escape(events, name, field->name_length);
        text_print(events, ":%s", field->value_length > 0 ? " " : "");
        text_escape(events, value, field->value_length);
        text_print(events, "\n");
    }
}

/* Decodes a block in pieces of `piece`, or octet by octet, giving again what was left over; its events. */
static struct text run_block(struct bench *bench, const struct text *input, size_t piece)
{
    struct text events = {};
    size_t taken = 0, given = 0;
    bool good = true;
    while (good && given < input->length) {
        size_t step = piece == BY_OCTETS ? 1 : given == 0 && piece < input->length ? piece : input->length - given;
        size_t consumed = 0;
        given += step;
        good = bench_decode(bench, (const uint8_t *)input->data + taken, given - taken, &consumed);
        taken += good ? consumed : 0;
    }
    note_fields(bench, &events);
    if (bench->section.overflowed)
        text_print(&events, "overflow\n");
    if (!good) {
        text_print(&events, "wrong\n");
        return events;
    }
    if (taken < input->length)
        text_print(&events, "cut %zu\n", input->length - taken);
    text_print(&events, "section %u %llu\n", bench->section.seen_count, (unsigned long long)bench->section.list_bytes);
    text_print(&events, "table %u %u\n", bench->decoder.table.count, bench->decoder.table.bytes);
    return events;
}

/* Comparing ------------------------------------------------------------------------------------------------------- */

static bool may_be_left_out(const char *event)
{
    return strncmp(event, "section ", 8) == 0 || strncmp(event, "table ", 6) == 0;
}

static void assert_events(const struct vector *vector, size_t block, size_t piece, const char *events)
{
    const char *wanted = vector->blocks[block].expected.data ? vector->blocks[block].expected.data : "";
    for (const char *event = events; *event != '\0'; event = next_line(event)) {
        if (*wanted != '\0' && line_matches(event, wanted))
            wanted = next_line(wanted);
        else if (!may_be_left_out(event))
            fail_msg("%s, block %zu, piece %zu: wanted %.*s, events:\n%s", vector->name, block, piece,
                     (int)line_length(wanted), wanted, events);
    }
    if (*wanted != '\0')
        fail_msg("%s, block %zu, piece %zu: missing %s events:\n%s", vector->name, block, piece, wanted, events);
}

static void run_case(const struct vector *vector, size_t piece)
{
    struct bench bench;
    bench_create(&bench, vector);
    for (size_t i = 0; i < vector->block_count; i++) {
        bench_begin_block(&bench, vector->memory_bytes, vector->fields_max);
        struct text events = run_block(&bench, &vector->blocks[i].input, piece);
        assert_events(vector, i, piece, events.data);
        free(events.data);
    }
    bench_destroy(&bench);
}

/* Each block once with memory, or fields, for exactly what it holds, and once with one less: that must overflow, and
 * leave the same table. */
static void run_case_without_room(const struct vector *vector, uint32_t memory_less, uint32_t fields_less)
{
    struct bench roomy, tight;
    bench_create(&roomy, vector);
    bench_create(&tight, vector);
    for (size_t i = 0; i < vector->block_count; i++) {
        bench_begin_block(&roomy, vector->memory_bytes, vector->fields_max);
        struct text wanted = run_block(&roomy, &vector->blocks[i].input, WHOLE);
        uint32_t used = roomy.section.used, count = roomy.section.field_count;
        bool overflows = roomy.section.overflowed || used < memory_less || count < fields_less;
        bench_begin_block(&tight, overflows ? used : used - memory_less, overflows ? count : count - fields_less);
        struct text events = run_block(&tight, &vector->blocks[i].input, WHOLE);
        if (overflows || memory_less + fields_less == 0)
            assert_string_equal(events.data, wanted.data);
        else
            assert_true(tight.section.overflowed);
        assert_int_equal(tight.decoder.failed, roomy.decoder.failed);
        assert_int_equal(tight.section.seen_count, roomy.section.seen_count);
        assert_int_equal(tight.section.list_bytes, roomy.section.list_bytes);
        assert_int_equal(tight.decoder.table.count, roomy.decoder.table.count);
        assert_int_equal(tight.decoder.table.bytes, roomy.decoder.table.bytes);
        free(wanted.data);
        free(events.data);
    }
    bench_destroy(&roomy);
    bench_destroy(&tight);
}

static void run_vector(void **state)
{
    const struct vector *vector = *state;
    size_t longest = 0;
    for (size_t i = 0; i < vector->block_count; i++)
        if (vector->blocks[i].input.length > longest)
            longest = vector->blocks[i].input.length;
    run_case(vector, WHOLE);
    run_case(vector, BY_OCTETS);
    for (size_t cut = 1; cut < longest; cut++)
        run_case(vector, cut);
    run_case_without_room(vector, 0, 0);
    run_case_without_room(vector, 1, 0);
    run_case_without_room(vector, 0, 1);
}

/* Reading the files ----------------------------------------------------------------------------------------------- */

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Hex digits, blanks, and text in quotes. */
static void read_octets(struct text *input, const char *line)
{
    while (*line != '\0') {
        if (*line == '"') {
            size_t length = strcspn(line + 1, "\"");
            text_append(input, line + 1, length);
            line += length + 2;
        } else if (*line == ' ') {
            line++;
        } else {
            uint8_t octet = (uint8_t)(hex_digit(line[0]) << 4 | hex_digit(line[1]));
            text_append(input, &octet, 1);
            line += 2;
        }
    }
}

static void read_limits(struct vector *vector, const char *line)
{
    const struct {
        const char *name;
        uint32_t *value;
    } limits[] = {
        {"memory=", &vector->memory_bytes}, {"fields=", &vector->fields_max}, {"table=", &vector->table_bytes}};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        const char *at = strstr(line, limits[i].name);
        if (at)
            *limits[i].value = (uint32_t)strtoul(at + strlen(limits[i].name), NULL, 10);
    }
}

static void *vector_create(const char *name)
{
    struct vector *vector = calloc(1, sizeof(*vector));
    assert_non_null(vector);
    vector->name = name;
    vector->memory_bytes = 4'096;
    vector->fields_max = 100;
    vector->table_bytes = HPACK_DECODER_BYTES;
    return vector;
}

static void read_line(void *read, char *line)
{
    struct vector *vector = read;
    struct block *block = &vector->blocks[vector->block_count == 0 ? 0 : vector->block_count - 1];
    if (begins_with(line, "limits ")) {
        read_limits(vector, line + 7);
    } else if (strcmp(line, "block") == 0) {
        assert_true(vector->block_count < BLOCKS_MAX);
        vector->block_count++;
    } else if (begins_with(line, "> ")) {
        read_octets(&block->input, line + 2);
    } else if (begins_with(line, ">*")) {
        char *hex;
        for (unsigned long count = strtoul(line + 2, &hex, 10); count > 0; count--)
            read_octets(&block->input, hex);
    } else if (begins_with(line, "= ")) {
        text_print(&block->expected, "%s\n", line + 2);
    } else {
        fail_msg("%s: %s", vector->name, line);
    }
}

static void vector_destroy(void *owned)
{
    struct vector *vector = owned;
    for (size_t i = 0; i < BLOCKS_MAX; i++) {
        free(vector->blocks[i].input.data);
        free(vector->blocks[i].expected.data);
    }
    free(vector);
}

int main(void)
{
    static const struct vector_kind kind = {
        .name = "hpack_vectors",
        .directory = TESTS_DIR "/vectors/hpack",
        .run = run_vector,
        .create = vector_create,
        .read_line = read_line,
        .destroy = vector_destroy,
    };
    return vector_files_run(&kind);
}
