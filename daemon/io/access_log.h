/*
 * Access log: one line per answered request, formatted at once and written in batches by somebody else.
 *
 * Owns:    the compiled format and ACCESS_LOG_BUFFERS buffers of ACCESS_LOG_BUFFER_BYTES; never a descriptor.
 * Threads: one.
 * Life:    create to destroy; a buffer that access_log_take() handed out must have come back through
 *          access_log_written() before destroy.
 *
 *      append -> filling buffer -> full buffers, oldest first -> take -> the ring writes -> written
 *
 * Nothing here waits: when every buffer is full the line is dropped and counted. Quotes, backslashes and octets that
 * are no printable ASCII are escaped (in JSON: what JSON wants escaped; octets that are no UTF-8 become U+FFFD), so
 * one request is one line whatever a client sends.
 */
#ifndef DAEMON_IO_ACCESS_LOG_H
#define DAEMON_IO_ACCESS_LOG_H

#include "proto/bytes.h"
#include "proto/http_fields.h"

enum {
    ACCESS_LOG_BUFFER_BYTES = 64 * 1024,
    ACCESS_LOG_BUFFERS = 16,               /* 1 MiB in all; further ones are touched only when the writer lags */
    ACCESS_LOG_LINE_BYTES_MAX = 32 * 1024, /* a longer line is cut and ends in "..." */
    ACCESS_LOG_VALUE_BYTES_MAX = 8192,     /* likewise one value, as escaped */
    ACCESS_LOG_OPS_MAX = 128,              /* atoms and pieces of text in one format */
};

/* Gunicorn's default format; the word "json" in its place gives one JSON object per line. */
#define ACCESS_LOG_FORMAT_DEFAULT "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\""

/* What is known of a request when it is over. Spans live for the call; empty means absent. */
struct access_entry {
    uint64_t time_us;            /* wall clock at the end of the response */
    uint64_t duration_us;        /* from the first octet of the request to the last of the response */
    struct bytes remote_address; /* without port; empty for a unix socket */
    struct bytes method;
    struct bytes target; /* as sent */
    struct bytes path;   /* of the target, as sent */
    struct bytes query;  /* without '?' */
    struct bytes scheme; /* "http" or "https" */
    uint8_t version_major;
    uint8_t version_minor;
    uint16_t status;
    int32_t app_pid;                          /* 0: no application was asked */
    uint64_t body_bytes;                      /* of the response, without head and chunk framing */
    const struct http_field *request_fields;  /* names in lower case, ids set */
    const struct http_field *response_fields; /* names in any case, ids not looked at */
    uint32_t request_field_count;
    uint32_t response_field_count;
};

struct access_log;

/* `format` is Gunicorn's access_log_format, or "json". -EINVAL with a sentence in *ret_problem (static, set only
 * then) for one that cannot be read, -ENOMEM. */
[[nodiscard]] int access_log_create(const char *format, struct access_log **ret_log, const char **ret_problem);
void access_log_destroy(struct access_log *log);

void access_log_append(struct access_log *log, const struct access_entry *entry);

/* The octets to write next; false when there are none or the last taken ones are not written yet. They stay put
 * until access_log_written(). */
[[nodiscard]] bool access_log_take(struct access_log *log, struct bytes *ret_bytes);

/* The outcome of writing what was taken: octets written, or a negative errno. The rest of a partial write is given
 * by the next take; so is everything after -EAGAIN and -EINTR. Any other error drops and counts what was taken. */
void access_log_written(struct access_log *log, int64_t result);

/* Octets that wait to be taken; the caller may let a few lines gather before it writes. */
size_t access_log_waiting(const struct access_log *log);

/* Whether the format asks for response fields; if not, the entry may leave them out. */
bool access_log_wants_response_fields(const struct access_log *log);

/* Lines lost, over the life of the log. */
uint64_t access_log_drops(const struct access_log *log);

#endif
