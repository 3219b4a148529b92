/*
 * Access entry: what the access log may tell of one request. Pure.
 *
 * Owns:    nothing; its spans live for the call that takes it.
 * Threads: any.
 */
#ifndef DAEMON_IO_ACCESS_ENTRY_H
#define DAEMON_IO_ACCESS_ENTRY_H

#include "proto/bytes.h"
#include "proto/http_fields.h"

enum {
    ACCESS_LINE_BYTES_MAX = 56 * 1024, /* a longer line is cut and ends in "..." */
    ACCESS_VALUE_BYTES_MAX = 8192,     /* likewise one value, as escaped */
    ACCESS_USER_BYTES_MAX = 256,
};

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

/* The value of the last field of that name, as in Gunicorn; `data` is NULL if there is none. A field that has an id is
 * found by it, every other one by its name in lower case. */
struct bytes access_entry_request_field(const struct access_entry *entry, enum http_field_id id,
                                        struct bytes lower_name);
struct bytes access_entry_response_field(const struct access_entry *entry, struct bytes lower_name);

/* The user of Basic authentication, RFC 7617 2, decoded into `user`; nobody has checked the password. Empty if none. */
struct bytes access_entry_user(const struct access_entry *entry, uint8_t user[ACCESS_USER_BYTES_MAX]);

#endif
