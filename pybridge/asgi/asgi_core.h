/*
 * ASGI core: what all ASGI objects of one event loop share: the loop, interned text, heap types, the batch.
 *
 * Owns:    a reference to the loop, the strings and the types.
 * Threads: the loop's thread, with the interpreter lock held.
 * Life:    as long as the process, since an application may keep our objects to its very end; deinit drops references
 *          only when nothing could be made.
 *
 * Batch: between asgi_core_batch_begin() and _end() what goes to the I/O processes rings no doorbell; the end of the
 * outermost batch rings once for all. Outside of a batch asgi_core_flush() rings at once.
 */
#ifndef PYBRIDGE_ASGI_ASGI_CORE_H
#define PYBRIDGE_ASGI_ASGI_CORE_H

#include "pybridge/app_process.h"

#define ASGI_NAMES(X)                                             \
    X(ASGI, "asgi")                                               \
    X(BODY, "body")                                               \
    X(CALLBACKS, "_callbacks")                                    \
    X(CALL_EXCEPTION_HANDLER, "call_exception_handler")           \
    X(CALL_LATER, "call_later")                                   \
    X(CALL_SOON, "call_soon")                                     \
    X(CANCEL, "cancel")                                           \
    X(CANCELLING, "cancelling")                                   \
    X(CLIENT, "client")                                           \
    X(CLOSE, "close")                                             \
    X(CONTEXT, "context")                                         \
    X(FILE_COUNT, "count")                                        \
    X(EXTENSIONS, "extensions")                                   \
    X(FILE, "file")                                               \
    X(HEADERS, "headers")                                         \
    X(HTTP, "http")                                               \
    X(HTTPS, "https")                                             \
    X(HTTP_DISCONNECT, "http.disconnect")                         \
    X(HTTP_REQUEST, "http.request")                               \
    X(HTTP_RESPONSE_BODY, "http.response.body")                   \
    X(HTTP_RESPONSE_EARLY_HINT, "http.response.early_hint")       \
    X(HTTP_RESPONSE_INFORMATIONAL, "http.response.informational") \
    X(HTTP_RESPONSE_PATHSEND, "http.response.pathsend")           \
    X(HTTP_RESPONSE_PRIORITY, "http.response.priority")           \
    X(HTTP_RESPONSE_START, "http.response.start")                 \
    X(HTTP_RESPONSE_TRAILERS, "http.response.trailers")           \
    X(HTTP_RESPONSE_ZEROCOPYSEND, "http.response.zerocopysend")   \
    X(HTTP_VERSION, "http_version")                               \
    X(LIFESPAN, "lifespan")                                       \
    X(LIFESPAN_SHUTDOWN, "lifespan.shutdown")                     \
    X(LIFESPAN_SHUTDOWN_COMPLETE, "lifespan.shutdown.complete")   \
    X(LIFESPAN_SHUTDOWN_FAILED, "lifespan.shutdown.failed")       \
    X(LIFESPAN_STARTUP, "lifespan.startup")                       \
    X(LIFESPAN_STARTUP_COMPLETE, "lifespan.startup.complete")     \
    X(LIFESPAN_STARTUP_FAILED, "lifespan.startup.failed")         \
    X(LINK, "link")                                               \
    X(LINKS, "links")                                             \
    X(MESSAGE, "message")                                         \
    X(METHOD, "method")                                           \
    X(MORE_BODY, "more_body")                                     \
    X(MORE_TRAILERS, "more_trailers")                             \
    X(MUST_CANCEL, "_must_cancel")                                \
    X(OFFSET, "offset")                                           \
    X(PATH, "path")                                               \
    X(QUERY_STRING, "query_string")                               \
    X(RAW_PATH, "raw_path")                                       \
    X(ROOT_PATH, "root_path")                                     \
    X(SCHEME, "scheme")                                           \
    X(SERVER, "server")                                           \
    X(SPEC_VERSION, "spec_version")                               \
    X(STATE, "state")                                             \
    X(STATUS, "status")                                           \
    X(THROW, "throw")                                             \
    X(TLS, "tls")                                                 \
    X(TRAILERS, "trailers")                                       \
    X(TYPE, "type")                                               \
    X(VERSION, "version")                                         \
    X(VERSION_1_0, "1.0")                                         \
    X(VERSION_1_1, "1.1")                                         \
    X(VERSION_2, "2")                                             \
    X(VERSION_2_5, "2.5")                                         \
    X(VERSION_3_0, "3.0")

