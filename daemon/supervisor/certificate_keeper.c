#include "daemon/supervisor/certificate_keeper.h"

#include "config/settings_arena.h"
#include "config/settings_tls.h"
#include "daemon/base/log.h"
#include "daemon/supervisor/listener_plan.h"
#include "daemon/supervisor/supervisor_state.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    ROTATION_MS = 12 * 3'600 * 1'000,
    TRIES_MAX = 2, /* an I/O process that dies over a certificate must not take one after the other with it */
};

static const char stay[] = "those from before serve on";

static struct certificate_keeper *keeper_of(struct supervisor *supervisor)
{
    return &supervisor->certificates;
}

/* Sets of a context ------------------------------------------------------------------------------------------ */

static void forget_candidate(struct kept_context *context)
{
    certificate_set_destroy(context->candidate);
    context->candidate = NULL;
    context->tries = 0;
    context->state = KEEPER_STEADY;
}

static void refuse_candidate(struct kept_context *context)
{
    certificate_set_destroy(context->refused);
    context->refused = context->candidate;
    context->candidate = NULL;
    forget_candidate(context);
}

static void promote_candidate(struct kept_context *context)
{
    certificate_set_destroy(context->current);
    certificate_set_destroy(context->refused);
    context->current = context->candidate;
    context->refused = context->candidate = NULL;
    context->unreadable[0] = '\0';
    forget_candidate(context);
}

static void clear(struct kept_context *context)
{
    forget_candidate(context);
    certificate_set_destroy(context->current);
    certificate_set_destroy(context->refused);
    *context = (struct kept_context){};
}

/* Telling I/O processes -------------------------------------------------------------------------------------- */

/* One that is about to end wants nothing new. */
static bool listens(const struct io_child *io)
{
    return io->state == IO_STARTING || io->state == IO_KNOWN || io->state == IO_SERVING;
}

static void send_current(struct io_child *io, uint32_t number)
{
    struct supervisor *supervisor = io->supervisor;

    io->tls_answers_due[number]++;
    certificate_set_send(keeper_of(supervisor)->contexts[number].current, number, &io->child, &supervisor->settings,
                         -1);
}

static void send_keys(struct supervisor *supervisor, struct io_child *io)
{
    const struct control_tls_tickets *keys = &keeper_of(supervisor)->keys.keys;
    if (keys->count > 0)
        child_send(&io->child, CONTROL_TLS_TICKETS, keys, sizeof *keys, NULL, 0);
}

static void send_keys_to_all(struct supervisor *supervisor)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        if (listens(&supervisor->io.rings[ring]))
            send_keys(supervisor, &supervisor->io.rings[ring]);
}

static void send_current_to_all(struct supervisor *supervisor, uint32_t number, uint32_t but_ring)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        if (ring != but_ring && listens(&supervisor->io.rings[ring]))
            send_current(&supervisor->io.rings[ring], number);
}

void certificate_keeper_greet(struct supervisor *supervisor, struct io_child *io)
{
    struct certificate_keeper *keeper = keeper_of(supervisor);

    memset(io->tls_answers_due, 0, sizeof io->tls_answers_due);
    if (keeper->count == 0)
        return;
    send_keys(supervisor, io);
    for (uint32_t i = 0; i < keeper->count; i++)
        send_current(io, i);
}

/* Trying ----------------------------------------------------------------------------------------------------- */

static bool is_trier(const struct certificate_keeper *keeper, const struct io_child *io)
{
    return io->index == keeper->trier && io->generation == keeper->generation;
}

static struct io_child *trier(struct supervisor *supervisor)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        if (supervisor->io.rings[ring].state == IO_SERVING)
            return &supervisor->io.rings[ring];
    return NULL;
}

/* False: nobody is there to try; later. */
static bool try_candidate(struct supervisor *supervisor, uint32_t number)
{
    struct certificate_keeper *keeper = keeper_of(supervisor);
    struct kept_context *context = &keeper->contexts[number];
    struct io_child *io = trier(supervisor);

    if (io == NULL)
        return false;
    keeper->trier = io->index;
    keeper->generation = io->generation;
    context->state = KEEPER_TRYING;
    context->tries++;
    io->tls_answers_due[number]++;
    certificate_set_send(context->candidate, number, &io->child,
                         keeper->reloading ? &supervisor->fresh : &supervisor->settings,
                         keeper->reloading ? supervisor->fresh_fd : -1);
    return true;
}

