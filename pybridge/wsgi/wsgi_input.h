/*
 * WSGI input: wsgi.input, a file-like object over the body of one request.
 *
 * What lies in shared memory is copied from there; what waits in the I/O process's file is read into the very object
 * that the application gets, or for lines and little pieces into a window.
 *
 * Owns:    the window. Nothing else of the body.
 * Threads: with the interpreter lock, which it gives away while it waits for the client, or for a disk; then another
 *          thread that reads gets RuntimeError.
 * Life:    the application may keep it; from wsgi_input_close() on reading raises ValueError.
 */
#ifndef PYBRIDGE_WSGI_WSGI_INPUT_H
#define PYBRIDGE_WSGI_WSGI_INPUT_H

#include "pybridge/app_process.h"

/* A new heap type, or NULL with a Python error. */
PyTypeObject *wsgi_input_make_type(PyObject *module);

/* `request` NULL: a body of no octets, which any number of requests may share. */
PyObject *wsgi_input_create(PyTypeObject *type, struct app_exchange *exchange, struct app_request *request);

/* The request ends. */
void wsgi_input_close(PyObject *input);

#endif
