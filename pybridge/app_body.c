#include "pybridge/app_exchange_state.h"

#include "daemon/base/log.h"
#include "daemon/exchange/file_handover.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { CREDIT_BATCH_BYTES = 16'384 };

/* ---- the spool -------------------------------------------------------------------------------------------------- */

/* Received without a free descriptor it would be lost, and every body in it with it. */
static bool has_free_descriptor(int any)
{
    int fd = fcntl(any, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

int app_body_find_spool(struct app_exchange *exchange, struct open_request *request)
{
    struct ring_memory *memory = request->memory;
    const struct ring_link *link = &exchange->rings[request->public.ring];
    struct file_handover handover;
    if (memory->spool >= 0)
        return 0;
    if (link->memory != memory)
        return -EPIPE;
    if (!has_free_descriptor(link->files))
        return -EMFILE;
    return file_handover_receive(link->files, &handover, &memory->spool);
}

/* ---- pieces come ------------------------------------------------------------------------------------------------ */

void app_body_clear(struct app_exchange *exchange, struct open_request *request)
{
    if (request->first == NULL)
        return;
    request->last->next = exchange->free_pieces;
    exchange->free_pieces = request->first;
    request->first = request->last = NULL;
}

static int check(struct app_exchange *exchange, struct open_request *request, const struct piece *piece)
{
    if (piece->in_file)
        return app_body_find_spool(exchange, request);
    const uint8_t *data = arena_at(&request->memory->inbound, (uint32_t)piece->offset, piece->length);
    return data != NULL ? 0 : -EINVAL;
}

static int append(struct app_exchange *exchange, struct open_request *request, struct piece wanted)
{
    int r = check(exchange, request, &wanted);
    if (r < 0)
        return r;
    struct piece *piece = exchange->free_pieces;
    if (piece != NULL)
        exchange->free_pieces = piece->next;
    else
        piece = malloc(sizeof *piece);
    if (piece == NULL)
        return -ENOMEM;
    *piece = wanted;
    if (request->last != NULL)
        request->last->next = piece;
    else
        request->first = piece;
    request->last = piece;
    request->at_hand += piece->length;
    return 0;
}

void app_body_arrived(struct app_exchange *exchange, struct open_request *request, const struct message *message)
{
    const bool in_file = (message->flags & MESSAGE_FILE) != 0;
    const uint64_t unit = in_file ? MESSAGE_FILE_BLOCK_BYTES : 1;
    const struct piece piece = {
        .offset = message->body_offset * unit, .length = message->body_length, .in_file = in_file};
    if (request->public.body_state != APP_BODY_MORE)
        return;
    int r = piece.length > 0 ? append(exchange, request, piece) : 0;
    if (r < 0) {
        request->public.body_state = APP_BODY_BROKEN;
        log_error("a part of a request body cannot be read, the request will fail: error %d%s", -r,
                  r == -EMFILE ? ", this process has no descriptor left" : "");
    } else if ((message->flags & MESSAGE_END) != 0) {
        request->public.body_state = (message->flags & MESSAGE_FAILED) != 0 ? APP_BODY_BROKEN : APP_BODY_ENDED;
    }
}

/* ---- pieces are taken ------------------------------------------------------------------------------------------- */

struct bytes app_request_body(const struct app_request *request)
{
    const struct open_request *open = open_request_of(request);
    if (open->first == NULL || open->first->in_file)
        return (struct bytes){};
    return bytes_of(open->memory->inbound.base + open->first->offset, open->first->length);
}

uint64_t app_request_at_hand(const struct app_request *request)
{
    return open_request_of(request)->at_hand;
}

static void advance(struct app_exchange *exchange, struct open_request *open, size_t octets)
{
    struct piece *piece = open->first;
    assert(octets <= piece->length);
    piece->offset += octets;
    piece->length -= (uint32_t)octets;
    open->at_hand -= octets;
    open->public.body_read += octets;
    if (piece->length > 0)
        return;
    open->first = piece->next;
    if (open->first == NULL)
        open->last = NULL;
    piece->next = exchange->free_pieces;
    exchange->free_pieces = piece;
}

/* Credit for what is in memory goes in batches, for what is in the file only where more of the body is waited for: the
 * end of a body that has ended needs none, DONE gives everything back. */
static void account(struct app_exchange *exchange, struct open_request *open, size_t octets, uint64_t batch)
{
    open->credit += octets;
    open->wanted = true;
    const bool starved = open->first == NULL && open->public.body_state == APP_BODY_MORE;
    if (open->orphan || open->reading > 0 || (open->credit < batch && !starved))
        return;
    (void)app_exchange_credit(exchange, open);
}

void app_request_consume(struct app_exchange *exchange, struct app_request *request, size_t octets)
{
    struct open_request *open = open_request_of(request);
    if (open->first == NULL || octets == 0)
        return;
    assert(!open->first->in_file);
    advance(exchange, open, octets);
    account(exchange, open, octets, CREDIT_BATCH_BYTES);
}

bool app_request_take_part(struct app_exchange *exchange, struct app_request *request, size_t most,
                           struct app_body_part *ret_part)
{
    struct open_request *open = open_request_of(request);
    if (open->first == NULL || !open->first->in_file || most == 0)
        return false;
    const size_t length = open->first->length < most ? open->first->length : most;
    *ret_part = (struct app_body_part){.memory = open->memory, .offset = open->first->offset, .length = length};
    open->memory->holders++;
    open->reading++;
    advance(exchange, open, length);
    return true;
}

int app_body_part_read(const struct app_body_part *part, uint8_t *memory)
{
    size_t done = 0;
    while (done < part->length) {
        ssize_t got = pread(part->memory->spool, memory + done, part->length - done, (off_t)(part->offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        done += (size_t)got;
    }
    return 0;
}

void app_request_give_part_back(struct app_exchange *exchange, struct app_request *request,
                                const struct app_body_part *part, int result)
{
    if (request != NULL) {
        struct open_request *open = open_request_of(request);
        assert(open->reading > 0);
        open->reading--;
        if (result < 0) {
            app_body_clear(exchange, open);
            open->at_hand = 0;
            request->body_state = APP_BODY_BROKEN;
        } else {
            account(exchange, open, part->length, UINT64_MAX);
        }
    }
    ring_memory_release(part->memory);
}

void app_request_want_body(struct app_exchange *exchange, struct app_request *request)
{
    struct open_request *open = open_request_of(request);
    if (open->wanted || open->orphan || request->body_state != APP_BODY_MORE)
        return;
    open->wanted = app_exchange_credit(exchange, open);
}
