#include "daemon/supervisor/pairing.h"

#include "daemon/base/log.h"
#include "daemon/base/owned.h"
#include "daemon/exchange/file_handover.h"
#include "daemon/supervisor/app_child.h"
#include "daemon/supervisor/server_shape.h"
#include "daemon/supervisor/supervisor_state.h"

#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

int pairing_init(struct supervisor *supervisor)
{
    size_t count = (size_t)supervisor->shape.rings * supervisor->shape.apps;
    struct pair *pairs = calloc(count, sizeof *pairs);
    if (pairs == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        pairs[i].page = pairs[i].bell = pairs[i].files = -1;
    supervisor->pairing.pairs = pairs;
    return 0;
}

static struct pair *pair_of(struct supervisor *supervisor, const struct io_child *io, const struct app_child *app)
{
    return &supervisor->pairing.pairs[(size_t)io->index * supervisor->shape.apps + app->index];
}

static void forget(struct pair *pair)
{
    fd_drop(&pair->page);
    fd_drop(&pair->bell);
    fd_drop(&pair->files);
    pair->state = PAIR_NONE;
}

void pairing_deinit(struct supervisor *supervisor)
{
    size_t count = (size_t)supervisor->shape.rings * supervisor->shape.apps;
    for (size_t i = 0; supervisor->pairing.pairs != NULL && i < count; i++)
        forget(&supervisor->pairing.pairs[i]);
    free(supervisor->pairing.pairs);
    supervisor->pairing.pairs = NULL;
}

/* The supervisor has no use for the contents: it keeps the descriptor and lets the mapping go. */
static int make_page(const struct exchange_shape *shape, int *ret_fd)
{
    struct arena page;
    int r = arena_create(&page, "uroboros-pair", pair_page_bytes(shape), ARENA_SEAL_SIZE);
    if (r < 0)
        return r;
    *ret_fd = fd_take(&page.fd);
    arena_deinit(&page);
    return 0;
}

static int make(const struct exchange_shape *shape, struct pair *pair, int *ret_app_files)
{
    int r = make_page(shape, &pair->page);
    if (r < 0)
        return r;
    pair->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pair->bell < 0)
        return -errno;
    int files[2];
    r = file_handover_pair(files);
    if (r < 0)
        return r;
    pair->files = files[0];
    *ret_app_files = files[1];
    return 0;
}

static void tell_app(struct supervisor *supervisor, struct io_child *io, struct app_child *app)
{
    struct pair *pair = pair_of(supervisor, io, app);
    const struct control_peer peer = {.index = io->index, .generation = io->generation};

    if (pair->state != PAIR_NONE)
        return;
    OWNED_FD app_files = -1;
    int r = make(&supervisor->shape, pair, &app_files);
    if (r < 0) {
        log_error("app %u cannot meet io %u: %s; it is replaced", app->index, io->index, strerror(-r));
        forget(pair);
        child_kill(&app->child, SIGKILL);
        return;
    }
    const int fds[] = {io->inbound, pair->page, pair->bell, app_files};
    child_send(&app->child, CONTROL_PEER_UP, &peer, sizeof peer, fds, 4);
    pair->state = PAIR_APP_KNOWS;
}

static void tell_io(struct supervisor *supervisor, struct io_child *io, struct app_child *app)
{
    struct pair *pair = pair_of(supervisor, io, app);
    uint32_t places_max = server_shape_places_max(&supervisor->shape);
    const struct control_peer peer = {
        .index = app->index,
        .generation = app->generation,
        .places = app->places < places_max ? app->places : places_max,
        .flags = app->flags,
        .pid = (int32_t)app->child.pid,
    };

    if (pair->state != PAIR_APP_KNOWS)
        return;
    const int fds[] = {app->outbound.fd, pair->page, app->doorbell, pair->bell, pair->files};
    child_send(&io->child, CONTROL_PEER_UP, &peer, sizeof peer, fds, 5);
    forget(pair);
    pair->state = PAIR_COMPLETE;
}

static bool is_known(const struct io_child *io)
{
    return io->inbound >= 0;
}

void pairing_app_up(struct supervisor *supervisor, struct app_child *app)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        if (is_known(&supervisor->io.rings[ring]))
            tell_app(supervisor, &supervisor->io.rings[ring], app);
}

void pairing_app_serves(struct supervisor *supervisor, struct app_child *app)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        tell_io(supervisor, &supervisor->io.rings[ring], app);
}

/* Tells the I/O processes that know of the application. */
static void spread(struct supervisor *supervisor, struct app_child *app, enum control_kind kind, uint32_t flags)
{
    const struct control_peer peer = {.index = app->index, .generation = app->generation, .flags = flags};
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++) {
        struct io_child *io = &supervisor->io.rings[ring];
        if (pair_of(supervisor, io, app)->state == PAIR_COMPLETE)
            child_send(&io->child, kind, &peer, sizeof peer, NULL, 0);
    }
}

void pairing_app_drains(struct supervisor *supervisor, struct app_child *app)
{
    spread(supervisor, app, CONTROL_PEER_DRAIN, 0);
}

void pairing_app_gone(struct supervisor *supervisor, struct app_child *app)
{
    spread(supervisor, app, CONTROL_PEER_GONE, app->timed_out ? CONTROL_GONE_TIMED_OUT : 0);
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        forget(pair_of(supervisor, &supervisor->io.rings[ring], app));
}

void pairing_ring_up(struct supervisor *supervisor, struct io_child *io)
{
    for (uint32_t index = 0; index < supervisor->shape.apps; index++) {
        struct app_child *app = supervisor->apps.children[index];
        if (app == NULL || app->is_template || app->state == APP_COPYING || app->state >= APP_DRAINING)
            continue;
        tell_app(supervisor, io, app);
        if (app_child_serves(app))
            tell_io(supervisor, io, app);
    }
}

void pairing_ring_gone(struct supervisor *supervisor, struct io_child *io)
{
    const struct control_peer peer = {.index = io->index, .generation = io->generation};
    for (uint32_t index = 0; index < supervisor->shape.apps; index++) {
        struct app_child *app = supervisor->apps.children[index];
        if (app == NULL || pair_of(supervisor, io, app)->state == PAIR_NONE)
            continue;
        child_send(&app->child, CONTROL_PEER_GONE, &peer, sizeof peer, NULL, 0);
        forget(pair_of(supervisor, io, app));
    }
}
