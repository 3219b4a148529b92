#include "pybridge/wsgi/wsgi_tls.h"

#include "pybridge/python_text.h"

enum { TLS_1_2 = 0x0303, TLS_1_3 = 0x0304 };

/* Takes `value`; NULL is a Python error that came before. */
static int put(PyObject *dict, const char *key, PyObject *value)
{
    int r = value != NULL ? PyDict_SetItemString(dict, key, value) : -1;
    Py_XDECREF(value);
    return r;
}

/* DNs may hold UTF-8; PEP 3333 wants its octets as characters. */
static int put_texts(PyObject *dict, const struct tls_record *record)
{
    static const struct {
        const char *key;
        enum tls_record_text text;
    } ROWS[] = {
        {"SSL_CIPHER", TLS_RECORD_CIPHER_NAME},
        {"SSL_TLS_SNI", TLS_RECORD_SERVER_NAME},
        {"SSL_CLIENT_S_DN", TLS_RECORD_CLIENT_SUBJECT},
        {"SSL_CLIENT_S_DN_CN", TLS_RECORD_CLIENT_COMMON_NAME},
        {"SSL_CLIENT_I_DN", TLS_RECORD_CLIENT_ISSUER},
        {"SSL_CLIENT_M_SERIAL", TLS_RECORD_CLIENT_SERIAL},
        {"SSL_CLIENT_V_START", TLS_RECORD_CLIENT_NOT_BEFORE},
        {"SSL_CLIENT_V_END", TLS_RECORD_CLIENT_NOT_AFTER},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++)
        if (record->texts[ROWS[i].text].length > 0 &&
            put(dict, ROWS[i].key, text_latin1(record->texts[ROWS[i].text])) < 0)
            return -1;
    return 0;
}

static PyObject *verify_text(const struct tls_record *record)
{
    switch (record->client) {
    case TLS_RECORD_CLIENT_VERIFIED:
        return PyUnicode_FromString("SUCCESS");
    case TLS_RECORD_CLIENT_FAILED: {
        PyObject *error = text_latin1(record->texts[TLS_RECORD_CLIENT_ERROR]);
        PyObject *text = error != NULL ? PyUnicode_FromFormat("FAILED:%U", error) : NULL;
        Py_XDECREF(error);
        return text;
    }
    default:
        return PyUnicode_FromString("NONE");
    }
}

static PyObject *protocol_text(uint16_t protocol)
{
    switch (protocol) {
    case TLS_1_2:
        return PyUnicode_FromString("TLSv1.2");
    case TLS_1_3:
        return PyUnicode_FromString("TLSv1.3");
    default:
        return PyUnicode_FromFormat("0x%04x", protocol);
    }
}

/* The client's own, then those that vouch for it. */
static int put_certificates(PyObject *dict, const struct tls_record *record)
{
    PyObject *chain = tls_memory_certificates(record->texts[TLS_RECORD_CLIENT_CHAIN]);
    int r = chain != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; r == 0 && i < PyTuple_GET_SIZE(chain); i++) {
        char key[48] = "SSL_CLIENT_CERT";
        if (i > 0)
            PyOS_snprintf(key, sizeof key, "SSL_CLIENT_CERT_CHAIN_%zd", i - 1);
        r = PyDict_SetItemString(dict, key, PyTuple_GET_ITEM(chain, i));
    }
    Py_XDECREF(chain);
    return r;
}

PyObject *wsgi_tls_facts(const struct tls_record *record)
{
    PyObject *dict = PyDict_New();
    if (dict == NULL)
        return NULL;
    if (put_texts(dict, record) < 0 || put_certificates(dict, record) < 0 ||
        put(dict, "SSL_PROTOCOL", protocol_text(record->protocol)) < 0 ||
        put(dict, "SSL_CLIENT_VERIFY", verify_text(record)) < 0 ||
        put(dict, "SSL_CIPHER_USEKEYSIZE", PyUnicode_FromFormat("%u", (unsigned)record->cipher_bits)) < 0 ||
        put(dict, "SSL_SESSION_RESUMED", PyUnicode_FromString(record->is_resumed ? "Resumed" : "Initial")) < 0)
        Py_CLEAR(dict);
    return dict;
}
