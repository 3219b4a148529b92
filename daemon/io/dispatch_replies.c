#include "daemon/io/dispatch_state.h"

#include "daemon/base/log.h"

#include <errno.h>
#include <unistd.h>

enum { COMPLAINT_INTERVAL_MS = 10'000 };

static void complain(struct dispatch *dispatch, uint32_t app, const char *what)
{
    uint64_t suppressed;
    metrics_add(dispatch->core->metrics, METRIC_MESSAGES_INVALID, 1);
    if (log_limit_pass(&dispatch->protocol_log, dispatch->core->now_ms, COMPLAINT_INTERVAL_MS, &suppressed))
        log_error("app %u sent an invalid message (%s); %llu more like it were not logged", app, what,
                  (unsigned long long)suppressed);
}

static bool span(const struct app_link *link, uint32_t offset, uint32_t length, struct bytes *ret_bytes)
{
    const uint8_t *data = arena_at(&link->memory->outbound, offset, length);
    if (data == NULL)
        return false;
    *ret_bytes = bytes_of(data, length);
    return true;
}

/* The file that goes with a message. Those of an app come in the order of their messages, so each message takes one,
 * also where it is late and nobody wants it. */
static int take_file(struct dispatch *dispatch, uint32_t app, const struct message *message,
                     struct file_source **ret_file)
{
    struct file_handover handover;
    int fd;
    int r = file_handover_receive(dispatch->apps[app].files, &handover, &fd);
    if (r < 0)
        return r;
    if (handover.slot == message->slot && handover.generation == message->generation)
        return file_source_open(dispatch->core, &handover, fd, ret_file);
    close(fd);
    return -EBADMSG;
}

/* Too many of them is nobody's fault, and may be otherwise in a moment. */
static void refuse_file(struct dispatch *dispatch, uint32_t app, struct http_exchange *exchange, int error)
{
    const bool is_scarce = error == -EMFILE || error == -ENOMEM;
    if (!is_scarce)
        complain(dispatch, app, "a file that cannot be sent");
    dispatch_slots_fail(exchange, is_scarce ? 503 : 502, is_scarce ? CLOSE_OVERLOAD : CLOSE_APP_FAILED);
}

static void on_reply(struct dispatch *dispatch, uint32_t app, struct http_exchange *exchange,
                     const struct message *message, struct file_source *file)
{
    struct app_link *link = &dispatch->apps[app];
    struct reply reply = {
        .kind = message->kind,
        .flags = message->kind == MESSAGE_INTERIM ? 0 : message->flags, /* it ends nothing */
        .status = message->status,
        .content_length = message->content_length,
        .head_block = message->kind == MESSAGE_BODY ? MESSAGE_NO_BLOCK : message->head_block,
        .body_block = message->body_block,
        .memory = link->memory,
        .file = file,
    };
    if (!span(link, message->head_offset, message->kind == MESSAGE_BODY ? 0 : message->head_length, &reply.head) ||
        !span(link, message->body_offset, message->body_length, &reply.body)) {
        complain(dispatch, app, "octets outside its arena");
        reply_discard(&reply);
        file_source_drop(dispatch->core, file);
        dispatch_slots_fail(exchange, 502, CLOSE_APP_FAILED);
        return;
    }
    if (exchange->begun_seen_ms != 0)
        exchange->begun_seen_ms = dispatch->core->now_ms;
    file_source_deliver(dispatch->core, exchange, &reply);
}

/* Done without an end: the application failed, its process lives. Failing may free the exchange. */
static void on_done(struct dispatch *dispatch, struct http_exchange *exchange)
{
    bool unanswered = exchange->owner != NULL && !exchange->response_ended && !exchange->response_received;
    dispatch_send_leave(dispatch, exchange);
    dispatch_slots_release(dispatch, exchange);
    if (unanswered)
        dispatch_slots_fail(exchange, 500, CLOSE_APP_FAILED);
}

static void on_consumed(struct dispatch *dispatch, struct http_exchange *exchange, uint32_t octets)
{
    uint32_t taken = http_exchange_body_consumed(dispatch->core, exchange, octets);
    if (exchange->owner != NULL)
        exchange->owner->on_credit(exchange, taken);
}

/* Whether the message speaks of a request that this app has now. */
static bool is_of(const struct dispatch *dispatch, uint32_t app, const struct message *message)
{
    const struct http_exchange *exchange = dispatch->by_slot[message->slot];
    return exchange != NULL && exchange->state == EXCHANGE_QUEUED && exchange->app == app &&
           exchange->generation == message->generation;
}

static void give_back(struct app_memory *memory, const struct message *message)
{
    app_memory_give_back(memory, message->body_block);
    if (message->kind != MESSAGE_BODY && message->head_block != message->body_block)
        app_memory_give_back(memory, message->head_block);
}

/* A part of a response. `exchange` is NULL where the message is late, and nobody's. */
static void on_part(struct dispatch *dispatch, uint32_t app, struct http_exchange *exchange,
                    const struct message *message)
{
    const bool has_file = (message->flags & MESSAGE_FILE) != 0 && message->kind != MESSAGE_INTERIM;
    struct file_source *file = NULL;
    int r = has_file ? take_file(dispatch, app, message, &file) : 0;
    if (exchange == NULL || r < 0) {
        file_source_drop(dispatch->core, file);
        give_back(dispatch->apps[app].memory, message);
    }
    if (exchange == NULL)
        return;
    if (r < 0)
        refuse_file(dispatch, app, exchange, r);
    else
        on_reply(dispatch, app, exchange, message, file);
    /* A reply that broke a request off ends it here, when its app has not even begun it. */
    if ((message->flags & MESSAGE_WAS_DONE) != 0 && is_of(dispatch, app, message))
        on_done(dispatch, exchange);
}

static void on_message(struct dispatch *dispatch, uint32_t app, const struct message *message)
{
    if (message->slot >= dispatch->core->setup.shape.slots) {
        complain(dispatch, app, "a slot that does not exist");
        return;
    }
    struct http_exchange *exchange = dispatch->by_slot[message->slot];
    /* Late words about a slot's earlier life are normal: a cancelled or recalled request crosses them. Its blocks go
     * back all the same. */
    bool ours = is_of(dispatch, app, message);
    if (ours)
        exchange->touched = true;
    switch (message->kind) {
    case MESSAGE_RESPONSE:
    case MESSAGE_INTERIM:
    case MESSAGE_BODY:
        on_part(dispatch, app, ours ? exchange : NULL, message);
        return;
    case MESSAGE_CONSUMED:
        if (ours)
            on_consumed(dispatch, exchange, message->count);
        return;
    case MESSAGE_DONE:
        if (ours)
            on_done(dispatch, exchange);
        return;
    default:
        complain(dispatch, app, "an unknown kind");
    }
}

uint32_t dispatch_replies_take(struct dispatch *dispatch, uint32_t app)
{
    struct app_link *link = &dispatch->apps[app];
    uint32_t count = 0;
    struct message message;
    int r = 1;
    if (link->broken)
        return 0;
    while (count < DISPATCH_REPLIES_MAX && (r = spsc_pop(&link->replies, &message)) == 1) {
        count++;
        on_message(dispatch, app, &message);
    }
    /* Whoever found its reply queue full waits for room and not for a message: emptying a full queue rings too. */
    link->unflushed |= count == DISPATCH_REPLIES_MAX;
    if (r < 0) {
        complain(dispatch, app, "an impossible queue position");
        link->broken = true; /* nothing that it says is listened to, or the loop would never sleep again */
        dispatch_apps_give_up(dispatch, app);
    }
    return count;
}

uint32_t dispatch_pump(struct dispatch *dispatch)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        count += dispatch_replies_take(dispatch, dispatch->up[i]);
    return count;
}
