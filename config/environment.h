/*
 * Environment: the variables that are settings.
 *
 * Owns:    nothing; what is made lives in the arena.
 * Threads: none may change the environment meanwhile.
 * An empty variable counts as one that is not there, as container tools pass on what they do not know.
 */
#ifndef CONFIG_ENVIRONMENT_H
#define CONFIG_ENVIRONMENT_H

#include "config/assignment.h"

/* PORT, WEB_CONCURRENCY, FORWARDED_ALLOW_IPS and SENDFILE: defaults that a platform sets. 0 or -ENOMEM. */
[[nodiscard]] int environment_defaults(char *const *environment, struct settings_arena *arena,
                                       struct assignment_list *ret_list);

/*
 * UROBOROS_NAME for every setting. A name that is no setting is an error when it is nearly one, else a warning: a
 * cluster may put UROBOROS_SERVICE_HOST and its like there by itself. -ENOMEM; or -EINVAL with `message`.
 */
[[nodiscard]] int environment_settings(char *const *environment, struct settings_arena *arena,
                                       struct assignment_list *ret_list, struct string_list *warnings,
                                       char message[SETTINGS_MESSAGE_BYTES]);

/* The value of a variable, or NULL when it is missing or empty. */
const char *environment_value(char *const *environment, const char *name);

#endif
