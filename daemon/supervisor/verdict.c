#include "daemon/supervisor/verdict.h"

#include <stdio.h>

void verdict_reload_fails(struct verdict *verdict, const char *why)
{
    if (verdict->kind != VERDICT_NONE)
        return;
    verdict->kind = VERDICT_RELOAD_FAILS;
    snprintf(verdict->why, sizeof verdict->why, "%s", why);
}

void verdict_stop(struct verdict *verdict, int exit_code)
{
    if (verdict->kind == VERDICT_STOP)
        return;
    verdict->kind = VERDICT_STOP;
    verdict->exit_code = exit_code;
}

struct verdict verdict_take(struct verdict *verdict)
{
    struct verdict taken = *verdict;
    *verdict = (struct verdict){};
    return taken;
}
