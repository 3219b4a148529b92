/*
 * TLS memory: what an interface makes of the TLS under a request, made once for all requests that have it alike.
 *
 * The requests of one connection, and those of most connections without client certificates, name a block of the same
 * octets (daemon/exchange/tls_record.h). Comparing them costs less than any object made of them.
 *
 * Owns:    a copy of the octets seen last, and the object made of them.
 * Threads: one, with the interpreter lock held.
 */
#ifndef PYBRIDGE_TLS_MEMORY_H
#define PYBRIDGE_TLS_MEMORY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "daemon/exchange/tls_record.h"

struct tls_memory {
    uint8_t *octets;
    size_t length;
    PyObject *made; /* NULL: nothing yet */
};

/* The object of `block`, borrowed until the next call; `make` answers a new one. NULL with a Python error. */
PyObject *tls_memory_recall(struct tls_memory *memory, struct bytes block,
                            PyObject *(*make)(const struct tls_record *record));
void tls_memory_deinit(struct tls_memory *memory);

/* The certificates of a PEM text, each with its last line: a new tuple of str. */
PyObject *tls_memory_certificates(struct bytes chain);

#endif
