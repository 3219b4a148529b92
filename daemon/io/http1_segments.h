/*
 * HTTP/1 segments: octets that were received and not parsed yet, where they were received.
 *
 * Owns nothing beyond http1_state.h. Threads: the loop.
 */
#ifndef DAEMON_IO_HTTP1_SEGMENTS_H
#define DAEMON_IO_HTTP1_SEGMENTS_H

#include "daemon/io/http1_state.h"

/* How one step of parsing ended. */
enum http1_step {
    HTTP1_STEP_ON,      /* something was done: look again */
    HTTP1_STEP_HUNGRY,  /* octets are missing */
    HTTP1_STEP_BLOCKED, /* the next step waits for somebody else */
};

static inline uint8_t *http1_segments_data(const struct http1_session *session, const struct body_piece *segment)
{
    return session->all->core->inbound.base + segment->offset;
}

/* Takes the loan. In front: of what has come, it is the first to be parsed. false: no memory. */
[[nodiscard]] bool http1_segments_push(struct http1_session *session, struct loan loan, const uint8_t *data,
                                       uint32_t length, bool front);

/* Octets of the first one are done with. */
void http1_segments_take(struct http1_session *session, uint32_t length);

#endif
