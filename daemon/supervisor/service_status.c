#include "daemon/supervisor/service_status.h"

#include "daemon/supervisor/supervisor_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct line {
    char text[SERVICE_STATUS_BYTES];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    int length = vsnprintf(line->text + line->used, sizeof line->text - line->used, format, arguments);
    va_end(arguments);
    line->used += length > 0 ? (size_t)length : 0;
    if (line->used >= sizeof line->text)
        line->used = sizeof line->text - 1;
}

static void add_count(struct line *line, size_t count, const char *one, const char *many)
{
    add(line, "%zu %s", count, count == 1 ? one : many);
}

static void add_apps(struct line *line, uint32_t count, uint32_t wanted)
{
    if (count < wanted)
        add(line, "%u of ", count);
    add_count(line, count < wanted ? wanted : count, "application process", "application processes");
}

static void add_trouble(struct line *line, const struct supervisor *supervisor)
{
    /* The delay stays after the last death of a row: it is the missing ones that show that it still counts. */
    if (supervisor->apps.backoff.delay_ms > 0 && !app_children_complete(supervisor))
        add(line, "; they keep dying");
    if (supervisor->status.trouble[0] != '\0')
        add(line, "; %s", supervisor->status.trouble);
}

static void describe_serving(struct line *line, const struct supervisor *supervisor)
{
    const struct app_census census = app_children_count(supervisor);

    add(line, "serving: ");
    add_apps(line, census.serving, supervisor->apps.wanted);
    add(line, ", ");
    add_count(line, supervisor->listeners.count, "address", "addresses");
    if (census.leaving > 0) {
        add(line, "; ");
        add_count(line, census.leaving, "finishes its requests", "finish their requests");
    }
    if (supervisor->predecessors.first != NULL)
        add(line, "; the program before this one finishes its requests");
    if (supervisor->upgrade.state == UPGRADE_WAITING)
        add(line, "; an upgrade waits");
    add_trouble(line, supervisor);
}

static void describe_exchange(struct line *line, const struct supervisor *supervisor)
{
    add(line, "reloading: ");
    add_apps(line, app_children_count(supervisor).waiting, supervisor->apps.wanted);
    add(line, " of the new settings ready");
}

static void describe_starting(struct line *line, const struct supervisor *supervisor)
{
    add(line, "starting: %u of %u application processes ready", app_children_count(supervisor).serving,
        supervisor->apps.wanted);
    if (supervisor->predecessors.first == NULL)
        return;
    add(line, "; those of the program before this one serve");
    add_trouble(line, supervisor);
}

static void describe(struct line *line, const struct supervisor *supervisor)
{
    if (supervisor->upgrade.state >= UPGRADE_CHECKING)
        add(line, "upgrading: trying the new program");
    else if (supervisor->state == SUPERVISOR_STARTING)
        describe_starting(line, supervisor);
    else if (supervisor->state == SUPERVISOR_KEEPING) {
        add(line, "serving by %s processes of the program before this one",
            supervisor->predecessors.incomplete ? "what is left of the" : "the");
        add_trouble(line, supervisor);
    } else if (supervisor->state == SUPERVISOR_RELOADING)
        describe_exchange(line, supervisor);
    else if (settings_reader_is_busy(&supervisor->reader))
        add(line, "reloading: reading the settings");
    else
        describe_serving(line, supervisor);
}

void service_status_ready(struct supervisor *supervisor)
{
    struct line line = {};
    describe(&line, supervisor);
    service_manager_ready(&supervisor->manager, line.text);
    memcpy(supervisor->status.said, line.text, sizeof line.text);
}

void service_status_failed(struct supervisor *supervisor, const char *what, const char *why)
{
    snprintf(supervisor->status.trouble, sizeof supervisor->status.trouble, "the last %s failed: %s", what, why);
}

void service_status_worked(struct supervisor *supervisor)
{
    supervisor->status.trouble[0] = '\0';
}

void service_status_refresh(struct supervisor *supervisor)
{
    struct line line = {};
    if (supervisor_is_ending(supervisor) || supervisor->settings.check_config)
        return;
    describe(&line, supervisor);
    if (strcmp(line.text, supervisor->status.said) == 0)
        return;
    service_manager_status(&supervisor->manager, line.text);
    memcpy(supervisor->status.said, line.text, sizeof line.text);
}
