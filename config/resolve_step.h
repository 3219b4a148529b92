/*
 * Resolve step: what the steps of settings_resolve() share, each of which looks at some settings together.
 *
 * Owns:    nothing; new text goes to the arena of the settings.
 * Threads: any.
 */
#ifndef CONFIG_RESOLVE_STEP_H
#define CONFIG_RESOLVE_STEP_H

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

/* Writes the complaint; returns -EINVAL, so that a step can pass it on. */
[[gnu::format(printf, 3, 4)]] int resolve_complain(struct resolve_complaint *complaint, const char *setting,
                                                   const char *format, ...);

/* `path` if it is absolute, else in `directory`. NULL: no memory. */
char *settings_absolute_path(struct settings_arena *arena, const char *directory, const char *path);

#endif
