/*
 * ASGI scope: the dict that says what a request asks for, built straight from the shared bytes.
 *
 * Most of it is a copy of one template, which also keeps what a request had in common with the one before: method,
 * version, scheme, both addresses. Fields that repeat (Host, User-Agent, Accept-Encoding) are found in the tuple that
 * the request before had: a comparison instead of two objects. A scope shares nothing that an application could change.
 *
 * Owns:    the template, the names of known fields as bytes, the last field of each name, the lifespan state.
 * Threads: the loop's thread, with the interpreter lock held.
 * Life:    one per event loop.
 */
#ifndef PYBRIDGE_ASGI_ASGI_SCOPE_H
#define PYBRIDGE_ASGI_ASGI_SCOPE_H

#include "pybridge/asgi/asgi_core.h"
#include "pybridge/tls_memory.h"

enum { ASGI_SCOPE_METHODS = 7 };

/* What stays in the template until a request differs. */
enum asgi_scope_sticky {
    ASGI_STICKY_METHOD,
    ASGI_STICKY_VERSION,
    ASGI_STICKY_SCHEME,
    ASGI_STICKY_SERVER,
    ASGI_STICKY_CLIENT,
    ASGI_STICKY_COUNT,
};

/* What is offered depends on what the client can be sent. */
enum asgi_scope_extensions {
    ASGI_EXTENSIONS_PLAIN,
    ASGI_EXTENSIONS_TRAILERS, /* HTTP/1.1 with TE: trailers */
    ASGI_EXTENSIONS_HTTP_2,   /* of the default priority */
    ASGI_EXTENSIONS_COUNT,
};

struct asgi_scope {
    struct asgi_core *core;
    PyObject *template;
    PyObject *asgi;
    PyObject *extensions[ASGI_EXTENSIONS_COUNT];
    struct tls_memory tls; /* the tls extension as a dict */
    PyObject *state;       /* what lifespan.startup left behind, a dict; NULL when lifespan did not run */
    PyObject *methods[ASGI_SCOPE_METHODS];
    PyObject *field_names[HTTP_FIELD_COUNT];
    PyObject *recent_fields[HTTP_FIELD_COUNT];
    PyObject *sticky[ASGI_STICKY_COUNT];
};

/* -1 with a Python error. */
[[nodiscard]] int asgi_scope_init(struct asgi_scope *scope, struct asgi_core *core);
void asgi_scope_deinit(struct asgi_scope *scope);

/* {"version": "3.0", "spec_version": "2.5"}, a new one. */
[[nodiscard]] PyObject *asgi_scope_versions(const struct asgi_scope *scope);

/* The scope of a request: a new dict, or NULL with a Python error. */
[[nodiscard]] PyObject *asgi_scope_create(struct asgi_scope *scope, const struct app_request *request);

#endif
