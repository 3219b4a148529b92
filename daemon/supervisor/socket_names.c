#include "daemon/supervisor/socket_names.h"

#include "daemon/supervisor/service_manager.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Steps over one name. */
static const char *next(const char *names, size_t *ret_length)
{
    size_t length = strcspn(names, ":");
    *ret_length = length;
    return names + length + (names[length] == ':');
}

int socket_names_find(const char *names, int count, const char *name, int index)
{
    for (int i = 0; names != NULL && *names != '\0' && i < count; i++) {
        const char *at = names;
        size_t length;
        names = next(names, &length);
        if (i >= index && length == strlen(name) && memcmp(at, name, length) == 0)
            return i;
    }
    return -1;
}

void socket_names_at(const char *names, int count, int index, char *text, size_t bytes)
{
    const char *at = names;
    size_t length = 0;
    for (int i = 0; names != NULL && i <= index && i < count; i++) {
        at = names;
        names = next(names, &length);
    }
    if (length > 0)
        snprintf(text, bytes, "%.*s", (int)length, at);
    else
        snprintf(text, bytes, "%d", SERVICE_MANAGER_FIRST_FD + index);
}

static bool is_first_of_its_name(const char *names, int count, const char *at, size_t length, int index)
{
    char name[256];
    if (length == 0 || length >= sizeof name)
        return false;
    memcpy(name, at, length);
    name[length] = '\0';
    return socket_names_find(names, count, name, 0) == index;
}

void socket_names_describe(const char *names, int count, char *text, size_t bytes)
{
    const char *rest = names;
    size_t used = 0;

    text[0] = '\0';
    for (int i = 0; rest != NULL && *rest != '\0' && i < count && used < bytes; i++) {
        const char *at = rest;
        size_t length;
        rest = next(rest, &length);
        if (is_first_of_its_name(names, count, at, length, i))
            used += (size_t)snprintf(text + used, bytes - used, "%s%.*s", used == 0 ? "" : ", ", (int)length, at);
    }
}
