#include "pybridge/asgi/asgi_scope.h"

#include "pybridge/python_text.h"
#include "pybridge/request_priority.h"

enum { RECENT_VALUE_BYTES_MAX = 256, DECODED_PATH_STACK_BYTES = 1'024 };

static const char *const METHODS[ASGI_SCOPE_METHODS] = {"GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS"};

/* ---- once per event loop ---------------------------------------------------------------------------------------- */

static int make_names(struct asgi_scope *scope)
{
    for (int i = 0; i < ASGI_SCOPE_METHODS; i++) {
        scope->methods[i] = PyUnicode_InternFromString(METHODS[i]);
        if (scope->methods[i] == NULL)
            return -1;
    }
    for (int id = HTTP_FIELD_OTHER + 1; id < HTTP_FIELD_COUNT; id++) {
        scope->field_names[id] = text_bytes(http_field_name((enum http_field_id)id));
        if (scope->field_names[id] == NULL)
            return -1;
    }
    return 0;
}

static int set(const struct asgi_scope *scope, PyObject *dict, enum asgi_name name, PyObject *value)
{
    return PyDict_SetItem(dict, asgi_text(scope->core, name), value);
}

/* As set, but takes `value`, which may be NULL with a Python error. */
static int set_new(const struct asgi_scope *scope, PyObject *dict, enum asgi_name name, PyObject *value)
{
    if (value == NULL)
        return -1;
    int r = set(scope, dict, name, value);
    Py_DECREF(value);
    return r;
}

/* Every key is there, so that a copy needs no room for more and the order is the same for all. */
static int fill_template(struct asgi_scope *scope)
{
    static const enum asgi_name KEYS[] = {
        ASGI_NAME_TYPE,      ASGI_NAME_ASGI,     ASGI_NAME_HTTP_VERSION, ASGI_NAME_METHOD, ASGI_NAME_SCHEME,
        ASGI_NAME_PATH,      ASGI_NAME_RAW_PATH, ASGI_NAME_QUERY_STRING, ASGI_NAME_CLIENT, ASGI_NAME_SERVER,
        ASGI_NAME_ROOT_PATH, ASGI_NAME_HEADERS,  ASGI_NAME_EXTENSIONS,
    };
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++)
        if (set(scope, scope->template, KEYS[i], Py_None) < 0)
            return -1;
    const char *root_path = scope->core->process->settings.root_path;
    return set(scope, scope->template, ASGI_NAME_TYPE, asgi_text(scope->core, ASGI_NAME_HTTP)) < 0
               ? -1
               : set_new(scope, scope->template, ASGI_NAME_ROOT_PATH,
                         PyUnicode_DecodeFSDefault(root_path == NULL ? "" : root_path));
}

/* RFC 9218's two parameters, and what Gunicorn's extension of this name has. */
static PyObject *priority(unsigned urgency, bool is_incremental)
{
    return Py_BuildValue("{s:I,s:O,s:i,s:i}", "urgency", urgency, "incremental", is_incremental ? Py_True : Py_False,
                         "weight", request_priority_weight(urgency), "depends_on", 0);
}

/* Where the application is to read files itself (`sendfile`), it is not told that there is another way. */
static int add_files(struct asgi_scope *scope, PyObject *extensions)
{
    if (!scope->core->process->settings.sendfile)
        return 0;
    int r = set_new(scope, extensions, ASGI_NAME_HTTP_RESPONSE_PATHSEND, PyDict_New());
    return r < 0 ? r : set_new(scope, extensions, ASGI_NAME_HTTP_RESPONSE_ZEROCOPYSEND, PyDict_New());
}

