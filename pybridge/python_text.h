/*
 * Python text: octets of the exchange as str and bytes, and back.
 *
 * Owns:    nothing; every function that answers an object gives a new reference, NULL with a Python error.
 */
#ifndef PYBRIDGE_PYTHON_TEXT_H
#define PYBRIDGE_PYTHON_TEXT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "proto/bytes.h"

static inline bool text_is_ascii(struct bytes octets)
{
    uint64_t seen = 0;
    size_t at = 0;
    for (; at + sizeof seen <= octets.length; at += sizeof seen) {
        uint64_t word;
        memcpy(&word, octets.data + at, sizeof word);
        seen |= word;
    }
    for (; at < octets.length; at++)
        seen |= octets.data[at];
    return (seen & 0x8080808080808080) == 0;
}

/* One character per octet, as PEP 3333 wants its native strings. */
static inline PyObject *text_latin1(struct bytes octets)
{
    PyObject *text = PyUnicode_New((Py_ssize_t)octets.length, text_is_ascii(octets) ? 0x7f : 0xff);
    /* The empty string is one shared object. */
    if (text != NULL && octets.length > 0)
        memcpy(PyUnicode_DATA(text), octets.data, octets.length);
    return text;
}

static inline PyObject *text_bytes(struct bytes octets)
{
    return PyBytes_FromStringAndSize((const char *)octets.data, (Py_ssize_t)octets.length);
}

/* A str whose characters are all below 256, as octets of the str's own memory, valid as long as the str.
 * false, without a Python error, for any other object. */
[[nodiscard]] static inline bool text_latin1_octets(PyObject *object, struct bytes *ret_octets)
{
    if (!PyUnicode_Check(object) || PyUnicode_READY(object) < 0 || PyUnicode_KIND(object) != PyUnicode_1BYTE_KIND)
        return false;
    *ret_octets = bytes_of(PyUnicode_1BYTE_DATA(object), (size_t)PyUnicode_GET_LENGTH(object));
    return true;
}

static inline struct bytes text_octets(PyObject *bytes_object)
{
    return bytes_of(PyBytes_AS_STRING(bytes_object), (size_t)PyBytes_GET_SIZE(bytes_object));
}

#endif
