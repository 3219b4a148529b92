/*
 * Request priority: RFC 9218's urgency in the terms of RFC 7540, which Gunicorn's keys speak in.
 *
 * Owns:    nothing. Pure; any thread.
 */
#ifndef PYBRIDGE_REQUEST_PRIORITY_H
#define PYBRIDGE_REQUEST_PRIORITY_H

#include "daemon/exchange/slot.h"

/* 1 to 256, in the order of the urgencies; who asks for nothing gets the 16 that RFC 7540 5.3.5 gives as default. */
static inline int request_priority_weight(unsigned urgency)
{
    static const uint16_t WEIGHTS[] = {256, 128, 64, 16, 8, 4, 2, 1};
    return WEIGHTS[urgency < sizeof WEIGHTS / sizeof *WEIGHTS ? urgency : SLOT_URGENCY_DEFAULT];
}

#endif