static int make_extensions(struct asgi_scope *scope)
{
    PyObject *const hint = asgi_text(scope->core, ASGI_NAME_HTTP_RESPONSE_EARLY_HINT);
    PyObject *const trailers = asgi_text(scope->core, ASGI_NAME_HTTP_RESPONSE_TRAILERS);
    scope->extensions[ASGI_EXTENSIONS_PLAIN] = Py_BuildValue("{O{}}", hint);
    scope->extensions[ASGI_EXTENSIONS_TRAILERS] = Py_BuildValue("{O{}O{}}", hint, trailers);
    scope->extensions[ASGI_EXTENSIONS_HTTP_2] =
        Py_BuildValue("{O{}O{}ON}", hint, trailers, asgi_text(scope->core, ASGI_NAME_HTTP_RESPONSE_PRIORITY),
                      priority(SLOT_URGENCY_DEFAULT, false));
    for (int i = 0; i < ASGI_EXTENSIONS_COUNT; i++)
        if (scope->extensions[i] == NULL || add_files(scope, scope->extensions[i]) < 0)
            return -1;
    return 0;
}

int asgi_scope_init(struct asgi_scope *scope, struct asgi_core *core)
{
    *scope = (struct asgi_scope){.core = core};
    scope->template = PyDict_New();
    scope->asgi = Py_BuildValue("{OOOO}", asgi_text(core, ASGI_NAME_VERSION), asgi_text(core, ASGI_NAME_VERSION_3_0),
                                asgi_text(core, ASGI_NAME_SPEC_VERSION), asgi_text(core, ASGI_NAME_VERSION_2_5));
    if (scope->template == NULL || scope->asgi == NULL || make_extensions(scope) < 0)
        return -1;
    return make_names(scope) < 0 ? -1 : fill_template(scope);
}

void asgi_scope_deinit(struct asgi_scope *scope)
{
    Py_CLEAR(scope->template);
    Py_CLEAR(scope->asgi);
    for (int i = 0; i < ASGI_EXTENSIONS_COUNT; i++)
        Py_CLEAR(scope->extensions[i]);
    tls_memory_deinit(&scope->tls);
    Py_CLEAR(scope->state);
    for (int i = 0; i < ASGI_STICKY_COUNT; i++)
        Py_CLEAR(scope->sticky[i]);
    for (int i = 0; i < ASGI_SCOPE_METHODS; i++)
        Py_CLEAR(scope->methods[i]);
    for (int id = 0; id < HTTP_FIELD_COUNT; id++) {
        Py_CLEAR(scope->field_names[id]);
        Py_CLEAR(scope->recent_fields[id]);
    }
}

PyObject *asgi_scope_versions(const struct asgi_scope *scope)
{
    return PyDict_Copy(scope->asgi);
}

/* The template says `value` from now on. Takes it; it may be NULL with a Python error. */
static int stick(struct asgi_scope *scope, enum asgi_scope_sticky which, PyObject *value)
{
    static const enum asgi_name NAMES[ASGI_STICKY_COUNT] = {
        [ASGI_STICKY_METHOD] = ASGI_NAME_METHOD, [ASGI_STICKY_VERSION] = ASGI_NAME_HTTP_VERSION,
        [ASGI_STICKY_SCHEME] = ASGI_NAME_SCHEME, [ASGI_STICKY_SERVER] = ASGI_NAME_SERVER,
        [ASGI_STICKY_CLIENT] = ASGI_NAME_CLIENT,
    };
    if (value == NULL)
        return -1;
    int r = value == scope->sticky[which] ? 0 : set(scope, scope->template, NAMES[which], value);
    Py_XSETREF(scope->sticky[which], value);
    return r;
}

/* ---- method, path ----------------------------------------------------------------------------------------------- */

static struct bytes span_octets(const struct asgi_scope *scope, const struct app_request *request,
                                struct arena_span span)
{
    return app_request_span(scope->core->exchange, request, span.offset, span.length);
}

static PyObject *method_text(const struct asgi_scope *scope, struct bytes method)
{
    for (int i = 0; i < ASGI_SCOPE_METHODS; i++)
        if (bytes_equal(method, bytes_of_string(METHODS[i])))
            return Py_NewRef(scope->methods[i]);
    return text_latin1(method);
}

