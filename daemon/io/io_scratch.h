/*
 * I/O scratch: memory that one step of a request uses and leaves behind. What a function puts there lives until the
 * next call of any function that uses the same array, so never beyond the event that is being handled.
 *
 * Owns:    its arrays.
 * Threads: the loop.
 * Life:    as the I/O process; `deinit` of a zeroed object is harmless.
 */
#ifndef DAEMON_IO_IO_SCRATCH_H
#define DAEMON_IO_IO_SCRATCH_H

#include "proto/http_fields.h"

enum { IO_SCRATCH_RESPONSE_FIELDS_MAX = 1'024, IO_SCRATCH_HEAD_BYTES = 65'536 };

struct io_scratch {
    struct http_field *request_fields; /* of a head: it is parsed and recorded in one go */
    struct http_field *log_fields;     /* of a request, as its record has them */
    uint32_t request_fields_max;       /* of either; as many as a record has room for */
    struct http_field *response_fields;
    uint8_t *response_head; /* copied out of the application's reach before it is looked at */
};

[[nodiscard]] int io_scratch_init(struct io_scratch *scratch, uint32_t request_fields_max);
void io_scratch_deinit(struct io_scratch *scratch);

#endif
