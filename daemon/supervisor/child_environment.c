#include "daemon/supervisor/child_environment.h"

#include <stdlib.h>
#include <string.h>

static size_t name_length(const char *variable)
{
    return strcspn(variable, "=");
}

static bool same_name(const char *one, const char *other)
{
    size_t length = name_length(one);
    return length == name_length(other) && memcmp(one, other, length) == 0;
}

static size_t remove_name(char **variables, size_t count, const char *variable)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!same_name(variables[i], variable))
            variables[kept++] = variables[i];
    return kept;
}

static size_t apply(char **variables, size_t count, const struct string_list *changes)
{
    for (size_t i = 0; i < changes->count; i++) {
        char *variable = changes->items[i];
        count = remove_name(variables, count, variable);
        if (variable[name_length(variable)] == '=')
            variables[count++] = variable;
    }
    return count;
}

char **child_environment_create(char *const *base, const struct string_list *const *changes, size_t change_count)
{
    size_t count = 0, room = 1;
    while (base[count] != NULL)
        count++;
    for (size_t i = 0; i < change_count; i++)
        room += changes[i]->count;
    char **variables = calloc(count + room, sizeof *variables);
    if (variables == NULL)
        return NULL;
    memcpy(variables, base, count * sizeof *variables);
    for (size_t i = 0; i < change_count; i++)
        count = apply(variables, count, changes[i]);
    variables[count] = NULL;
    return variables;
}