static void name_certificates(const struct certificate_set *set, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < set->count && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i == 0 ? "" : ", ", set->pairs[i].chain.path);
}

static void take_candidate(struct supervisor *supervisor, uint32_t number)
{
    struct certificate_keeper *keeper = keeper_of(supervisor);
    struct kept_context *context = &keeper->contexts[number];
    char names[CERTIFICATE_WHY_BYTES];

    if (keeper->reloading) {
        context->state = KEEPER_TAKEN;
        return;
    }
    promote_candidate(context);
    send_current_to_all(supervisor, number, keeper->trier);
    certificate_set_warn(context->current);
    name_certificates(context->current, names, sizeof names);
    log_info("new connections get the new certificates: %s", names);
}

static void give_candidate_up(struct supervisor *supervisor, uint32_t number, const char *why)
{
    struct certificate_keeper *keeper = keeper_of(supervisor);

    if (keeper->reloading) {
        verdict_reload_fails(&supervisor->verdict, why);
        return;
    }
    log_error("the new certificates are refused, %s: %s", stay, why);
    refuse_candidate(&keeper->contexts[number]);
}

/* The context of an answer that decides something: of the last set that was sent to the one that tries. */
static struct kept_context *decided_by(struct io_child *io, uint32_t number)
{
    struct certificate_keeper *keeper = keeper_of(io->supervisor);

    if (number >= keeper->count || io->tls_answers_due[number] == 0)
        return NULL;
    io->tls_answers_due[number]--;
    struct kept_context *context = &keeper->contexts[number];
    bool decides = io->tls_answers_due[number] == 0 && context->state == KEEPER_TRYING && is_trier(keeper, io);
    return decides ? context : NULL;
}

void certificate_keeper_on_taken(struct io_child *io, struct control_message *message)
{
    const struct control_tls_context *taken = control_payload(message, sizeof *taken);

    if (taken != NULL && decided_by(io, taken->context) != NULL)
        take_candidate(io->supervisor, taken->context);
}

void certificate_keeper_on_refused(struct io_child *io, struct control_message *message)
{
    const struct control_tls_refusal *refusal = control_payload(message, sizeof *refusal);
    struct supervisor *supervisor = io->supervisor;
    char why[CONTROL_TLS_REASON_BYTES];

    if (refusal == NULL || supervisor_is_ending(supervisor))
        return;
    snprintf(why, sizeof why, "%.*s", (int)sizeof refusal->text - 1, refusal->text);
    if (decided_by(io, refusal->context) != NULL)
        give_candidate_up(supervisor, refusal->context, why);
    else if (supervisor_must_start(supervisor)) {
        log_critical("%s", why);
        verdict_stop(&supervisor->verdict, SUPERVISOR_EXIT_FAILURE);
    } else
        log_error("io %u cannot use certificates that others serve with: %s", io->index, why);
}

void certificate_keeper_ring_gone(struct supervisor *supervisor, const struct io_child *io)
{
    struct certificate_keeper *keeper = keeper_of(supervisor);

    if (!is_trier(keeper, io) || supervisor_is_ending(supervisor))
        return;
    for (uint32_t i = 0; i < keeper->count; i++) {
        struct kept_context *context = &keeper->contexts[i];
        if (context->state != KEEPER_TRYING && context->state != KEEPER_TAKEN)
            continue;
        context->state = KEEPER_SETTLING;
        if (context->tries >= TRIES_MAX)
            give_candidate_up(supervisor, i, "an I/O process died while it tried them, and the next one too");
    }
}

/* Files that change ------------------------------------------------------------------------------------------ */

static_assert((int)CERTIFICATE_WHY_BYTES == (int)TICKET_KEYS_WHY_BYTES);

/* A file that is being written may be empty first, and then wrong: each reason is said, and said once. Both are of
 * CERTIFICATE_WHY_BYTES. */
static bool is_news(char *said, const char *why)
{
    if (strcmp(said, why) == 0)
        return false;
    snprintf(said, CERTIFICATE_WHY_BYTES, "%s", why);
    return true;
}

static void say_unreadable(struct kept_context *context, const char *why)
{
    if (is_news(context->unreadable, why))
        log_error("the new certificates cannot be read, %s: %s", stay, why);
}

