/*
 * ASGI outgoing: one send() of a part of a response, until it has gone out whole; and how octets of a body leave.
 *
 * Owns:    the message, its buffer, the descriptor of a file, the future of who waits.
 * Threads: the loop's thread, with the interpreter lock held.
 * Life:    on the stack of send(), or in the cycle's queue while there is no room.
 */
#ifndef PYBRIDGE_ASGI_ASGI_OUTGOING_H
#define PYBRIDGE_ASGI_ASGI_OUTGOING_H

#include "pybridge/asgi/asgi_cycle.h"

struct asgi_outgoing {
    struct asgi_outgoing *next;
    struct asgi_future *future;
    PyObject *message;
    Py_buffer body;
    struct app_file file; /* what of it is not handed over or read yet; the descriptor is ours. Length 0: none */
    bool has_file;        /* the descriptor is open */
    int64_t octets;       /* of all of it */
    size_t sent;          /* of body */
    int kind;             /* index in SEND_ROWS */
    bool is_read;         /* body and ends are filled in */
    bool ends;            /* the last piece */
};

/* -1, with a RuntimeError that says so. */
int asgi_outgoing_raise(const char *what);

/* False where the message says nothing. -1 with a Python error. */
[[nodiscard]] int asgi_outgoing_read_flag(const struct asgi_core *core, PyObject *message, enum asgi_name name,
                                          bool *ret_flag);

/* Whether it is the body's turn. -1 with a Python error. */
[[nodiscard]] int asgi_outgoing_check_body(const struct asgi_cycle *cycle);

/* What was stated is what has to come (RFC 9110 8.6); a response to HEAD states what GET would get. -1 with a Python
 * error. */
[[nodiscard]] int asgi_outgoing_account(struct asgi_cycle *cycle, const struct asgi_outgoing *outgoing);

/* The length to state: the application's word, or the size of the only piece; -1: none. */
int64_t asgi_outgoing_length(const struct asgi_cycle *cycle, const struct asgi_outgoing *outgoing);

/* The head, if it is held, and what of `body` has not gone. */
enum asgi_progress asgi_outgoing_send(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing);

/* Rings, and sees to what comes behind the body. Returns `progress`. */
enum asgi_progress asgi_outgoing_end(struct asgi_cycle *cycle, const struct asgi_outgoing *outgoing,
                                     enum asgi_progress progress);

/* The response is whole. */
void asgi_outgoing_complete(struct asgi_cycle *cycle);

#endif
