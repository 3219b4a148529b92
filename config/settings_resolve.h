/*
 * Settings resolve: what needs more than one setting to tell. Words like "auto" become numbers, paths become absolute,
 * and values that contradict each other are refused.
 *
 * Owns:    nothing; new text goes to the arena of the settings.
 * Threads: any; looks at the file system, the CPUs and the environment, changes none of them.
 */
#ifndef CONFIG_SETTINGS_RESOLVE_H
#define CONFIG_SETTINGS_RESOLVE_H

#include "config/resolve_step.h"

/* -ENOMEM; or -EINVAL with the complaint. */
[[nodiscard]] int settings_resolve(struct settings *settings, const struct resolve_context *context,
                                   struct resolve_complaint *ret_complaint);

/* The directory of `chdir` before the rest is known, absolute. 0 or -ENOMEM. */
[[nodiscard]] int settings_resolve_directory(struct settings *settings);

/* The interpreter before the rest is known. 0 or -ENOMEM. */
[[nodiscard]] int settings_resolve_python(struct settings *settings, char *const *environment);

/* Where the system's own python3 is; its path may not exist. NULL: no memory. */
char *settings_system_python(struct settings_arena *arena, char *const *environment);

/* Who executes a Python settings file: it imports what the application does, so for an embedded interpreter it is that
 * of the virtual environment, where there is one that can be run. After settings_resolve_python(). NULL: no memory. */
char *settings_file_python(struct settings *settings, char *const *environment);

#endif
