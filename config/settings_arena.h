/*
 * Settings arena: the memory of one set of settings. Nothing in it is freed alone.
 *
 * Owns:    one block; only the pages that were written to cost anything.
 * Bound:   SETTINGS_ARENA_BYTES, so that no file, however large, can make the supervisor grow.
 */
#ifndef CONFIG_SETTINGS_ARENA_H
#define CONFIG_SETTINGS_ARENA_H

#include "config/schema.h"

enum { SETTINGS_ARENA_BYTES = 4 * 1024 * 1024 };

struct settings_arena;

/* NULL: no memory. */
struct settings_arena *settings_arena_create(void);
void settings_arena_destroy(struct settings_arena *arena);

/* Zeroed and aligned for any object; NULL when the arena is full. */
void *settings_arena_take(struct settings_arena *arena, size_t bytes);

/* NULL when the arena is full. */
char *settings_arena_copy(struct settings_arena *arena, const char *text, size_t length);
char *settings_arena_string(struct settings_arena *arena, const char *text);
[[gnu::format(printf, 2, 3)]] char *settings_arena_print(struct settings_arena *arena, const char *format, ...);

/* Adds a string that lives in the arena already. 0 or -ENOMEM. */
[[nodiscard]] int string_list_add(struct settings_arena *arena, struct string_list *list, char *item);

#endif
