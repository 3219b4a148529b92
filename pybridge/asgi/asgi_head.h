/*
 * ASGI head: http.response.start, .early_hint, .informational and .trailers, checked and written into the response's
 * block.
 *
 * One pass: each field is checked and appended where the I/O process will read it, nothing is kept aside.
 * Content-Length is taken out, since the framing is stated with the response and not by a field; what belongs to the
 * connection (Transfer-Encoding, Connection) is left out.
 *
 * Owns:    a head that was read owns its block, until it is sent or dropped.
 * Threads: the loop's thread, with the interpreter lock held.
 */
#ifndef PYBRIDGE_ASGI_ASGI_HEAD_H
#define PYBRIDGE_ASGI_ASGI_HEAD_H

#include "pybridge/asgi/asgi_core.h"

enum asgi_progress {
    ASGI_FAILED = -1, /* with a Python error */
    ASGI_DONE,
    ASGI_WAITS, /* no room: the same again when there is some */
};

struct asgi_head {
    struct app_response response;
    int64_t content_length; /* as stated, or -1 */
    uint16_t status;
};

/* A negative errno of app_exchange.h as progress; 0 is DONE. */
enum asgi_progress asgi_head_progress(const struct asgi_core *core, int error);

/* Reads http.response.start. *ret_head is only touched, and only owns something, after ASGI_DONE. */
enum asgi_progress asgi_head_read(const struct asgi_core *core, struct app_request *request, PyObject *message,
                                  struct asgi_head *ret_head);
void asgi_head_drop(const struct asgi_core *core, struct asgi_head *head);

/* Appends the fields of http.response.trailers to a head, which is empty before the first of them. Nothing of them is
 * in it unless it answers ASGI_DONE. */
enum asgi_progress asgi_head_add_trailers(const struct asgi_core *core, struct app_request *request, PyObject *message,
                                          struct asgi_head *head);

/* Send a 1xx head at once. */
enum asgi_progress asgi_head_send_early_hint(const struct asgi_core *core, struct app_request *request,
                                             PyObject *message);
enum asgi_progress asgi_head_send_informational(const struct asgi_core *core, struct app_request *request,
                                                PyObject *message);

#endif
