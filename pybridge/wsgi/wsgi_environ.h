/*
 * WSGI environ: the record of a request as the dict of PEP 3333.
 *
 * Owns:    a template dict, the keys as interned str, the values of before of what seldom changes.
 * Threads: one; each thread that serves has its own.
 *
 * The template holds what is the same for all requests, and what was the same as the last time: a value that did not
 * change costs nothing. It has enough keys that its copy has room for the headers of a browser; a dict that has to grow
 * for them costs about a tenth of the whole environ.
 */
#ifndef PYBRIDGE_WSGI_WSGI_ENVIRON_H
#define PYBRIDGE_WSGI_WSGI_ENVIRON_H

#include "pybridge/app_process.h"
#include "pybridge/tls_memory.h"

/* Those from GUNICORN_SEND_TRAILERS on requests of HTTP/2 have, those from PROXY_PROTOCOL on only some. */
#define WSGI_KEYS(X)                                             \
    X(REQUEST_METHOD, "REQUEST_METHOD")                          \
    X(SCRIPT_NAME, "SCRIPT_NAME")                                \
    X(PATH_INFO, "PATH_INFO")                                    \
    X(QUERY_STRING, "QUERY_STRING")                              \
    X(RAW_URI, "RAW_URI")                                        \
    X(SERVER_NAME, "SERVER_NAME")                                \
    X(SERVER_PORT, "SERVER_PORT")                                \
    X(SERVER_PROTOCOL, "SERVER_PROTOCOL")                        \
    X(SERVER_SOFTWARE, "SERVER_SOFTWARE")                        \
    X(REMOTE_ADDR, "REMOTE_ADDR")                                \
    X(REMOTE_PORT, "REMOTE_PORT")                                \
    X(WSGI_VERSION, "wsgi.version")                              \
    X(WSGI_URL_SCHEME, "wsgi.url_scheme")                        \
    X(WSGI_INPUT, "wsgi.input")                                  \
    X(WSGI_INPUT_TERMINATED, "wsgi.input_terminated")            \
    X(WSGI_ERRORS, "wsgi.errors")                                \
    X(WSGI_MULTITHREAD, "wsgi.multithread")                      \
    X(WSGI_MULTIPROCESS, "wsgi.multiprocess")                    \
    X(WSGI_RUN_ONCE, "wsgi.run_once")                            \
    X(WSGI_FILE_WRAPPER, "wsgi.file_wrapper")                    \
    X(WSGI_EARLY_HINTS, "wsgi.early_hints")                      \
    X(GUNICORN_SEND_TRAILERS, "gunicorn.http2.send_trailers")    \
    X(SEND_TRAILERS, "uroboros.send_trailers")                   \
    X(PRIORITY_WEIGHT, "gunicorn.http2.priority_weight")         \
    X(PRIORITY_DEPENDS_ON, "gunicorn.http2.priority_depends_on") \
    X(URGENCY, "uroboros.http2.urgency")                         \
    X(INCREMENTAL, "uroboros.http2.incremental")                 \
    X(PROXY_PROTOCOL, "PROXY_PROTOCOL")                          \
    X(PROXY_ADDR, "PROXY_ADDR")                                  \
    X(PROXY_PORT, "PROXY_PORT")                                  \
    X(HTTPS, "HTTPS")

enum wsgi_key {
#define WSGI_KEY_ENUM(symbol, name) WSGI_KEY_##symbol,
    WSGI_KEYS(WSGI_KEY_ENUM)
#undef WSGI_KEY_ENUM
        WSGI_KEY_COUNT,
    WSGI_KEYS_OF_ALL = WSGI_KEY_GUNICORN_SEND_TRAILERS,
    WSGI_KEYS_OF_HTTP_2 = WSGI_KEY_PROXY_PROTOCOL
};

/* Each thread has an environ for either: what a version has is in its template. */
enum wsgi_environ_kind { WSGI_ENVIRON_HTTP_1, WSGI_ENVIRON_HTTP_2, WSGI_ENVIRONS };

static inline enum wsgi_environ_kind wsgi_environ_kind(const struct slot_record *record)
{
    return record->version == SLOT_HTTP_2 ? WSGI_ENVIRON_HTTP_2 : WSGI_ENVIRON_HTTP_1;
}

enum wsgi_word {
    WSGI_WORD_HTTP,
    WSGI_WORD_HTTPS,
    WSGI_WORD_HTTP_1_0,
    WSGI_WORD_HTTP_1_1,
    WSGI_WORD_HTTP_2,
    WSGI_WORD_ON,
    WSGI_WORD_COUNT
};

/* The text made last, and the octets it was made of: a method, an address, a Host is seldom another than before. */
struct wsgi_memory {
    size_t length;
    PyObject *text; /* NULL: nothing yet */
    uint8_t octets[SLOT_ADDRESS_BYTES];
};

enum { WSGI_PORTS = 256 };

struct wsgi_environ {
    const struct app_process *process;
    enum wsgi_environ_kind kind;
    PyObject *template;
    PyObject *keys[WSGI_KEY_COUNT];
    PyObject *words[WSGI_WORD_COUNT];
    PyObject *header_keys[HTTP_FIELD_COUNT];                /* NULL for what has no key: HTTP_FIELD_OTHER, Proxy */
    PyObject *script_name;                                  /* of the setting, or of the process's environment */
    bool script_name_from_header;                           /* of a trusted peer */
    struct wsgi_memory method, client, server, server_port; /* of the template */
    struct wsgi_memory host;
    struct tls_memory tls;       /* SSL_* as a dict */
    PyObject *send_trailers;     /* borrowed from the response */
    PyObject *ports[WSGI_PORTS]; /* of clients, as text, by the low octet of the number */
    uint16_t port_numbers[WSGI_PORTS];
};

/* `input` is that of a request without a body. -1 with a Python error; deinit is due all the same. */
[[nodiscard]] int wsgi_environ_init(struct wsgi_environ *env, const struct app_process *process,
                                    enum wsgi_environ_kind kind, bool multithread, PyObject *input);
void wsgi_environ_deinit(struct wsgi_environ *env);

/* The class that wsgi.file_wrapper is; NULL with a Python error. */
PyObject *wsgi_environ_file_wrapper(void);

/* What wsgi.early_hints and uroboros.send_trailers are from now on. */
[[nodiscard]] int wsgi_environ_set_callables(struct wsgi_environ *env, PyObject *early_hints, PyObject *send_trailers);

/* A new dict, or NULL with a Python error: ValueError when SCRIPT_NAME does not prefix the path. `input` may be NULL:
 * there is no body. */
PyObject *wsgi_environ_build(struct wsgi_environ *env, const struct app_request *request, PyObject *input);

#endif
