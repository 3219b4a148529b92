/*
 * WSGI response: the start_response of one request at a time, and the way its body takes to the exchange.
 *
 * Owns:    the head under way, and the trailers, each in a block of the outbound arena, until it is sent or dropped.
 * Threads: with the interpreter lock, which it gives away while it waits for room.
 * Life:    used again for request after request, as long as the application kept no reference to it.
 *
 *   WAITING --start_response()--> STARTED --first octets--> SENT --last octets, or trailers--> ENDED
 *      ^                             |
 *      +--- exc_info, an error ------+                 wsgi_response_fail(): ENDED from anywhere
 */
#ifndef PYBRIDGE_WSGI_WSGI_RESPONSE_H
#define PYBRIDGE_WSGI_WSGI_RESPONSE_H

#include "proto/bytes.h"
#include "pybridge/app_process.h"

struct wsgi_adapter;

enum wsgi_response_state { WSGI_WAITING, WSGI_STARTED, WSGI_SENT, WSGI_ENDED };

struct wsgi_response {
    PyObject_HEAD vectorcallfunc vectorcall;
    struct wsgi_adapter *adapter;
    struct app_request *request;  /* NULL between requests */
    struct app_response head;     /* while STARTED */
    struct app_response trailers; /* what send_trailers() was last given; its memory is NULL else */
    enum wsgi_response_state state;
    bool is_head; /* the method is HEAD */
    uint16_t status;
    int64_t content_length; /* what the application stated, or the bridge knows; -1 */
    uint64_t body_sent;
    uint64_t surplus; /* octets beyond content_length, which nobody gets */
    PyObject *write;  /* the callable that start_response() returns */
    PyObject *early_hints;
    PyObject *send_trailers;
};

/* How an attempt to send went on. */
enum wsgi_outcome {
    WSGI_OK,
    WSGI_GONE, /* nobody wants the response any more */
    WSGI_ERROR /* with a Python error */
};

PyTypeObject *wsgi_response_make_type(PyObject *module);
struct wsgi_response *wsgi_response_create(struct wsgi_adapter *adapter);
void wsgi_response_destroy(struct wsgi_response *response);

/* Whether nobody but its owner refers to it, so that it can serve another request. */
bool wsgi_response_is_free(const struct wsgi_response *response);

void wsgi_response_begin(struct wsgi_response *response, struct app_request *request);

/* Octets of the body; the head goes with the first. Nothing is sent for no octets unless they are the last. */
[[nodiscard]] enum wsgi_outcome wsgi_response_send(struct wsgi_response *response, struct bytes body, bool is_last);

struct app_file;

/* The whole body, of which the stated length is that of `file`, and with it the head. false: it cannot be handed over
 * and nothing was sent. */
bool wsgi_response_send_file(struct wsgi_response *response, const struct app_file *file,
                             enum wsgi_outcome *ret_outcome);

/* Whether trailers are due behind the body; its length is left open then. */
static inline bool wsgi_response_has_trailers(const struct wsgi_response *response)
{
    return response->trailers.memory != NULL;
}

/* Whether the body is of no octets by its status or method. */
bool wsgi_response_is_bodiless(const struct wsgi_response *response);

/* Drops or breaks what is under way: the client gets a plain 500 while nothing was sent, else a broken connection. */
void wsgi_response_fail(struct wsgi_response *response);

/* The request ends; whatever the application calls from now on raises. */
void wsgi_response_end(struct wsgi_response *response);

#endif
