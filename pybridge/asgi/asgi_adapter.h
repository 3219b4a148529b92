/*
 * ASGI adapter: the cycles of one event loop, from a request that was claimed to the end of its response.
 *
 * Owns:    the spare cycles, and the queues of those that have something to hear.
 * Threads: the loop's thread, with the interpreter lock held.
 * Life:    one per event loop, as long as the process.
 */
#ifndef PYBRIDGE_ASGI_ASGI_ADAPTER_H
#define PYBRIDGE_ASGI_ASGI_ADAPTER_H

#include "pybridge/asgi/asgi_cycle.h"

/* -1 with a Python error. The hooks are set by the caller, before the first request. */
[[nodiscard]] int asgi_adapter_init(struct asgi_adapter *adapter, struct asgi_core *core);
void asgi_adapter_deinit(struct asgi_adapter *adapter);

/* For the hooks of the exchange: they note what happened, asgi_adapter_settle() acts on it. */
void asgi_adapter_note(struct asgi_adapter *adapter, struct app_request *request);
void asgi_adapter_note_room(struct asgi_adapter *adapter);

/* Wakes whoever has something to hear of. Runs application code; no Task may be current. */
void asgi_adapter_settle(struct asgi_adapter *adapter);

/* Takes over a claimed request. NULL with a Python error: the request is still the caller's. */
[[nodiscard]] struct asgi_cycle *asgi_cycle_open(struct asgi_adapter *adapter, struct app_request *request);

/* application(scope, receive, send): what it returned, or NULL with a Python error. */
[[nodiscard]] PyObject *asgi_cycle_call(struct asgi_cycle *cycle, PyObject *application);

/* The application has returned, or raised (the current Python error, which is logged and cleared). Takes the cycle. */
void asgi_cycle_finish(struct asgi_cycle *cycle);

#endif
