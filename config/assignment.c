#include "config/assignment.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "config/setting_toml.h"

enum { SHOWN_VALUE_BYTES = 200 };

static int grow(struct settings_arena *arena, struct assignment_list *list)
{
    size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
    struct assignment *items = settings_arena_take(arena, capacity * sizeof(*items));

    if (items == NULL)
        return -ENOMEM;
    if (list->count > 0)
        memcpy(items, list->items, list->count * sizeof(*items));
    list->items = items;
    list->capacity = capacity;
    return 0;
}

int assignment_add(struct settings_arena *arena, struct assignment_list *list, const struct assignment *assignment)
{
    if (list->count == list->capacity) {
        int result = grow(arena, list);
        if (result < 0)
            return result;
    }
    list->items[list->count++] = *assignment;
    return 0;
}

int assignment_add_text(struct settings_arena *arena, struct assignment_list *list, const struct setting *setting,
                        const char *text, struct assignment_place place)
{
    struct assignment assignment = {.setting = setting, .raw = {.kind = RAW_TEXT}, .place = place};
    char *copy = settings_arena_string(arena, text);

    if (copy == NULL)
        return -ENOMEM;
    int result = string_list_add(arena, &assignment.raw.items, copy);
    return result < 0 ? result : assignment_add(arena, list, &assignment);
}

static void write_place(const struct assignment_place *place, FILE *output)
{
    fprintf(output, "uroboros: %s", place->source);
    if (place->line > 0)
        fprintf(output, ", line %ld", (long)place->line);
    fputs(": ", output);
}

/* A value can be as long as a file; of what is longer than a line only the beginning helps. */
static void write_shown(const struct raw_value *raw, FILE *output)
{
    char shown[SHOWN_VALUE_BYTES + 1] = "";
    FILE *value = fmemopen(shown, SHOWN_VALUE_BYTES, "w");

    if (value == NULL)
        return;
    raw_value_write(raw, value);
    long length = ftell(value);
    fclose(value);
    fputs(shown, output);
    if (length < 0 || length >= SHOWN_VALUE_BYTES)
        fputs("...", output);
}

static FILE *open_message(char message[SETTINGS_MESSAGE_BYTES])
{
    memset(message, 0, SETTINGS_MESSAGE_BYTES);
    return fmemopen(message, SETTINGS_MESSAGE_BYTES - 1, "w");
}

void assignment_complain(const struct assignment *assignment, const char *what, char message[SETTINGS_MESSAGE_BYTES])
{
    FILE *output = open_message(message);

    if (output == NULL)
        return;
    write_place(&assignment->place, output);
    fprintf(output, "%s = ", assignment->place.key);
    write_shown(&assignment->raw, output);
    fprintf(output, ": %s", what);
    fclose(output);
}

int place_complain(const struct assignment_place *place, char message[SETTINGS_MESSAGE_BYTES], const char *format, ...)
{
    FILE *output = open_message(message);
    va_list arguments;

    if (output == NULL)
        return -EINVAL;
    write_place(place, output);
    va_start(arguments, format);
    vfprintf(output, format, arguments);
    va_end(arguments);
    fclose(output);
    return -EINVAL;
}
