#include "daemon/io/io_scratch.h"

#include <errno.h>
#include <stdlib.h>

int io_scratch_init(struct io_scratch *scratch, uint32_t request_fields_max)
{
    *scratch = (struct io_scratch){
        .request_fields = calloc(request_fields_max, sizeof *scratch->request_fields),
        .log_fields = calloc(request_fields_max, sizeof *scratch->log_fields),
        .request_fields_max = request_fields_max,
        .response_fields = calloc(IO_SCRATCH_RESPONSE_FIELDS_MAX, sizeof *scratch->response_fields),
        .response_head = malloc(IO_SCRATCH_HEAD_BYTES),
    };
    if (scratch->request_fields != NULL && scratch->log_fields != NULL && scratch->response_fields != NULL &&
        scratch->response_head != NULL)
        return 0;
    io_scratch_deinit(scratch);
    return -ENOMEM;
}

void io_scratch_deinit(struct io_scratch *scratch)
{
    free(scratch->request_fields);
    free(scratch->log_fields);
    free(scratch->response_fields);
    free(scratch->response_head);
    *scratch = (struct io_scratch){};
}
