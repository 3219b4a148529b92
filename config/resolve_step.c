#include "config/resolve_step.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "config/settings_arena.h"

int resolve_complain(struct resolve_complaint *complaint, const char *setting, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(complaint->text, RESOLVE_WRONG_BYTES, format, arguments);
    va_end(arguments);
    complaint->setting = setting_find(setting);
    return -EINVAL;
}

char *settings_absolute_path(struct settings_arena *arena, const char *directory, const char *path)
{
    if (*path == '/')
        return settings_arena_string(arena, path);
    return settings_arena_print(arena, "%s/%s", directory, path);
}