static int read_one(const struct settings *settings, uint32_t number, struct certificate_set **ret_set,
                    char why[CERTIFICATE_WHY_BYTES])
{
    struct listener_plan plan;
    struct settings_arena *arena = settings_arena_create();
    if (arena == NULL) {
        snprintf(why, CERTIFICATE_WHY_BYTES, "no memory");
        return -ENOMEM;
    }
    int r = listener_plan_make(settings, arena, &plan, why);
    if (r == 0)
        r = certificate_set_create(&plan.contexts[number], ret_set, why);
    settings_arena_destroy(arena);
    return r;
}

static void read_candidate(struct supervisor *supervisor, uint32_t number)
{
    struct kept_context *context = &keeper_of(supervisor)->contexts[number];
    char why[CERTIFICATE_WHY_BYTES];

    if (read_one(&supervisor->settings, number, &context->candidate, why) < 0)
        say_unreadable(context, why);
    else
        context->state = KEEPER_SETTLING;
}

/* A change is over when a second has passed without another: a pair is seldom written at once. */
static void look_at(struct supervisor *supervisor, uint32_t number)
{
    struct kept_context *context = &keeper_of(supervisor)->contexts[number];
    const struct certificate_set *seen = context->refused != NULL ? context->refused : context->current;

    if (context->state == KEEPER_STEADY) {
        if (certificate_set_is_current(seen))
            context->unreadable[0] = '\0';
        else
            read_candidate(supervisor, number);
        return;
    }
    if (context->state != KEEPER_SETTLING)
        return;
    if (certificate_set_is_current(context->candidate))
        (void)try_candidate(supervisor, number);
    else
        forget_candidate(context);
}

static void look_at_keys(struct supervisor *supervisor)
{
    struct certificate_keeper *keeper = keeper_of(supervisor);
    char why[TICKET_KEYS_WHY_BYTES];

    if (file_copy_is_current(&keeper->keys.file))
        return;
    if (ticket_keys_load(&keeper->keys, supervisor->settings.tls_ticket_keys, why) < 0) {
        if (is_news(keeper->keys_unreadable, why))
            log_error("the new ticket keys are refused, %s: %s", stay, why);
        return;
    }
    keeper->keys_unreadable[0] = '\0';
    send_keys_to_all(supervisor);
    log_info("new ticket keys: %s", supervisor->settings.tls_ticket_keys);
}

void certificate_keeper_check(struct supervisor *supervisor)
{
    if (supervisor->state != SUPERVISOR_SERVING)
        return;
    for (uint32_t i = 0; i < keeper_of(supervisor)->count; i++)
        look_at(supervisor, i);
    look_at_keys(supervisor);
}

/* Ticket keys ------------------------------------------------------------------------------------------------ */

/* Keys that are ours stay what they are over a reload; those of a file are what is in it. */
static int load_keys(struct ticket_keys *keys, const struct settings *settings, char why[TICKET_KEYS_WHY_BYTES])
{
    bool of_file = keys->file.path != NULL;

    if (!settings->tls_tickets || !settings_have_tls(settings)) {
        ticket_keys_deinit(keys);
        return 0;
    }
    if (keys->keys.count > 0 && !of_file && settings->tls_ticket_keys == NULL)
        return 0;
    return ticket_keys_load(keys, settings->tls_ticket_keys, why);
}

static void on_rotation(struct event_alarm *alarm)
{
    struct supervisor *supervisor = alarm->owner;
    struct ticket_keys *keys = &keeper_of(supervisor)->keys;

    event_loop_arm(&supervisor->loop, alarm, event_loop_now_ms() + ROTATION_MS);
    if (keys->keys.count == 0 || keys->file.path != NULL)
        return;
    int r = ticket_keys_rotate(keys);
    if (r < 0) {
        log_error("the ticket keys cannot be exchanged, %s: %s", stay, strerror(-r));
        return;
    }
    send_keys_to_all(supervisor);
    log_debug("ticket keys exchanged");
}

/* A reload --------------------------------------------------------------------------------------------------- */

static int read_all(struct certificate_keeper *keeper, const struct settings *settings, char why[CERTIFICATE_WHY_BYTES])
{
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < keeper->count; i++) {
        r = read_one(settings, i, &keeper->contexts[i].candidate, why);
        if (r == 0)
            keeper->contexts[i].state = KEEPER_SETTLING;
    }
    return r;
}

