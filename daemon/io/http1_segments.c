#include "daemon/io/http1_segments.h"

#include <assert.h>

bool http1_segments_push(struct http1_session *session, struct loan loan, const uint8_t *data, uint32_t length,
                         bool front)
{
    struct io_core *core = session->all->core;
    struct body_piece *segment = slab_borrow(&core->bodies);
    if (segment == NULL) {
        buffer_pool_drop(&core->buffers, &loan);
        return false;
    }
    *segment = (struct body_piece){.loan = loan, .offset = buffer_pool_offset(&core->buffers, data), .length = length};
    if (front) {
        segment->next = session->input_first;
        session->input_first = segment;
        if (session->input_last == NULL)
            session->input_last = segment;
    } else {
        if (session->input_last != NULL)
            session->input_last->next = segment;
        else
            session->input_first = segment;
        session->input_last = segment;
    }
    session->input_bytes += length;
    session->input_segments++;
    return true;
}

void http1_segments_take(struct http1_session *session, uint32_t length)
{
    struct io_core *core = session->all->core;
    struct body_piece *segment = session->input_first;
    assert(segment != NULL && length <= segment->length);
    segment->offset += length;
    segment->length -= length;
    session->input_bytes -= length;
    if (segment->length > 0)
        return;
    session->input_segments--;
    session->input_first = segment->next;
    if (session->input_first == NULL)
        session->input_last = NULL;
    buffer_pool_drop(&core->buffers, &segment->loan);
    slab_give_back(&core->bodies, segment);
}
