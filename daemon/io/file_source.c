#include "daemon/io/file_source.h"

#include "daemon/io/http_exchange.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    INDEX_ENTRIES_FIRST = 64,
    HELD_WITHOUT_BLOCK_MAX = 64, /* replies behind a file: each block once, and a few that need none */
};

/* ---- birth and death -------------------------------------------------------------------------------------------- */

static void note_live(struct io_core *core)
{
    metrics_set(core->metrics, METRIC_FILES_LIVE, core->files.live);
}

static int grow(struct file_sources *files)
{
    /* A power of two whenever it is full. */
    if (files->allocated != 0 &&
        (files->allocated < INDEX_ENTRIES_FIRST || (files->allocated & (files->allocated - 1))))
        return 0;
    const size_t entries = files->allocated == 0 ? INDEX_ENTRIES_FIRST : 2 * (size_t)files->allocated;
    struct file_source **by_index = realloc(files->by_index, entries * sizeof(struct file_source *));
    if (by_index == NULL)
        return -ENOMEM;
    files->by_index = by_index;
    return 0;
}

static struct file_source *borrow(struct io_core *core)
{
    struct file_sources *files = &core->files;
    struct file_source *source = files->free;
    if (source != NULL) {
        files->free = source->next_free;
    } else {
        source = grow(files) == 0 ? malloc(sizeof *source) : NULL;
        if (source == NULL)
            return NULL;
        source->index = files->allocated;
        files->by_index[files->allocated++] = source;
    }
    *source = (struct file_source){.index = source->index};
    files->live++;
    note_live(core);
    return source;
}

static void discard_held(struct io_core *core, struct file_source *source)
{
    while (source->held_first != NULL) {
        struct reply *reply = source->held_first;
        source->held_first = reply->next;
        reply_discard(reply);
        file_source_drop(core, reply->file);
        app_memory_drop(reply->memory);
        slab_give_back(&core->replies, reply);
    }
    source->held_last = NULL;
    source->held_count = 0;
}

static void free_source(struct io_core *core, struct file_source *source)
{
    if (source->reading != NULL || source->delivering)
        return; /* whoever ends that comes back */
    output_file_drop(&core->outputs, source->file);
    source->file = NULL;
    source->next_free = core->files.free;
    core->files.free = source;
    core->files.live--;
    note_live(core);
}

void file_source_drop(struct io_core *core, struct file_source *source)
{
    if (source == NULL)
        return;
    if (source->exchange != NULL)
        source->exchange->file = NULL;
    source->exchange = NULL;
    discard_held(core, source);
    free_source(core, source);
}

void file_sources_deinit(struct io_core *core)
{
    for (uint32_t i = 0; i < core->files.allocated; i++) {
        struct file_source *source = core->files.by_index[i];
        if (source->reading != NULL)
            output_scratch_drop(&core->outputs, source->reading);
        output_file_drop(&core->outputs, source->file);
        free(source);
    }
    free(core->files.by_index);
    core->files = (struct file_sources){};
}

/* An application can hand over what it likes: a pipe or a device would never end, or never answer. */
static int check(const struct file_handover *handover, int fd)
{
    struct stat facts;
    uint64_t end;
    if (fstat(fd, &facts) < 0)
        return -errno;
    if (!S_ISREG(facts.st_mode) || handover->length == 0 ||
        __builtin_add_overflow(handover->offset, handover->length, &end) || end > INT64_MAX)
        return -EINVAL;
    return 0;
}

/* What is queued keeps a file open as well. */
static bool is_full(const struct io_core *core)
{
    return core->files.live >= FILE_SOURCES_MAX || core->outputs.files.live >= FILE_SOURCES_MAX;
}

int file_source_open(struct io_core *core, const struct file_handover *handover, int fd,
                     struct file_source **ret_source)
{
    int r = check(handover, fd);
    if (r == 0 && is_full(core))
        r = -EMFILE;
    if (r < 0) {
        close(fd);
        return r;
    }
    struct output_file *file = output_file_create(&core->outputs, fd);
    struct file_source *source = file != NULL ? borrow(core) : NULL;
    if (source == NULL) {
        output_file_drop(&core->outputs, file);
        return -ENOMEM;
    }
    source->file = file;
    source->offset = handover->offset;
    source->left = handover->length;
    metrics_add(core->metrics, METRIC_FILES, 1);
    *ret_source = source;
    return 0;
}