int certificate_keeper_prepare(struct supervisor *supervisor, char why[CERTIFICATE_WHY_BYTES])
{
    struct certificate_keeper *keeper = keeper_of(supervisor);
    struct ticket_keys fresh = {};

    for (uint32_t i = 0; i < keeper->count; i++)
        forget_candidate(&keeper->contexts[i]);
    int r = read_all(keeper, &supervisor->fresh, why);
    /* Only asked whether they can be read; what changes does so at the end. */
    if (r == 0 && supervisor->fresh.tls_ticket_keys != NULL)
        r = ticket_keys_load(&fresh, supervisor->fresh.tls_ticket_keys, why);
    ticket_keys_deinit(&fresh);
    keeper->reloading = r == 0;
    for (uint32_t i = 0; r < 0 && i < keeper->count; i++)
        forget_candidate(&keeper->contexts[i]);
    return r;
}

/* All of them are tried at once, and each answer counts for its context. */
bool certificate_keeper_agrees(struct supervisor *supervisor)
{
    struct certificate_keeper *keeper = keeper_of(supervisor);
    bool taken = true;

    for (uint32_t i = 0; i < keeper->count; i++) {
        if (keeper->contexts[i].state == KEEPER_SETTLING)
            (void)try_candidate(supervisor, i);
        taken = taken && keeper->contexts[i].state == KEEPER_TAKEN;
    }
    return taken;
}

void certificate_keeper_commit(struct supervisor *supervisor)
{
    struct certificate_keeper *keeper = keeper_of(supervisor);
    char why[TICKET_KEYS_WHY_BYTES];

    keeper->reloading = false;
    for (uint32_t i = 0; i < keeper->count; i++) {
        promote_candidate(&keeper->contexts[i]);
        certificate_set_warn(keeper->contexts[i].current);
        send_current_to_all(supervisor, i, LAYOUT_RINGS_MAX);
    }
    if (load_keys(&keeper->keys, &supervisor->settings, why) < 0)
        log_error("the new ticket keys are refused, %s: %s", stay, why);
    send_keys_to_all(supervisor);
}

void certificate_keeper_abandon(struct supervisor *supervisor)
{
    struct certificate_keeper *keeper = keeper_of(supervisor);

    if (!keeper->reloading)
        return;
    keeper->reloading = false;
    for (uint32_t i = 0; i < keeper->count; i++) {
        struct io_child *io = &supervisor->io.rings[keeper->trier];
        bool tried = keeper->contexts[i].state == KEEPER_TRYING || keeper->contexts[i].state == KEEPER_TAKEN;
        forget_candidate(&keeper->contexts[i]);
        if (tried && listens(io))
            send_current(io, i);
    }
}

/* Life ------------------------------------------------------------------------------------------------------- */

int certificate_keeper_init(struct supervisor *supervisor, const struct listener_plan *plan,
                            char why[CERTIFICATE_WHY_BYTES])
{
    struct certificate_keeper *keeper = keeper_of(supervisor);
    int r = 0;

    keeper->count = plan->context_count;
    for (uint32_t i = 0; r == 0 && i < keeper->count; i++) {
        r = certificate_set_create(&plan->contexts[i], &keeper->contexts[i].current, why);
        if (r == 0)
            certificate_set_warn(keeper->contexts[i].current);
    }
    return r == 0 ? load_keys(&keeper->keys, &supervisor->settings, why) : r;
}

void certificate_keeper_start(struct supervisor *supervisor)
{
    struct certificate_keeper *keeper = keeper_of(supervisor);

    keeper->rotation = (struct event_alarm){.on_alarm = on_rotation, .owner = supervisor};
    if (keeper->count > 0)
        event_loop_arm(&supervisor->loop, &keeper->rotation, event_loop_now_ms() + ROTATION_MS);
}

void certificate_keeper_deinit(struct supervisor *supervisor)
{
    struct certificate_keeper *keeper = keeper_of(supervisor);

    for (uint32_t i = 0; i < keeper->count; i++)
        clear(&keeper->contexts[i]);
    ticket_keys_deinit(&keeper->keys);
    keeper->count = 0;
}
