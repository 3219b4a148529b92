#include "daemon/io/access_log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* The first octet of each buffer is a line end in reserve, for the case that the log broke off inside a line. */
enum { TEXT_START = 1, NO_BUFFER = -1 };

static_assert(ACCESS_LINE_BYTES_MAX <= ACCESS_LOG_BUFFER_BYTES - TEXT_START, "any line fits an empty buffer");
static_assert(ACCESS_LOG_BUFFERS <= 32, "free buffers are a 32-bit mask");

struct access_log {
    struct access_format *format;
    char (*buffers)[ACCESS_LOG_BUFFER_BYTES];
    size_t ends[ACCESS_LOG_BUFFERS]; /* where the text of each buffer ends */

    uint32_t free_mask;               /* the lowest is used first, so that a log that keeps up touches two */
    int filling;                      /* index, or NO_BUFFER */
    uint8_t full[ACCESS_LOG_BUFFERS]; /* a queue of indices; its head is the one being written */
    uint32_t full_head;
    uint32_t full_count;

    bool head_begun; /* the head has an offset: some of it was taken before */
    bool in_flight;  /* and not written yet */
    bool torn;       /* what has been written ends inside a line */
    size_t offset;   /* of the first octet of the head that is not written */
    uint64_t drops;
};

int access_log_create(const char *format, struct access_log **ret_log, const char **ret_problem)
{
    struct access_log *log = calloc(1, sizeof *log);
    if (!log)
        return -ENOMEM;
    *log = (struct access_log){.free_mask = (uint32_t)((1ULL << ACCESS_LOG_BUFFERS) - 1), .filling = NO_BUFFER};

    /* One block beyond malloc's mmap threshold: pages that are never used are never there. */
    log->buffers = malloc(sizeof *log->buffers * ACCESS_LOG_BUFFERS);
    int error = log->buffers ? access_format_create(format, &log->format, ret_problem) : -ENOMEM;
    if (error) {
        access_log_destroy(log);
        return error;
    }
    *ret_log = log;
    return 0;
}

void access_log_destroy(struct access_log *log)
{
    if (!log)
        return;
    assert(!log->in_flight);
    access_format_destroy(log->format);
    free(log->buffers);
    free(log);
}

int access_log_set_format(struct access_log *log, const char *format, const char **ret_problem)
{
    struct access_format *fresh;
    int error = access_format_create(format, &fresh, ret_problem);
    if (error)
        return error;
    access_format_destroy(log->format);
    log->format = fresh;
    return 0;
}

/* Filling ---------------------------------------------------------------------------------------------------------- */

static void finish_filling(struct access_log *log)
{
    log->full[(log->full_head + log->full_count) % ACCESS_LOG_BUFFERS] = (uint8_t)log->filling;
    log->full_count++;
    log->filling = NO_BUFFER;
}

static bool begin_filling(struct access_log *log)
{
    if (!log->free_mask)
        return false;
    log->filling = __builtin_ctz(log->free_mask);
    log->free_mask &= log->free_mask - 1;
    log->buffers[log->filling][0] = '\n';
    log->ends[log->filling] = TEXT_START;
    return true;
}

static bool append_to_filling(struct access_log *log, const struct access_entry *entry)
{
    size_t end = log->ends[log->filling];
    size_t length =
        access_format_render(log->format, entry, log->buffers[log->filling] + end, ACCESS_LOG_BUFFER_BYTES - end);
    log->ends[log->filling] += length;
    return length > 0;
}

void access_log_append(struct access_log *log, const struct access_entry *entry)
{
    if (log->filling != NO_BUFFER) {
        if (append_to_filling(log, entry))
            return;
        finish_filling(log);
    }
    if (!begin_filling(log)) {
        log->drops++;
        return;
    }
    bool fits = append_to_filling(log, entry);
    assert(fits);
}

/* Writing ---------------------------------------------------------------------------------------------------------- */

static uint8_t head_of(const struct access_log *log)
{
    return log->full[log->full_head];
}

static void release_head(struct access_log *log)
{
    log->free_mask |= 1U << head_of(log);
    log->full_head = (log->full_head + 1) % ACCESS_LOG_BUFFERS;
    log->full_count--;
    log->head_begun = false;
}

bool access_log_take(struct access_log *log, struct bytes *ret_bytes)
{
    if (log->in_flight)
        return false;
    if (log->full_count == 0) {
        if (log->filling == NO_BUFFER)
            return false;
        finish_filling(log);
    }
    if (!log->head_begun)
        log->offset = log->torn ? 0 : TEXT_START;
    log->head_begun = true;
    log->in_flight = true;

    uint8_t head = head_of(log);
    *ret_bytes = bytes_of(log->buffers[head] + log->offset, log->ends[head] - log->offset);
    return true;
}

static uint64_t count_lines(const char *text, const char *end)
{
    uint64_t lines = 0;
    while ((text = memchr(text, '\n', (size_t)(end - text)))) {
        lines++;
        text++;
    }
    return lines;
}

/* What precedes the offset has been written; an offset of 0 means that not even the line end in reserve has. */
static void note_whether_torn(struct access_log *log)
{
    if (log->offset > 0)
        log->torn = log->buffers[head_of(log)][log->offset - 1] != '\n';
}

static void drop_head(struct access_log *log)
{
    uint8_t head = head_of(log);
    size_t from = log->offset > TEXT_START ? log->offset : TEXT_START;
    log->drops += count_lines(log->buffers[head] + from, log->buffers[head] + log->ends[head]);
    release_head(log);
}

void access_log_written(struct access_log *log, int64_t result)
{
    assert(log->in_flight);
    log->in_flight = false;
    if (result == -EAGAIN || result == -EINTR)
        return;
    if (result < 0) {
        drop_head(log);
        return;
    }
    log->offset += (size_t)result;
    assert(log->offset <= log->ends[head_of(log)]);
    note_whether_torn(log);
    if (log->offset == log->ends[head_of(log)])
        release_head(log);
}

size_t access_log_waiting(const struct access_log *log)
{
    size_t waiting = log->filling == NO_BUFFER ? 0 : log->ends[log->filling] - TEXT_START;
    for (uint32_t i = log->in_flight; i < log->full_count; i++) {
        size_t from = i == 0 && log->head_begun ? log->offset : TEXT_START;
        waiting += log->ends[log->full[(log->full_head + i) % ACCESS_LOG_BUFFERS]] - from;
    }
    return waiting;
}

bool access_log_wants_response_fields(const struct access_log *log)
{
    return access_format_wants_response_fields(log->format);
}

uint64_t access_log_drops(const struct access_log *log)
{
    return log->drops;
}