static int hex_digit(uint8_t octet)
{
    if (octet >= '0' && octet <= '9')
        return octet - '0';
    uint8_t lower = bytes_lower(octet);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* What is no escape stays as it is. `output` has room for path.length octets. */
static size_t percent_decode(struct bytes path, uint8_t *output)
{
    size_t used = 0;
    for (size_t i = 0; i < path.length; i++) {
        bool whole = path.data[i] == '%' && path.length - i > 2;
        int high = whole ? hex_digit(path.data[i + 1]) : -1;
        int low = whole ? hex_digit(path.data[i + 2]) : -1;
        if (high < 0 || low < 0) {
            output[used++] = path.data[i];
            continue;
        }
        output[used++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    return used;
}

/* Octets that are no UTF-8 become U+FFFD, as uvicorn and Hypercorn do: a surrogate would break the application later,
 * when it writes the path somewhere. raw_path has them as they came. */
static PyObject *utf8_text(struct bytes octets)
{
    return PyUnicode_DecodeUTF8((const char *)octets.data, (Py_ssize_t)octets.length, "replace");
}

static PyObject *path_text(struct bytes path)
{
    if (path.length == 0 || memchr(path.data, '%', path.length) == NULL)
        return utf8_text(path);
    uint8_t stack[DECODED_PATH_STACK_BYTES];
    uint8_t *decoded = path.length <= sizeof stack ? stack : PyMem_Malloc(path.length);
    if (decoded == NULL)
        return PyErr_NoMemory();
    PyObject *text = utf8_text(bytes_of(decoded, percent_decode(path, decoded)));
    if (decoded != stack)
        PyMem_Free(decoded);
    return text;
}

static int set_target(const struct asgi_scope *scope, PyObject *dict, const struct app_request *request)
{
    struct bytes path = span_octets(scope, request, request->record->path);
    struct bytes query = span_octets(scope, request, request->record->query);
    if (set_new(scope, dict, ASGI_NAME_PATH, path_text(path)) < 0 ||
        set_new(scope, dict, ASGI_NAME_RAW_PATH, text_bytes(path)) < 0)
        return -1;
    return set_new(scope, dict, ASGI_NAME_QUERY_STRING, text_bytes(query));
}

/* ---- addresses -------------------------------------------------------------------------------------------------- */

static struct bytes address_octets(const char *address)
{
    return bytes_of(address, strnlen(address, SLOT_ADDRESS_BYTES));
}

static bool address_repeats(PyObject *pair, struct bytes address, long port)
{
    struct bytes text;
    if (pair == NULL || pair == Py_None || !text_latin1_octets(PyTuple_GET_ITEM(pair, 0), &text) ||
        !bytes_equal(text, address))
        return false;
    PyObject *known = PyTuple_GET_ITEM(pair, 1);
    return known == Py_None ? port < 0 : PyLong_AsLong(known) == port;
}

/* (host, port), or (path, None) with a negative port; `recent` when it says the same. */
static PyObject *address_pair(PyObject *recent, struct bytes address, long port)
{
    if (address_repeats(recent, address, port))
        return Py_NewRef(recent);
    PyObject *host = PyUnicode_DecodeFSDefaultAndSize((const char *)address.data, (Py_ssize_t)address.length);
    PyObject *number = port < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(port);
    PyObject *pair = host == NULL || number == NULL ? NULL : PyTuple_Pack(2, host, number);
    Py_XDECREF(host);
    Py_XDECREF(number);
    return pair;
}

static PyObject *server_pair(const struct asgi_scope *scope, const struct slot_record *record)
{
    long port = (record->flags & SLOT_UNIX) != 0 ? -1 : record->server_port;
    return address_pair(scope->sticky[ASGI_STICKY_SERVER], address_octets(record->server), port);
}

/* None for the client of a unix socket. */
static PyObject *client_pair(const struct asgi_scope *scope, const struct slot_record *record)
{
    struct bytes address = address_octets(record->client);
    if (address.length == 0)
        return Py_NewRef(Py_None);
    return address_pair(scope->sticky[ASGI_STICKY_CLIENT], address, record->client_port);
}

/* ---- headers ---------------------------------------------------------------------------------------------------- */

/* Values that name a person are seldom the same twice, and are no thing to keep. */
static bool field_may_repeat(uint32_t id, size_t value_length)
{
    return id > HTTP_FIELD_OTHER && id < HTTP_FIELD_COUNT && id != HTTP_FIELD_COOKIE &&
           id != HTTP_FIELD_AUTHORIZATION && value_length <= RECENT_VALUE_BYTES_MAX;
}

static PyObject *field_create(const struct asgi_scope *scope, const struct app_request *request,
                              const struct slot_field *field, struct bytes value_octets)
{
    bool known = field->id > HTTP_FIELD_OTHER && field->id < HTTP_FIELD_COUNT;
    PyObject *name =
        known ? Py_NewRef(scope->field_names[field->id])
              : text_bytes(app_request_span(scope->core->exchange, request, field->name_offset, field->name_length));
    PyObject *value = text_bytes(value_octets);
    PyObject *pair = PyTuple_New(2);
    if (name == NULL || value == NULL || pair == NULL) {
        Py_XDECREF(name);
        Py_XDECREF(value);
        Py_XDECREF(pair);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, name);
    PyTuple_SET_ITEM(pair, 1, value);
    return pair;
}

static PyObject *field_pair(struct asgi_scope *scope, const struct app_request *request,
                            const struct slot_field *shared)
{
    const struct slot_field field = *shared;
    struct bytes value = app_request_span(scope->core->exchange, request, field.value_offset, field.value_length);
    if (!field_may_repeat(field.id, value.length))
        return field_create(scope, request, &field, value);
    PyObject **recent = &scope->recent_fields[field.id];
    if (*recent != NULL && bytes_equal(text_octets(PyTuple_GET_ITEM(*recent, 1)), value))
        return Py_NewRef(*recent);
    PyObject *pair = field_create(scope, request, &field, value);
    if (pair != NULL)
        Py_XSETREF(*recent, Py_NewRef(pair));
    return pair;
}

static PyObject *headers_list(struct asgi_scope *scope, const struct app_request *request)
{
    uint32_t count = request->record->field_count;
    uint32_t limit = app_exchange_setup(scope->core->exchange)->shape.fields_max;
    if (count > limit)
        count = limit;
    PyObject *headers = PyList_New(count);
    for (uint32_t i = 0; headers != NULL && i < count; i++) {
        PyObject *pair = field_pair(scope, request, &request->record->fields[i]);
        if (pair == NULL)
            Py_CLEAR(headers);
        else
            PyList_SET_ITEM(headers, i, pair);
    }
    return headers;
}

/* ---- extensions ------------------------------------------------------------------------------------------------- */

static enum asgi_scope_extensions extensions_of(const struct app_request *request)
{
    if (request->record->version == SLOT_HTTP_2)
        return ASGI_EXTENSIONS_HTTP_2;
    return app_request_takes_trailers(request) ? ASGI_EXTENSIONS_TRAILERS : ASGI_EXTENSIONS_PLAIN;
}

/* Empty where there is nothing to say; a certificate may lack a subject. */
static PyObject *text_or_none(struct bytes octets)
{
    return octets.length > 0 ? utf8_text(octets) : Py_NewRef(Py_None);
}

/* The keys of the specification, all of them. */
static PyObject *tls_facts(const struct tls_record *record)
{
    const struct bytes *texts = record->texts;
    const bool failed = record->client == TLS_RECORD_CLIENT_FAILED;
    const bool has_certificate = record->client != TLS_RECORD_CLIENT_NONE;
    return Py_BuildValue("{s:N,s:N,s:N,s:N,s:i,s:i}", "server_cert", text_or_none(texts[TLS_RECORD_SERVER_CERTIFICATE]),
                         "client_cert_chain", tls_memory_certificates(texts[TLS_RECORD_CLIENT_CHAIN]),
                         "client_cert_name",
                         has_certificate ? utf8_text(texts[TLS_RECORD_CLIENT_SUBJECT]) : Py_NewRef(Py_None),
                         "client_cert_error", failed ? utf8_text(texts[TLS_RECORD_CLIENT_ERROR]) : Py_NewRef(Py_None),
                         "tls_version", record->protocol, "cipher_suite", record->cipher);
}

static int add_tls(struct asgi_scope *scope, PyObject *extensions, const struct app_request *request)
{
    const struct arena_span span = request->record->tls;
    if (span.length == 0)
        return 0;
    PyObject *facts = tls_memory_recall(&scope->tls, span_octets(scope, request, span), tls_facts);
    return facts == NULL ? -1 : set_new(scope, extensions, ASGI_NAME_TLS, PyDict_Copy(facts));
}

static int add_priority(const struct asgi_scope *scope, PyObject *extensions, const struct slot_record *record)
{
    const bool is_incremental = (record->flags & SLOT_INCREMENTAL) != 0;
    if (record->version != SLOT_HTTP_2 || (record->urgency == SLOT_URGENCY_DEFAULT && !is_incremental))
        return 0;
    return set_new(scope, extensions, ASGI_NAME_HTTP_RESPONSE_PRIORITY, priority(record->urgency, is_incremental));
}

static PyObject *extensions_dict(struct asgi_scope *scope, const struct app_request *request)
{
    PyObject *extensions = PyDict_Copy(scope->extensions[extensions_of(request)]);
    if (extensions != NULL &&
        (add_tls(scope, extensions, request) < 0 || add_priority(scope, extensions, request->record) < 0))
        Py_CLEAR(extensions);
    return extensions;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static enum asgi_name version_name(uint8_t version)
{
    switch (version) {
    case SLOT_HTTP_1_0:
        return ASGI_NAME_VERSION_1_0;
    case SLOT_HTTP_2:
        return ASGI_NAME_VERSION_2;
    default:
        return ASGI_NAME_VERSION_1_1;
    }
}

static int fit_template(struct asgi_scope *scope, const struct app_request *request)
{
    const struct asgi_core *core = scope->core;
    const struct slot_record *record = request->record;
    enum asgi_name scheme = (record->flags & SLOT_HTTPS) != 0 ? ASGI_NAME_HTTPS : ASGI_NAME_HTTP;
    struct bytes method = span_octets(scope, request, record->method);
    if (stick(scope, ASGI_STICKY_METHOD, method_text(scope, method)) < 0 ||
        stick(scope, ASGI_STICKY_VERSION, Py_NewRef(asgi_text(core, version_name(record->version)))) < 0 ||
        stick(scope, ASGI_STICKY_SCHEME, Py_NewRef(asgi_text(core, scheme))) < 0 ||
        stick(scope, ASGI_STICKY_SERVER, server_pair(scope, record)) < 0)
        return -1;
    return stick(scope, ASGI_STICKY_CLIENT, client_pair(scope, record));
}

static int fill(struct asgi_scope *scope, PyObject *dict, const struct app_request *request)
{
    if (set_target(scope, dict, request) < 0 || set_new(scope, dict, ASGI_NAME_ASGI, asgi_scope_versions(scope)) < 0 ||
        set_new(scope, dict, ASGI_NAME_EXTENSIONS, extensions_dict(scope, request)) < 0 ||
        set_new(scope, dict, ASGI_NAME_HEADERS, headers_list(scope, request)) < 0)
        return -1;
    return scope->state == NULL ? 0 : set_new(scope, dict, ASGI_NAME_STATE, PyDict_Copy(scope->state));
}

PyObject *asgi_scope_create(struct asgi_scope *scope, const struct app_request *request)
{
    PyObject *dict = fit_template(scope, request) < 0 ? NULL : PyDict_Copy(scope->template);
    if (dict != NULL && fill(scope, dict, request) < 0)
        Py_CLEAR(dict);
    return dict;
}
