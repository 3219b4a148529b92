/*
 * Settings resolve: what needs more than one setting to tell. Words like "auto" become numbers, paths become absolute,
 * and values that contradict each other are refused.
 *
 * Owns:    nothing; new text goes to the arena of the settings.
 * Threads: any; looks at the file system, the CPUs and the environment, changes none of them.
 */
#ifndef CONFIG_SETTINGS_RESOLVE_H
#define CONFIG_SETTINGS_RESOLVE_H

#include "config/schema.h"

enum { RESOLVE_WRONG_BYTES = 512 };

/* What is wrong, and with which setting. */
struct resolve_complaint {
    const struct setting *setting;
    char text[RESOLVE_WRONG_BYTES];
};

struct resolve_context {
    char *const *environment;
    struct string_list *warnings; /* gets a line for each; in the arena of the settings */
    bool names_bind;              /* somebody has set it: not the default that falls away beside `listen` */
    bool names_http_protocols;
};

/* -ENOMEM; or -EINVAL with the complaint. */
[[nodiscard]] int settings_resolve(struct settings *settings, const struct resolve_context *context,
                                   struct resolve_complaint *ret_complaint);

/* Writes the complaint; returns -EINVAL, so that a step can pass it on. */
[[gnu::format(printf, 3, 4)]] int resolve_complain(struct resolve_complaint *complaint, const char *setting,
                                                   const char *format, ...);

/* The directory of `chdir` before the rest is known, absolute. 0 or -ENOMEM. */
[[nodiscard]] int settings_resolve_directory(struct settings *settings);

/* The interpreter before the rest is known. 0 or -ENOMEM. */
[[nodiscard]] int settings_resolve_python(struct settings *settings, char *const *environment);

/* Where the system's own python3 is; its path may not exist. NULL: no memory. */
char *settings_system_python(struct settings_arena *arena, char *const *environment);

/* `path` if it is absolute, else in `directory`. NULL: no memory. */
char *settings_absolute_path(struct settings_arena *arena, const char *directory, const char *path);

#endif
