#include "config/environment.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

static const char source[] = "environment";
static const char prefix[] = "UROBOROS_";

enum { PREFIX_BYTES = sizeof(prefix) - 1, VARIABLE_BYTES_MAX = 128 };

const char *environment_value(char *const *environment, const char *name)
{
    size_t length = strlen(name);

    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return (*environment)[length + 1] == '\0' ? NULL : *environment + length + 1;
    return NULL;
}

static const char *port_to_bind(const char *value, struct settings_arena *arena)
{
    return settings_arena_print(arena, "0.0.0.0:%s", value);
}

static const char *as_it_is(const char *value, struct settings_arena *)
{
    return value;
}

/* Gunicorn knows four words for yes and takes all else for no. */
static const char *yes_or_no(const char *value, struct settings_arena *)
{
    static const char *const yes[] = {"y", "1", "yes", "true"};

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        if (strcasecmp(value, yes[i]) == 0)
            return "true";
    return "false";
}

int environment_defaults(char *const *environment, struct settings_arena *arena, struct assignment_list *ret_list)
{
    static const struct {
        const char *variable;
        const char *setting;
        const char *(*translate)(const char *value, struct settings_arena *arena);
    } rows[] = {{"PORT", "bind", port_to_bind},
                {"WEB_CONCURRENCY", "workers", as_it_is},
                {"FORWARDED_ALLOW_IPS", "forwarded_allow_ips", as_it_is},
                {"SENDFILE", "sendfile", yes_or_no}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *value = environment_value(environment, rows[i].variable);
        if (value == NULL)
            continue;
        struct assignment_place place = {.source = source, .key = rows[i].variable};
        const char *text = rows[i].translate(value, arena);
        int result =
            text == NULL ? -ENOMEM : assignment_add_text(arena, ret_list, setting_find(rows[i].setting), text, place);
        if (result < 0)
            return result;
    }
    return 0;
}

/* Names that begin as settings do and are for the supervisor's tests. */
static bool is_ours(const char *variable)
{
    return strcmp(variable, "UROBOROS_LIVE_COUNTERS") == 0;
}

static void lower_case(char *text)
{
    for (; *text != '\0'; text++)
        *text = (char)tolower((unsigned char)*text);
}

static int meet_unknown(const char *variable, const char *name, struct settings_arena *arena,
                        struct string_list *warnings, char message[SETTINGS_MESSAGE_BYTES])
{
    const struct setting *nearest = setting_nearest(name);
    struct assignment_place place = {.source = source};

    if (nearest != NULL)
        return place_complain(&place, message, "unknown setting %s; the nearest setting is \"%s\"", variable,
                              nearest->name);
    char *warning = settings_arena_print(arena, "environment: %s is not a setting; ignored", variable);
    return warning == NULL ? -ENOMEM : string_list_add(arena, warnings, warning);
}

static int take_variable(const char *variable, const char *value, struct settings_arena *arena,
                         struct assignment_list *list, struct string_list *warnings,
                         char message[SETTINGS_MESSAGE_BYTES])
{
    char name[VARIABLE_BYTES_MAX] = "";
    struct assignment_place place = {.source = source, .key = variable};

    strncpy(name, variable + PREFIX_BYTES, sizeof(name) - 1);
    lower_case(name);
    const struct setting *setting = setting_find(name);
    if (setting == NULL && is_ours(variable))
        return 0;
    if (setting == NULL)
        return meet_unknown(variable, name, arena, warnings, message);
    return assignment_add_text(arena, list, setting, value, place);
}

int environment_settings(char *const *environment, struct settings_arena *arena, struct assignment_list *ret_list,
                         struct string_list *warnings, char message[SETTINGS_MESSAGE_BYTES])
{
    for (; *environment != NULL; environment++) {
        size_t length = strcspn(*environment, "=");
        if (strncmp(*environment, prefix, PREFIX_BYTES) != 0 || (*environment)[length] != '=' ||
            (*environment)[length + 1] == '\0')
            continue;
        const char *variable = settings_arena_copy(arena, *environment, length);
        if (variable == NULL)
            return -ENOMEM;
        int result = take_variable(variable, *environment + length + 1, arena, ret_list, warnings, message);
        if (result < 0)
            return result;
    }
    return 0;
}
