#include "config/settings_arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct settings_arena *arena;

static int set_up(void **)
{
    arena = settings_arena_create();
    return arena == NULL ? -1 : 0;
}

static int tear_down(void **)
{
    settings_arena_destroy(arena);
    return 0;
}

static void every_object_is_zeroed_and_aligned(void **)
{
    for (size_t bytes = 1; bytes < 100; bytes++) {
        char *object = settings_arena_take(arena, bytes);
        assert_int_equal((uintptr_t)object % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(object[i], 0);
        memset(object, 0xff, bytes);
    }
}

static void texts_are_copies_with_an_end(void **)
{
    char text[] = "abcdef";
    char *part = settings_arena_copy(arena, text, 3), *whole = settings_arena_string(arena, text);
    char *made = settings_arena_print(arena, "%s-%d", text, 7);

    text[0] = 'x';
    assert_string_equal(part, "abc");
    assert_string_equal(whole, "abcdef");
    assert_string_equal(made, "abcdef-7");
}

static void a_list_keeps_its_items_while_it_grows(void **)
{
    struct string_list list = {};

    for (int i = 0; i < 1000; i++)
        assert_int_equal(string_list_add(arena, &list, settings_arena_print(arena, "%d", i)), 0);
    assert_int_equal(list.count, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(atoi(list.items[i]), i);
}

static void a_full_arena_says_so_and_stays_whole(void **)
{
    char *first = settings_arena_string(arena, "first");

    assert_null(settings_arena_take(arena, SETTINGS_ARENA_BYTES));
    assert_null(settings_arena_take(arena, SIZE_MAX));
    assert_non_null(settings_arena_take(arena, SETTINGS_ARENA_BYTES - 64));
    assert_null(settings_arena_take(arena, 64));
    assert_null(settings_arena_print(arena, "%100s", "x"));
    assert_string_equal(first, "first");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_object_is_zeroed_and_aligned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(texts_are_copies_with_an_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_list_keeps_its_items_while_it_grows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_arena_says_so_and_stays_whole, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
