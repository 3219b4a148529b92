#include "daemon/supervisor/app_table.h"

#include "daemon/supervisor/supervisor_state.h"

#include <errno.h>

struct app_child *app_table_next(const struct supervisor *supervisor, uint32_t *index)
{
    while (*index < supervisor->shape.apps) {
        struct app_child *app = supervisor->apps.children[(*index)++];
        if (app != NULL)
            return app;
    }
    return NULL;
}

bool app_table_wants(const struct supervisor *supervisor, const struct app_child *app, enum app_state state)
{
    return app->epoch == supervisor->apps.epoch && app->state == state;
}

uint32_t app_table_count(const struct supervisor *supervisor, enum app_state state)
{
    uint32_t count = 0, index = 0;
    for (struct app_child *app; (app = app_table_next(supervisor, &index)) != NULL;)
        count += app_table_wants(supervisor, app, state) ? 1 : 0;
    return count;
}

/* The oldest one, as Gunicorn does: generations of an index do not tell age, process ids nearly do, so the order is
 * that in which the indices were given out. */
struct app_child *app_table_oldest(const struct supervisor *supervisor, enum app_state state)
{
    for (uint32_t i = 0; i < supervisor->shape.apps; i++) {
        uint32_t index = (supervisor->apps.cursor + i) % supervisor->shape.apps;
        struct app_child *app = supervisor->apps.children[index];
        if (app != NULL && app_table_wants(supervisor, app, state))
            return app;
    }
    return NULL;
}

struct app_child *app_table_template(const struct supervisor *supervisor, enum app_state state)
{
    uint32_t index = 0;
    for (struct app_child *app; (app = app_table_next(supervisor, &index)) != NULL;)
        if (app->is_template && app_table_wants(supervisor, app, state))
            return app;
    return NULL;
}

bool app_table_preloads(const struct supervisor *supervisor)
{
    return supervisor_launch_settings(supervisor)->preload_app;
}

bool app_table_lacks_template(const struct supervisor *supervisor)
{
    return app_table_preloads(supervisor) && app_table_template(supervisor, APP_STARTING) == NULL &&
           app_table_template(supervisor, APP_TEMPLATE) == NULL;
}

/* Round and round: see "Life" in app_children.h. */
int64_t app_table_free_index(struct supervisor *supervisor)
{
    struct app_children *apps = &supervisor->apps;
    for (uint32_t tried = 0; tried < supervisor->shape.apps; tried++) {
        uint32_t index = apps->cursor;
        apps->cursor = (apps->cursor + 1) % supervisor->shape.apps;
        if (apps->children[index] == NULL)
            return index;
    }
    return -EAGAIN;
}
