#include "pybridge/tls_memory.h"

#include "pybridge/python_text.h"

void tls_memory_deinit(struct tls_memory *memory)
{
    PyMem_Free(memory->octets);
    Py_CLEAR(memory->made);
    *memory = (struct tls_memory){};
}

/* From the copy: the octets belong to another process, which is only believed what was looked at. */
static PyObject *make_of_copy(struct tls_memory *memory, PyObject *(*make)(const struct tls_record *record))
{
    struct tls_record record;
    if (tls_record_read(bytes_of(memory->octets, memory->length), &record) == 0)
        return make(&record);
    PyErr_SetString(PyExc_RuntimeError, "what the I/O process says of TLS cannot be read");
    return NULL;
}

PyObject *tls_memory_recall(struct tls_memory *memory, struct bytes block,
                            PyObject *(*make)(const struct tls_record *record))
{
    if (memory->made != NULL && bytes_equal(bytes_of(memory->octets, memory->length), block))
        return memory->made;
    tls_memory_deinit(memory);
    memory->octets = PyMem_Malloc(block.length);
    if (memory->octets == NULL)
        return PyErr_NoMemory();
    if (block.length > 0)
        memcpy(memory->octets, block.data, block.length);
    memory->length = block.length;
    memory->made = make_of_copy(memory, make);
    return memory->made;
}

static size_t certificate_length(struct bytes chain)
{
    static const char END[] = "-----END CERTIFICATE-----\n";
    const uint8_t *end = memmem(chain.data, chain.length, END, sizeof END - 1);
    return end != NULL ? (size_t)(end - chain.data) + sizeof END - 1 : 0;
}

static PyObject *list_certificates(struct bytes chain)
{
    PyObject *list = PyList_New(0);
    size_t length;
    while (list != NULL && chain.length > 0 && (length = certificate_length(chain)) > 0) {
        PyObject *text = text_latin1(bytes_of(chain.data, length));
        if (text == NULL || PyList_Append(list, text) < 0)
            Py_CLEAR(list);
        Py_XDECREF(text);
        chain = bytes_skip(chain, length);
    }
    return list;
}

PyObject *tls_memory_certificates(struct bytes chain)
{
    PyObject *list = list_certificates(chain);
    PyObject *certificates = list != NULL ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return certificates;
}
