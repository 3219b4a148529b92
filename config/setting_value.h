/*
 * Setting value: from what a user wrote to a field of `struct settings`. One function for each type.
 *
 * Owns:    nothing; text goes to the arena of the settings.
 * Threads: any.
 */
#ifndef CONFIG_SETTING_VALUE_H
#define CONFIG_SETTING_VALUE_H

#include "config/schema.h"

/* How a source wrote a value. The command line and the environment only know text. */
enum raw_kind {
    RAW_TEXT,
    RAW_NUMBER,
    RAW_BOOL,
    RAW_NONE,   /* Python's None */
    RAW_LIST,   /* of strings and numbers */
    RAW_PAIRS,  /* NAME=VALUE items of a table or a dict */
    RAW_TABLES, /* NAME=VALUE lines, one item for each table of an array; a list in a table is its items with commas */
    RAW_CALLABLE, /* the item is its line number */
    RAW_OTHER     /* the item describes it */
};

struct raw_value {
    enum raw_kind kind;
    struct string_list items; /* one item unless RAW_NONE, RAW_LIST, RAW_PAIRS or RAW_TABLES */
};

/* What a value of one item is; "" for None. */
static inline const char *raw_value_text(const struct raw_value *raw)
{
    return raw->items.count > 0 ? raw->items.items[0] : "";
}

enum { SETTING_EXPECTED_BYTES = 512 };

/*
 * Sets the field. `append` adds to a list instead of replacing it. -ENOMEM; or -EINVAL, and `expected` says what is
 * allowed in the words of an error message.
 */
[[nodiscard]] int setting_assign(struct settings *settings, const struct setting *setting, const struct raw_value *raw,
                                 bool append, char expected[SETTING_EXPECTED_BYTES]);

/* Sets every field that has a default in the table; the others stay zero. 0 or -ENOMEM. */
[[nodiscard]] int settings_assign_defaults(struct settings *settings);

bool setting_equal(const struct setting *setting, const struct settings *left, const struct settings *right);
[[nodiscard]] int setting_copy(const struct setting *setting, struct settings *to, const struct settings *from);

#endif
