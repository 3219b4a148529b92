/*
 * WSGI head: status and headers as the application said them, checked (PEP 3333), and written into a block of the
 * outbound arena.
 *
 * Owns:    nothing; a head is its caller's, who sends or drops it, also after an error.
 * Threads: with the interpreter lock, which it gives away while it waits for room.
 */
#ifndef PYBRIDGE_WSGI_WSGI_HEAD_H
#define PYBRIDGE_WSGI_WSGI_HEAD_H

#include "proto/bytes.h"
#include "pybridge/app_process.h"

/* -1, with an OSError: that of a negative errno; that nobody wants the answer any more. */
int wsgi_raise_errno(int r);
int wsgi_raise_gone(void);

/* What a list of fields is for. */
enum wsgi_fields { WSGI_HEAD_FIELDS, WSGI_TRAILER_FIELDS };

/* "404 Not Found": three digits, then nothing, or a space and the reason, whose octets are `object`'s. -1 with a Python
 * error. */
[[nodiscard]] int wsgi_head_read_status(PyObject *object, uint16_t *ret_status, struct bytes *ret_reason);

/* Where its owner keeps the request that is answered: NULL in there once it has ended. */
typedef struct app_request *const *wsgi_request_place;

/* Until there may be room. false: nobody wants the answer any more, or the request has ended meanwhile, since other
 * threads of the application run. */
[[nodiscard]] bool wsgi_head_wait_for_room(struct app_exchange *exchange, wsgi_request_place request);

/* An empty head. -1 with a Python error. */
[[nodiscard]] int wsgi_head_begin(struct app_exchange *exchange, wsgi_request_place request,
                                  struct app_response *ret_head);

/* One field, which is good. -1 with a Python error: for one, all of them take more than 64 KiB. */
[[nodiscard]] int wsgi_head_add(struct app_exchange *exchange, wsgi_request_place request, struct app_response *head,
                                struct bytes name, struct bytes value);

/* All of a list of tuples; *ret_content_length is set by a Content-Length among them. -1 with a Python error that says
 * what is wrong with which. */
[[nodiscard]] int wsgi_head_add_list(struct app_exchange *exchange, wsgi_request_place request,
                                     struct app_response *head, enum wsgi_fields fields, PyObject *headers,
                                     int64_t *ret_content_length);

#endif
