#include "tests/unit/io/http1_scene.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <string.h>

void expect_in(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in \"%.600s\"", part, text);
}

void expect_not_in(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        fail_msg("\"%s\" is in \"%.600s\"", part, text);
}

uint32_t count_in(const char *text, const char *part)
{
    uint32_t count = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        count++;
    return count;
}

void open_with_app(struct scene *scene, void (*adjust)(struct scene *scene))
{
    scene_open(scene, adjust);
    scene_app_up(scene, 0, 4, 0);
}

void answer(struct scene *scene, uint32_t app, const struct message *request, const char *body)
{
    scene_respond(scene, app, request, 200, body, MESSAGE_WAS_DONE);
    scene_turns(scene, 4);
}

int expect_status(struct scene *scene, int fd, const char *status)
{
    expect_in(scene_heard(scene, fd), status);
    return fd;
}