/* ---- replies ---------------------------------------------------------------------------------------------------- */

/* Behind the file that is under way. */
static void hold(struct io_core *core, struct file_source *source, struct reply *reply)
{
    const uint32_t held_max = reply->memory->blocks + HELD_WITHOUT_BLOCK_MAX;
    struct reply *held = source->held_count < held_max ? slab_borrow(&core->replies) : NULL;
    if (held == NULL) {
        struct http_exchange *exchange = source->exchange;
        reply_discard(reply);
        file_source_drop(core, reply->file);
        exchange->owner->on_failure(exchange, 503, CLOSE_OVERLOAD);
        return;
    }
    *held = *reply;
    held->next = NULL;
    app_memory_hold(held->memory);
    if (source->held_last != NULL)
        source->held_last->next = held;
    else
        source->held_first = held;
    source->held_last = held;
    source->held_count++;
    source->exchange->response_received |= (reply->flags & MESSAGE_END) != 0;
}

static void attach(struct http_exchange *exchange, struct reply *reply)
{
    struct file_source *source = reply->file;
    source->exchange = exchange;
    source->ends = (reply->flags & MESSAGE_END) != 0;
    exchange->file = source;
    exchange->response_received |= source->ends;
    reply->flags &= (uint8_t)~MESSAGE_END;
    reply->file = NULL;
}

void file_source_deliver(struct io_core *core, struct http_exchange *exchange, struct reply *reply)
{
    if (exchange->owner == NULL) {
        reply_discard(reply);
        file_source_drop(core, reply->file);
        return;
    }
    if (exchange->file != NULL) {
        hold(core, exchange->file, reply);
        return;
    }
    if (reply->file != NULL)
        attach(exchange, reply);
    exchange->owner->on_reply(exchange, reply);
}

/* What was said behind the file follows, up to the next file; that has the rest behind it. */
static void deliver_held(struct io_core *core, struct file_source *source)
{
    while (source->exchange != NULL && source->held_first != NULL) {
        struct reply *reply = source->held_first;
        struct http_exchange *exchange = source->exchange;
        struct file_source *next = reply->file;
        source->held_first = reply->next;
        source->held_count--;
        if (next != NULL) {
            next->held_first = source->held_first;
            next->held_last = source->held_first != NULL ? source->held_last : NULL;
            next->held_count = source->held_count;
            source->held_first = source->held_last = NULL;
            source->exchange = NULL;
            attach(exchange, reply);
        }
        exchange->owner->on_reply(exchange, reply);
        app_memory_drop(reply->memory);
        slab_give_back(&core->replies, reply);
    }
}

/* A part of the file, or none; it may be the last. `broken`: the end of a response that cannot be completed. */
static void deliver(struct io_core *core, struct file_source *source, struct reply *part, bool broken)
{
    const bool is_last = source->left == 0 || broken;
    struct http_exchange *exchange = source->exchange;
    part->kind = MESSAGE_BODY;
    part->content_length = -1;
    part->head_block = part->body_block = MESSAGE_NO_BLOCK;
    if (broken)
        part->flags = MESSAGE_END | MESSAGE_FAILED;
    else if (is_last && source->ends)
        part->flags = MESSAGE_END;
    source->delivering = true;
    exchange->owner->on_reply(exchange, part);
    if (is_last && !broken)
        deliver_held(core, source);
    source->delivering = false;
    if (is_last || source->exchange == NULL)
        file_source_drop(core, source);
    else
        file_source_advance(core, source->exchange);
}

static void deliver_broken(struct io_core *core, struct file_source *source)
{
    struct reply end = {};
    deliver(core, source, &end, true);
}

/* ---- by reference ----------------------------------------------------------------------------------------------- */

/* A short part costs more this way, for the ring is asked once more; and where nobody can tell what is in the page
 * cache the loop might wait for a disk. */