enum asgi_name {
#define ASGI_NAME_ENUM(symbol, text) ASGI_NAME_##symbol,
    ASGI_NAMES(ASGI_NAME_ENUM)
#undef ASGI_NAME_ENUM
        ASGI_NAME_COUNT
};

struct asgi_core {
    struct app_process *process;
    struct app_exchange *exchange;
    PyObject *loop;
    PyObject *call_soon;           /* of the loop, bound */
    PyObject *call_soon_keywords;  /* ("context",) */
    PyObject *cancelled_error;     /* asyncio.CancelledError */
    PyObject *client_disconnected; /* an OSError: what send() raises when nobody listens any more */
    PyObject *done;                /* the awaitable of a send() that has nothing to wait for */
    PyObject *names[ASGI_NAME_COUNT];
    PyTypeObject *result_type;
    PyTypeObject *future_type;
    PyTypeObject *cycle_type;
    PyTypeObject *receive_type;
    PyTypeObject *runner_type;
    PyTypeObject *lifespan_type;
    bool in_batch;
};

/* Fills in all but `done` and the types, which are made by the modules they belong to. -1 with a Python error. */
[[nodiscard]] int asgi_core_init(struct asgi_core *core, struct app_process *process, PyObject *loop);
void asgi_core_deinit(struct asgi_core *core);

static inline PyObject *asgi_text(const struct asgi_core *core, enum asgi_name name)
{
    return core->names[name];
}

/* A new reference to message[name], or NULL: without a Python error when there is none. */
[[nodiscard]] PyObject *asgi_core_lookup(const struct asgi_core *core, PyObject *message, enum asgi_name name);

/* Which of `count` names a message's type is: its index, or -1 with a Python error that names what came. */
[[nodiscard]] int asgi_core_message_type(const struct asgi_core *core, PyObject *message, const enum asgi_name *names,
                                         int count);

/* loop.call_soon(callback, argument or nothing, context=context or the current one). -1 with a Python error. */
[[nodiscard]] int asgi_core_call_soon(const struct asgi_core *core, PyObject *callback, PyObject *argument,
                                      PyObject *context);

/* The current Python error as one object with its traceback, no longer set; NULL when there is none. */
[[nodiscard]] PyObject *asgi_core_take_exception(void);

/* Sets it again; takes the reference. */
void asgi_core_raise(PyObject *exception);

/* Gives the current Python error to the loop's exception handler; never leaves one set. */
void asgi_core_report(const struct asgi_core *core, const char *what);

/* Whether this batch is the outermost one: what _end() wants to know. */
[[nodiscard]] static inline bool asgi_core_batch_begin(struct asgi_core *core)
{
    bool outermost = !core->in_batch;
    core->in_batch = true;
    return outermost;
}

static inline void asgi_core_batch_end(struct asgi_core *core, bool outermost)
{
    if (!outermost)
        return;
    core->in_batch = false;
    app_exchange_flush(core->exchange);
}

static inline void asgi_core_flush(const struct asgi_core *core)
{
    if (!core->in_batch)
        app_exchange_flush(core->exchange);
}

/* A heap type of the module. NULL with a Python error. */
[[nodiscard]] static inline PyTypeObject *asgi_core_type(const struct asgi_core *core, PyType_Spec *spec)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(core->process->module, spec, NULL);
}

#endif
