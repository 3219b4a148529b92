/*
 * Server shape: from settings to the counts that lay out all shared memory.
 *
 * Owns:    nothing; pure. The shape is chosen once, at start: arenas of different shapes cannot meet.
 */
#ifndef DAEMON_SUPERVISOR_SERVER_SHAPE_H
#define DAEMON_SUPERVISOR_SERVER_SHAPE_H

#include "config/schema.h"
#include "daemon/exchange/layout.h"

/* -EINVAL when the settings ask for more than the layout can hold; `why` (of `bytes`) says what. */
[[nodiscard]] int server_shape_compute(const struct settings *settings, struct exchange_shape *ret_shape, char *why,
                                       size_t bytes);

/* Application processes that may be wanted: two generations must find an index each. */
uint32_t server_shape_workers_max(const struct exchange_shape *shape);

/* Requests that one application process may be given at once, however many places it says to have. */
uint32_t server_shape_places_max(const struct exchange_shape *shape);

#endif
