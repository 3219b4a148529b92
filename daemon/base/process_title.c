#include "daemon/base/process_title.h"

#include "daemon/base/owned.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

enum { TITLE_BYTES_MAX = 256, STAT_BYTES_MAX = 2'048, COMM_BYTES = 16 };

struct title_area {
    char *base;
    size_t argument_bytes;
    size_t environment_bytes; /* directly behind the arguments */
};

/* Where the environment went: kept, because setenv() and unsetenv() forget what they replace. */
static struct {
    char **variables;
    char *strings;
} moved;

static size_t environment_bytes(size_t *ret_count)
{
    size_t bytes = 0, count = 0;
    for (; environ[count] != NULL; count++)
        bytes += strlen(environ[count]) + 1;
    *ret_count = count;
    return bytes;
}

void process_title_make_room(void)
{
    size_t count;
    size_t bytes = environment_bytes(&count);
    OWNED_MEMORY char **variables = calloc(count + 1, sizeof *variables);
    char *at = malloc(bytes + 1);
    if (variables == NULL || at == NULL) {
        free(at);
        return;
    }
    moved.strings = at;
    for (size_t i = 0; i < count; i++) {
        variables[i] = at;
        at = stpcpy(at, environ[i]) + 1;
    }
    moved.variables = environ = variables;
    variables = NULL;
}

static ssize_t read_stat(char text[STAT_BYTES_MAX])
{
    OWNED_FD fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t length = read(fd, text, STAT_BYTES_MAX - 1);
    if (length < 0)
        return -errno;
    text[length] = '\0';
    return length;
}

/* Fields 48 to 51 of proc(5): arg_start, arg_end, env_start, env_end; field 3 follows the last parenthesis. */
static bool find_area(struct title_area *ret_area)
{
    char text[STAT_BYTES_MAX];
    unsigned long long bounds[4];

    if (read_stat(text) < 0)
        return false;
    const char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 48; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL || sscanf(at, " %llu %llu %llu %llu", &bounds[0], &bounds[1], &bounds[2], &bounds[3]) != 4)
        return false;
    if (bounds[0] == 0 || bounds[1] <= bounds[0])
        return false;
    bool adjacent = moved.variables != NULL && bounds[2] == bounds[1] && bounds[3] > bounds[2];
    *ret_area = (struct title_area){
        .base = (char *)(uintptr_t)bounds[0],
        .argument_bytes = (size_t)(bounds[1] - bounds[0]),
        .environment_bytes = adjacent ? (size_t)(bounds[3] - bounds[2]) : 0,
    };
    return true;
}

/* The kernel reads on into the environment exactly when the last octet of the arguments is not NUL. */
static void fill_area(const struct title_area *area, const char *title)
{
    size_t room = area->argument_bytes + area->environment_bytes;
    size_t length = strlen(title) < room ? strlen(title) : room - 1;
    memset(area->base, 0, room);
    memcpy(area->base, title, length);
}

static void set_short_name(const char *title)
{
    static const char prefix[] = "uroboros: ";
    char name[COMM_BYTES];
    if (strncmp(title, prefix, sizeof prefix - 1) == 0)
        title += sizeof prefix - 1;
    snprintf(name, sizeof name, "uro %.10s", title);
    prctl(PR_SET_NAME, name);
}

void process_title_set(const char *format, ...)
{
    char title[TITLE_BYTES_MAX];
    struct title_area area;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(title, sizeof title, format, arguments);
    va_end(arguments);
    if (find_area(&area))
        fill_area(&area, title);
    set_short_name(title);
}
