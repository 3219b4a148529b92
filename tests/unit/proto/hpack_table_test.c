#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guarded.h"
#include "proto/hpack_table.h"

enum { CAPACITY = 256, ROUNDS = 20'000, TEXT_MAX = 300, KEPT_MAX = CAPACITY / HPACK_FIELD_OVERHEAD };

/* What the table should be: a list, the newest first. */
struct kept {
    uint8_t text[TEXT_MAX];
    size_t name_length;
    size_t value_length;
};

struct model {
    struct kept kept[KEPT_MAX];
    size_t count;
    size_t bytes;
    size_t bytes_max;
};

struct fixture {
    struct guarded memory;
    struct hpack_table table;
    struct model model;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture->memory = guarded_create(HPACK_TABLE_MEMORY(CAPACITY));
    hpack_table_init(&fixture->table, fixture->memory.map + fixture->memory.room - HPACK_TABLE_MEMORY(CAPACITY),
                     CAPACITY);
    fixture->model.bytes_max = CAPACITY;
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    guarded_destroy(&fixture->memory);
    free(fixture);
    return 0;
}

static uint32_t chance(uint32_t *seed)
{
    *seed = *seed * 1'664'525 + 1'013'904'223;
    return *seed >> 8;
}

static void model_make_room(struct model *model, size_t bytes)
{
    while (model->count > 0 && model->bytes + bytes > model->bytes_max) {
        const struct kept *oldest = &model->kept[--model->count];
        model->bytes -= oldest->name_length + oldest->value_length + HPACK_FIELD_OVERHEAD;
    }
}

static void model_insert(struct model *model, const struct kept *kept)
{
    size_t bytes = kept->name_length + kept->value_length + HPACK_FIELD_OVERHEAD;
    model_make_room(model, bytes);
    if (bytes > model->bytes_max)
        return;
    memmove(&model->kept[1], &model->kept[0], model->count * sizeof(model->kept[0]));
    model->kept[0] = *kept;
    model->count++;
    model->bytes += bytes;
}

static void assert_as_model(const struct fixture *fixture)
{
    const struct hpack_table *table = &fixture->table;
    assert_int_equal(table->count, fixture->model.count);
    assert_int_equal(table->bytes, fixture->model.bytes);
    for (uint32_t age = 0; age < table->count; age++) {
        const struct hpack_entry *entry = hpack_table_entry(table, age);
        const struct kept *kept = &fixture->model.kept[age];
        size_t length = kept->name_length + kept->value_length;
        uint8_t text[TEXT_MAX];
        assert_int_equal(entry->name_length, kept->name_length);
        assert_int_equal(entry->value_length, kept->value_length);
        assert_int_equal(entry->id, kept->name_length);
        hpack_table_read(table, entry->offset, length, text);
        assert_memory_equal(text, kept->text, length);
        assert_true(hpack_table_has(table, entry->offset, bytes_of(kept->text, kept->name_length)));
        struct bytes value = bytes_of(kept->text + kept->name_length, kept->value_length);
        assert_true(hpack_table_has(table, (uint32_t)(entry->offset + entry->name_length), value));
        if (length == 0)
            continue;
        text[length - 1] ^= 1;
        assert_false(hpack_table_has(table, entry->offset, bytes_of(text, length)));
    }
}

static void insert(struct fixture *fixture, uint32_t *seed, size_t longest)
{
    struct kept kept = {.name_length = chance(seed) % longest, .value_length = chance(seed) % longest};
    for (size_t i = 0; i < kept.name_length + kept.value_length; i++)
        kept.text[i] = (uint8_t)chance(seed);
    hpack_table_insert(&fixture->table, bytes_of(kept.text, kept.name_length),
                       bytes_of(kept.text + kept.name_length, kept.value_length), (uint16_t)kept.name_length);
    model_insert(&fixture->model, &kept);
}

static void ring_is_a_list_whatever_comes(void **state)
{
    struct fixture *fixture = *state;
    uint32_t seed = 1;
    for (size_t round = 0; round < ROUNDS; round++) {
        if (chance(&seed) % 50 == 0) {
            fixture->model.bytes_max = chance(&seed) % (CAPACITY + 1);
            hpack_table_resize(&fixture->table, (uint32_t)fixture->model.bytes_max);
            model_make_room(&fixture->model, 0);
        }
        insert(fixture, &seed, round % 100 < 10 ? TEXT_MAX / 2 : round % 100 < 50 ? 40 : 6);
        assert_as_model(fixture);
    }
}

/* Into exactly as much as it says, and back into memory that has something else in it. */
static void packed_table_comes_back_as_it_was(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *memory = fixture->memory.map + fixture->memory.room - HPACK_TABLE_MEMORY(CAPACITY);
    uint32_t seed = 3;
    for (size_t round = 0; round < ROUNDS / 10; round++) {
        struct guarded packed = guarded_create(HPACK_TABLE_MEMORY(CAPACITY));
        const size_t bytes = (hpack_table_packed_bytes(&fixture->table) + 7) / 8 * 8;
        uint8_t *at = packed.map + packed.room - bytes;
        hpack_table_pack(&fixture->table, at);
        memset(memory, 0xa5, HPACK_TABLE_MEMORY(CAPACITY));
        hpack_table_unpack(&fixture->table, at, memory);
        guarded_destroy(&packed);
        assert_as_model(fixture);
        insert(fixture, &seed, round % 20 < 10 ? 40 : 6);
    }
}

static void as_many_empty_entries_as_the_size_allows(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < 3 * KEPT_MAX; i++) {
        struct kept kept = {};
        hpack_table_insert(&fixture->table, bytes_of(kept.text, 0), bytes_of(kept.text, 0), 0);
        model_insert(&fixture->model, &kept);
        assert_as_model(fixture);
    }
    assert_int_equal(fixture->table.count, KEPT_MAX);
}

static void cleared_table_is_as_new(void **state)
{
    struct fixture *fixture = *state;
    uint32_t seed = 2;
    insert(fixture, &seed, 40);
    hpack_table_clear(&fixture->table);
    fixture->model.count = fixture->model.bytes = 0;
    assert_as_model(fixture);
    insert(fixture, &seed, 40);
    assert_as_model(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ring_is_a_list_whatever_comes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(packed_table_comes_back_as_it_was, set_up, tear_down),
        cmocka_unit_test_setup_teardown(as_many_empty_entries_as_the_size_allows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cleared_table_is_as_new, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
