/*
 * App table: which application processes there are, as far as it can be told by looking.
 *
 * Owns:    nothing; looks at struct app_children. What becomes of a process is app_life.h, how many there have to be
 *          app_children.h.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_APP_TABLE_H
#define DAEMON_SUPERVISOR_APP_TABLE_H

#include "daemon/supervisor/app_child.h"

/* The first one from `index` on, which moves behind it; NULL: there is none. That one may be forgotten meanwhile. */
struct app_child *app_table_next(const struct supervisor *supervisor, uint32_t *index);

/* It is of the epoch that is wanted, and in that state. */
bool app_table_wants(const struct supervisor *supervisor, const struct app_child *app, enum app_state state);
uint32_t app_table_count(const struct supervisor *supervisor, enum app_state state);
struct app_child *app_table_oldest(const struct supervisor *supervisor, enum app_state state);
struct app_child *app_table_template(const struct supervisor *supervisor, enum app_state state);

/* Whether the next process is a copy of a template, and whether that template is still to be started. */
bool app_table_preloads(const struct supervisor *supervisor);
bool app_table_lacks_template(const struct supervisor *supervisor);

/* For the next one; negative: all are taken. */
int64_t app_table_free_index(struct supervisor *supervisor);

#endif
