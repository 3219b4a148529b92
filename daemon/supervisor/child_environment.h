/*
 * Child environment: the variables that a child is started with.
 *
 * Owns:    the array it returns, in one piece; free() ends it.
 */
#ifndef DAEMON_SUPERVISOR_CHILD_ENVIRONMENT_H
#define DAEMON_SUPERVISOR_CHILD_ENVIRONMENT_H

#include "config/schema.h"

/*
 * `base` (NULL-terminated), changed by each list in turn: NAME=VALUE sets, NAME alone removes, the later wins.
 * NULL for want of memory. The strings belong to their givers and must outlive the result.
 */
[[nodiscard]] char **child_environment_create(char *const *base, const struct string_list *const *changes,
                                              size_t change_count);

#endif
