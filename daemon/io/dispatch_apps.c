#include "daemon/io/dispatch_state.h"

#include "daemon/base/log.h"
#include "daemon/exchange/doorbell.h"

#include <unistd.h>

enum { NO_APP = 0xffff'ffff };

/* ---- load ------------------------------------------------------------------------------------------------------- */

static _Atomic uint32_t *board_word(const struct dispatch *dispatch, uint32_t ring, uint32_t app)
{
    return &dispatch->load_board[(size_t)ring * LAYOUT_APPS_MAX + app];
}

/* The words of the others may be a little old: it is a preference. */
uint32_t dispatch_apps_load(const struct dispatch *dispatch, uint32_t app)
{
    uint32_t load = 0;
    for (uint32_t ring = 0; ring < dispatch->core->setup.shape.rings; ring++)
        load += atomic_load_explicit(board_word(dispatch, ring, app), memory_order_relaxed);
    return load;
}

void dispatch_apps_count(struct dispatch *dispatch, uint32_t app, int change)
{
    struct app_link *link = &dispatch->apps[app];
    link->outstanding += (uint32_t)change;
    atomic_store_explicit(board_word(dispatch, dispatch->core->setup.index, app), link->outstanding,
                          memory_order_relaxed);
}

static bool better(struct app_choice best, uint32_t best_load, bool has_place, uint32_t load)
{
    if (!best.found || (has_place && !best.has_place))
        return true;
    return has_place == best.has_place && load < best_load;
}

static bool has_room(const struct app_link *link)
{
    return !link->draining && link->outstanding < link->places + DISPATCH_AHEAD_MAX;
}

/* The least loaded app with a free place, else the least loaded one that may hold one more unbegun request. */
static struct app_choice choose(struct dispatch *dispatch)
{
    struct app_choice best = {};
    uint32_t best_load = 0;
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        uint32_t app = dispatch->up[(dispatch->next_up + i) % dispatch->up_count];
        struct app_link *link = &dispatch->apps[app];
        if (!has_room(link))
            continue;
        uint32_t load = dispatch_apps_load(dispatch, app);
        bool has_place = load < link->places;
        if (better(best, best_load, has_place, load)) {
            best = (struct app_choice){.app = app, .found = true, .has_place = has_place};
            best_load = load;
        }
    }
    if (best.found)
        dispatch->next_up++;
    return best;
}

bool dispatch_apps_is_bound(const struct dispatch *dispatch, const struct dispatch_lane *lane)
{
    const struct app_link *link = &dispatch->apps[lane->app];
    return lane->held > 0 && link->up && !link->draining;
}

struct app_choice dispatch_apps_choose(struct dispatch *dispatch, const struct dispatch_lane *lane)
{
    if (!dispatch_apps_is_bound(dispatch, lane))
        return choose(dispatch);
    return (struct app_choice){.app = lane->app, .found = has_room(&dispatch->apps[lane->app])};
}

uint32_t dispatch_places(const struct dispatch *dispatch)
{
    uint32_t places = 0;
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        const struct app_link *link = &dispatch->apps[dispatch->up[i]];
        places += link->draining ? 0 : link->places;
    }
    return places;
}

uint32_t dispatch_apps_free_places(const struct dispatch *dispatch, uint32_t but)
{
    uint32_t places = 0;
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        uint32_t app = dispatch->up[i];
        const struct app_link *link = &dispatch->apps[app];
        if (app == but || link->draining)
            continue;
        uint32_t load = dispatch_apps_load(dispatch, app);
        places += load < link->places ? link->places - load : 0;
    }
    return places;
}

bool dispatch_has_place(const struct dispatch *dispatch)
{
    return dispatch->queue.count == 0 && dispatch_apps_free_places(dispatch, NO_APP) > 0;
}

/* ---- one of them is of no use any more -------------------------------------------------------------------------- */

void dispatch_apps_give_up(struct dispatch *dispatch, uint32_t app)
{
    struct app_link *link = &dispatch->apps[app];
    const struct control_peer peer = {.index = app, .generation = link->generation};
    link->draining = true;
    int r = control_send(CONTROL_FD, CONTROL_STUCK, &peer, sizeof peer, NULL, 0);
    if (r < 0)
        log_error("could not report app %u as stuck: error %d", app, -r);
}

void dispatch_apps_close(struct app_link *link)
{
    link->memory->gone = true;
    app_memory_drop(link->memory);
    arena_deinit(&link->pair_memory);
    close(link->app_doorbell);
    close(link->own_doorbell);
    close(link->files);
    *link = (struct app_link){.generation = link->generation};
}

/* ---- all of them ------------------------------------------------------------------------------------------------ */

bool dispatch_serving(const struct dispatch *dispatch)
{
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        if (!dispatch->apps[dispatch->up[i]].draining)
            return true;
    return false;
}

bool dispatch_outstanding(const struct dispatch *dispatch)
{
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        if (dispatch->apps[dispatch->up[i]].outstanding > 0)
            return true;
    return false;
}

bool dispatch_pending(struct dispatch *dispatch)
{
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        struct app_link *link = &dispatch->apps[dispatch->up[i]];
        if (!link->broken && spsc_reader_pending(&link->replies))
            return true;
    }
    return false;
}

bool dispatch_arm(struct dispatch *dispatch)
{
    if (dispatch->ours.first != NULL)
        return false;
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        doorbell_sleeping(&dispatch->apps[dispatch->up[i]].pair->io_sleeping);
    if (!dispatch_pending(dispatch))
        return true;
    dispatch_disarm(dispatch);
    return false;
}

void dispatch_disarm(struct dispatch *dispatch)
{
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        doorbell_awake(&dispatch->apps[dispatch->up[i]].pair->io_sleeping);
}
