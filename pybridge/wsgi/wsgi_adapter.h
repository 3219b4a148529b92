/*
 * WSGI adapter: gives a request to a WSGI application and its answer to the exchange (PEP 3333).
 *
 * Owns:    per process the heap types (wsgi_adapter); per thread the objects that are used again for each request
 *          (wsgi_thread).
 * Threads: with the interpreter lock; a wsgi_thread only from the thread that made it.
 * Life:    the adapter outlives its threads, and every request.
 */
#ifndef PYBRIDGE_WSGI_WSGI_ADAPTER_H
#define PYBRIDGE_WSGI_WSGI_ADAPTER_H

#include "pybridge/app_process.h"

struct wsgi_adapter {
    struct app_process *process;
    PyTypeObject *response_type;
    PyTypeObject *input_type;
    PyObject *empty_input;  /* of every request without a body */
    PyObject *close_name;   /* "close" */
    PyObject *file_wrapper; /* the class of wsgi.file_wrapper; NULL: files are read here (`sendfile`) */
    PyObject *source_name;  /* "source" */
    bool multithread;
};

struct wsgi_thread;

/* NULL with a Python error. `multithread` is what wsgi.multithread says. */
struct wsgi_adapter *wsgi_adapter_create(struct app_process *process, bool multithread);
void wsgi_adapter_destroy(struct wsgi_adapter *adapter);

/* NULL with a Python error. */
struct wsgi_thread *wsgi_thread_create(struct wsgi_adapter *adapter);
void wsgi_thread_destroy(struct wsgi_thread *thread);

/* Runs the application for `request` and ends it, whatever happens. Leaves no Python error. */
void wsgi_thread_serve(struct wsgi_thread *thread, struct app_request *request);

#endif