static enum file_way choose_way(struct io_core *core, const struct file_source *source)
{
    if (source->left < FILE_READ_BYTES ||
        ring_file_at_hand(core->ring, source->file->fd, source->offset, 1) == -EOPNOTSUPP)
        return FILE_WAY_READ;
    return FILE_WAY_REFERENCES;
}

static bool goes_by_reference(struct io_core *core, struct file_source *source)
{
    const struct http_exchange *exchange = source->exchange;
    if (exchange->owner->sends_files == NULL || !exchange->owner->sends_files(exchange))
        return false;
    if (source->way == FILE_WAY_UNDECIDED)
        source->way = choose_way(core, source);
    return source->way == FILE_WAY_REFERENCES;
}

static void refer(struct io_core *core, struct file_source *source, uint64_t queued)
{
    const uint64_t size = source->left < FILE_REFERENCE_BYTES ? source->left : FILE_REFERENCE_BYTES;
    if (queued > FILE_AHEAD_BYTES - size)
        return;
    struct reply part = {.part_of = source->file, .part_offset = source->offset, .body = bytes_of(NULL, (size_t)size)};
    source->offset += size;
    source->left -= size;
    deliver(core, source, &part, false);
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* How much is read now, with `queued` octets still on their way to the client. */
static uint64_t read_size(const struct io_core *core, const struct file_source *source, uint64_t queued)
{
    const uint64_t held = core->outputs.file_bytes;
    const bool is_scarce = held >= FILE_MEMORY_BYTES || core->memory.step >= MEMORY_SCARCE;
    uint64_t size = is_scarce ? FILE_SCARCE_READ_BYTES : source->exchange->owner->file_read_bytes;
    uint64_t window = is_scarce || held >= FILE_MEMORY_BYTES / 2 ? size : FILE_WINDOW_BYTES;
    if (size > source->left)
        size = source->left;
    return queued <= window && size <= window - queued ? size : 0;
}

static void read_on(struct io_core *core, struct file_source *source, uint64_t size)
{
    ring_read(core->ring, source->file->fd, source->reading->data, (size_t)size, source->offset,
              ring_token_make(RING_FILE_READ, 0, source->index));
}

static void start_reading(struct io_core *core, struct file_source *source, uint64_t queued)
{
    const uint64_t size = read_size(core, source, queued);
    if (size == 0)
        return;
    source->reading = output_scratch_create_file(&core->outputs, (uint32_t)size);
    if (source->reading != NULL)
        read_on(core, source, size);
    else
        deliver_broken(core, source);
}

void file_source_advance(struct io_core *core, struct http_exchange *exchange)
{
    struct file_source *source = exchange->file;
    if (source->reading != NULL || source->delivering)
        return;
    const uint64_t queued = exchange->owner->queued(exchange);
    if (goes_by_reference(core, source))
        refer(core, source, queued);
    else
        start_reading(core, source, queued);
}

static void deliver_read(struct io_core *core, struct file_source *source, struct output_scratch *part)
{
    struct reply reply = {.scratch = part, .body = bytes_of(part->data, part->used)};
    assert(part->used <= source->left);
    source->offset += part->used;
    source->left -= part->used;
    metrics_add(core->metrics, METRIC_FILE_BYTES_READ, part->used);
    deliver(core, source, &reply, false);
}

void file_sources_on_read(struct io_core *core, const struct ring_event *event)
{
    struct file_source *source = core->files.by_index[ring_token_index(event->token)];
    struct output_scratch *part = source->reading;
    if (source->exchange != NULL && (event->result == -EINTR || event->result == -EAGAIN)) {
        read_on(core, source, part->capacity < source->left ? part->capacity : source->left);
        return;
    }
    source->reading = NULL;
    if (source->exchange == NULL) {
        free_source(core, source);
    } else if (event->result > 0) {
        part->used = (uint32_t)event->result;
        deliver_read(core, source, part);
    } else {
        deliver_broken(core, source); /* 0: it has become shorter than what was stated */
    }
    output_scratch_drop(&core->outputs, part);
}
