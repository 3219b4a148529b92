/*
 * Assignment: one setting as one source wrote it, with the place to name in a complaint.
 *
 * Owns:    nothing; lists and texts live in the arena they were made in.
 * Threads: any.
 */
#ifndef CONFIG_ASSIGNMENT_H
#define CONFIG_ASSIGNMENT_H

#include "config/setting_value.h"
#include "config/settings_arena.h"
#include "config/settings_loader.h"

struct assignment_place {
    const char *source; /* "command line", "environment", or the path of a file */
    int64_t line;       /* of a file; 0: not known */
    const char *key;    /* as the user wrote it */
};

struct assignment {
    const struct setting *setting;
    struct raw_value raw;
    struct assignment_place place;
};

struct assignment_list {
    size_t count;
    size_t capacity;
    struct assignment *items;
};

/* 0 or -ENOMEM. */
[[nodiscard]] int assignment_add(struct settings_arena *arena, struct assignment_list *list,
                                 const struct assignment *assignment);

/* A value of one text, copied to the arena. 0 or -ENOMEM. */
[[nodiscard]] int assignment_add_text(struct settings_arena *arena, struct assignment_list *list,
                                      const struct setting *setting, const char *text, struct assignment_place place);

/* "uroboros: SOURCE, line LINE: KEY = VALUE: what" */
void assignment_complain(const struct assignment *assignment, const char *what, char message[SETTINGS_MESSAGE_BYTES]);

/* "uroboros: SOURCE, line LINE: ..."; returns -EINVAL, so that a reader can pass it on. */
[[gnu::format(printf, 3, 4)]] int place_complain(const struct assignment_place *place,
                                                 char message[SETTINGS_MESSAGE_BYTES], const char *format, ...);

#endif
