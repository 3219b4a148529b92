#include "config/settings_arena.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings_arena {
    size_t used;
    _Alignas(max_align_t) char bytes[];
};

struct settings_arena *settings_arena_create(void)
{
    return calloc(1, sizeof(struct settings_arena) + SETTINGS_ARENA_BYTES);
}

void settings_arena_destroy(struct settings_arena *arena)
{
    free(arena);
}

void *settings_arena_take(struct settings_arena *arena, size_t bytes)
{
    size_t aligned = (arena->used + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);

    if (aligned > SETTINGS_ARENA_BYTES || bytes > SETTINGS_ARENA_BYTES - aligned)
        return NULL;
    arena->used = aligned + bytes;
    return arena->bytes + aligned;
}

char *settings_arena_copy(struct settings_arena *arena, const char *text, size_t length)
{
    char *copy = settings_arena_take(arena, length + 1);

    if (copy != NULL)
        memcpy(copy, text, length);
    return copy;
}

char *settings_arena_string(struct settings_arena *arena, const char *text)
{
    return settings_arena_copy(arena, text, strlen(text));
}

char *settings_arena_print(struct settings_arena *arena, const char *format, ...)
{
    va_list arguments, again;
    char *text = NULL;

    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length >= 0)
        text = settings_arena_take(arena, (size_t)length + 1);
    if (text != NULL)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(arguments);
    return text;
}

/* Room grows at each power of two; the arena keeps the outgrown arrays, together less than the last one. */
int string_list_add(struct settings_arena *arena, struct string_list *list, char *item)
{
    if ((list->count & (list->count - 1)) == 0) {
        size_t room = list->count == 0 ? 1 : 2 * list->count;
        char **items = settings_arena_take(arena, room * sizeof(*items));
        if (items == NULL)
            return -ENOMEM;
        if (list->count > 0)
            memcpy(items, list->items, list->count * sizeof(*items));
        list->items = items;
    }
    list->items[list->count++] = item;
    return 0;
}

void settings_deinit(struct settings *settings)
{
    settings_arena_destroy(settings->arena);
    *settings = (struct settings){};
}
