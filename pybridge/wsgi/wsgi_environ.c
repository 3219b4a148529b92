#include "pybridge/wsgi/wsgi_environ.h"

#include "pybridge/python_text.h"
#include "pybridge/request_priority.h"
#include "pybridge/wsgi/wsgi_tls.h"

enum {
    TEMPLATE_KEYS_MIN = 22, /* the 22nd key gives a dict 64 slots */
    HEADER_NAME_MAX = 256,  /* made on the stack; longer ones on the heap */
};

static const char *const KEY_NAMES[WSGI_KEY_COUNT] = {
#define WSGI_KEY_NAME(symbol, name) name,
    WSGI_KEYS(WSGI_KEY_NAME)
#undef WSGI_KEY_NAME
};

static const char *const WORDS[WSGI_WORD_COUNT] = {"http", "https", "HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "on"};

/* Puts `value`, which it takes; a NULL one is a Python error that came before. */
static int put(PyObject *dict, PyObject *key, PyObject *value)
{
    int r = value != NULL ? PyDict_SetItem(dict, key, value) : -1;
    Py_XDECREF(value);
    return r;
}

/* ---- what is made once ---- */

/* HTTP_ and the name in upper case with underscores; `ret_key` has room for HTTP_ and the name. */
static void spell_key(struct bytes name, uint8_t *ret_key)
{
    memcpy(ret_key, "HTTP_", 5);
    for (size_t i = 0; i < name.length; i++) {
        uint8_t octet = name.data[i];
        bool is_lower = octet >= 'a' && octet <= 'z';
        ret_key[5 + i] = octet == '-' ? '_' : is_lower ? (uint8_t)(octet - 'a' + 'A') : octet;
    }
}

static PyObject *interned_key(enum http_field_id id)
{
    if (id == HTTP_FIELD_CONTENT_TYPE)
        return PyUnicode_InternFromString("CONTENT_TYPE");
    if (id == HTTP_FIELD_CONTENT_LENGTH)
        return PyUnicode_InternFromString("CONTENT_LENGTH");
    char key[HEADER_NAME_MAX] = {};
    spell_key(http_field_name(id), (uint8_t *)key);
    return PyUnicode_InternFromString(key);
}

static int make_keys(struct wsgi_environ *env)
{
    for (int i = 0; i < WSGI_KEY_COUNT; i++)
        if ((env->keys[i] = PyUnicode_InternFromString(KEY_NAMES[i])) == NULL)
            return -1;
    for (int i = 0; i < WSGI_WORD_COUNT; i++)
        if ((env->words[i] = PyUnicode_InternFromString(WORDS[i])) == NULL)
            return -1;
    for (int id = HTTP_FIELD_OTHER + 1; id < HTTP_FIELD_COUNT; id++) {
        /* httpoxy, CVE-2016-5385: HTTP_PROXY is what clients of other servers take for a proxy's address. */
        if (id == HTTP_FIELD_PROXY)
            continue;
        if ((env->header_keys[id] = interned_key((enum http_field_id)id)) == NULL)
            return -1;
    }
    return 0;
}

static PyObject *import_attribute(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *attribute = module != NULL ? PyObject_GetAttrString(module, name) : NULL;
    Py_XDECREF(module);
    return attribute;
}

PyObject *wsgi_environ_file_wrapper(void)
{
    return import_attribute("uroboros.file_wrapper", "FileWrapper");
}

static PyObject *error_log(void)
{
    PyObject *stream = import_attribute("uroboros.stdio", "error_log");
    Py_XSETREF(stream, stream != NULL ? PyObject_CallNoArgs(stream) : NULL);
    return stream;
}

/* Keys that come and go: a dict, and its copy, keep the room that they needed. */
static int make_room(PyObject *template)
{
    for (Py_ssize_t i = PyDict_Size(template); i < TEMPLATE_KEYS_MIN; i++)
        if (put(template, Py_None, PyLong_FromLong(0)) < 0 || PyDict_DelItem(template, Py_None) < 0)
            return -1;
    return 0;
}

/* Every key that every request has stands in the template: to replace a value is cheaper than to add a key. */
static int reserve_keys(struct wsgi_environ *env)
{
    const int count = env->kind == WSGI_ENVIRON_HTTP_2 ? WSGI_KEYS_OF_HTTP_2 : WSGI_KEYS_OF_ALL;
    PyObject *empty = PyUnicode_FromStringAndSize(NULL, 0);
    int r = empty != NULL ? 0 : -1;
    for (int i = 0; r == 0 && i < count; i++)
        r = PyDict_SetItem(env->template, env->keys[i], empty);
    Py_XDECREF(empty);
    return r;
}

static int set_constants(struct wsgi_environ *env, bool multithread)
{
    PyObject *const template = env->template, **keys = env->keys;
    const bool multiprocess = env->process->settings.workers > 1;
    if (put(template, keys[WSGI_KEY_WSGI_VERSION], Py_BuildValue("(ii)", 1, 0)) < 0 ||
        put(template, keys[WSGI_KEY_WSGI_MULTITHREAD], PyBool_FromLong(multithread)) < 0 ||
        put(template, keys[WSGI_KEY_WSGI_MULTIPROCESS], PyBool_FromLong(multiprocess)) < 0 ||
        put(template, keys[WSGI_KEY_WSGI_RUN_ONCE], PyBool_FromLong(0)) < 0 ||
        put(template, keys[WSGI_KEY_WSGI_INPUT_TERMINATED], PyBool_FromLong(1)) < 0 ||
        put(template, keys[WSGI_KEY_WSGI_ERRORS], error_log()) < 0)
        return -1;
    if (put(template, keys[WSGI_KEY_WSGI_FILE_WRAPPER], wsgi_environ_file_wrapper()) < 0 ||
        put(template, keys[WSGI_KEY_SERVER_SOFTWARE], PyUnicode_FromString("uroboros/" UROBOROS_VERSION)) < 0)
        return -1;
    const enum wsgi_word protocol = env->kind == WSGI_ENVIRON_HTTP_2 ? WSGI_WORD_HTTP_2 : WSGI_WORD_HTTP_1_1;
    if (PyDict_SetItem(template, keys[WSGI_KEY_SERVER_PROTOCOL], env->words[protocol]) < 0 ||
        PyDict_SetItem(template, keys[WSGI_KEY_WSGI_URL_SCHEME], env->words[WSGI_WORD_HTTP]) < 0)
        return -1;
    return PyDict_SetItem(template, keys[WSGI_KEY_SCRIPT_NAME], env->script_name);
}

static int put_priority(const struct wsgi_environ *env, PyObject *dict, unsigned urgency, bool is_incremental)
{
    if (put(dict, env->keys[WSGI_KEY_PRIORITY_WEIGHT], PyLong_FromLong(request_priority_weight(urgency))) < 0 ||
        put(dict, env->keys[WSGI_KEY_URGENCY], PyLong_FromLong((long)urgency)) < 0)
        return -1;
    return put(dict, env->keys[WSGI_KEY_INCREMENTAL], PyBool_FromLong(is_incremental));
}

/* What most requests of HTTP/2 have alike; the callables follow. */
static int set_constants_of_http_2(const struct wsgi_environ *env)
{
    if (env->kind != WSGI_ENVIRON_HTTP_2)
        return 0;
    if (put(env->template, env->keys[WSGI_KEY_PRIORITY_DEPENDS_ON], PyLong_FromLong(0)) < 0)
        return -1;
    return put_priority(env, env->template, SLOT_URGENCY_DEFAULT, false);
}

/* The setting, else the process's environment, as Gunicorn does; "/" and "/app/" mean "" and "/app". */
static int choose_script_name(struct wsgi_environ *env)
{
    const struct settings *settings = &env->process->settings;
    const char *text = settings->root_path;
    if (text == NULL || *text == '\0')
        text = getenv("SCRIPT_NAME");
    struct bytes name = bytes_of_string(text != NULL ? text : "");
    while (name.length > 0 && name.data[name.length - 1] == '/')
        name.length--;
    env->script_name = text_latin1(name);
    for (size_t i = 0; i < settings->forwarder_headers.count; i++)
        if (strcmp(settings->forwarder_headers.items[i], "SCRIPT_NAME") == 0)
            env->script_name_from_header = true;
    return env->script_name != NULL ? 0 : -1;
}

int wsgi_environ_init(struct wsgi_environ *env, const struct app_process *process, enum wsgi_environ_kind kind,
                      bool multithread, PyObject *input)
{
    *env = (struct wsgi_environ){.process = process, .kind = kind};
    if (make_keys(env) < 0 || choose_script_name(env) < 0 || (env->template = PyDict_New()) == NULL ||
        reserve_keys(env) < 0 || set_constants(env, multithread) < 0 || set_constants_of_http_2(env) < 0)
        return -1;
    if (PyDict_SetItem(env->template, env->keys[WSGI_KEY_WSGI_INPUT], input) < 0)
        return -1;
    return make_room(env->template);
}

int wsgi_environ_set_callables(struct wsgi_environ *env, PyObject *early_hints, PyObject *send_trailers)
{
    env->send_trailers = send_trailers;
    if (PyDict_SetItem(env->template, env->keys[WSGI_KEY_WSGI_EARLY_HINTS], early_hints) < 0)
        return -1;
    if (env->kind != WSGI_ENVIRON_HTTP_2)
        return 0;
    if (PyDict_SetItem(env->template, env->keys[WSGI_KEY_GUNICORN_SEND_TRAILERS], send_trailers) < 0)
        return -1;
    return PyDict_SetItem(env->template, env->keys[WSGI_KEY_SEND_TRAILERS], send_trailers);
}

static void clear_all(PyObject **objects, size_t count)
{
    for (size_t i = 0; i < count; i++)
        Py_CLEAR(objects[i]);
}

void wsgi_environ_deinit(struct wsgi_environ *env)
{
    clear_all(env->keys, WSGI_KEY_COUNT);
    clear_all(env->words, WSGI_WORD_COUNT);
    clear_all(env->header_keys, HTTP_FIELD_COUNT);
    clear_all(env->ports, WSGI_PORTS);
    Py_CLEAR(env->template);
    Py_CLEAR(env->script_name);
    Py_CLEAR(env->method.text);
    Py_CLEAR(env->client.text);
    Py_CLEAR(env->server.text);
    Py_CLEAR(env->server_port.text);
    Py_CLEAR(env->host.text);
    tls_memory_deinit(&env->tls);
}

/* ---- values that are remembered ---- */

static bool is_remembered(const struct wsgi_memory *memory, struct bytes octets)
{
    return memory->text != NULL && bytes_equal(bytes_of(memory->octets, memory->length), octets);
}

static PyObject *remembered(struct wsgi_memory *memory, struct bytes octets)
{
    if (is_remembered(memory, octets))
        return Py_NewRef(memory->text);
    PyObject *text = text_latin1(octets);
    if (text == NULL || octets.length > sizeof memory->octets)
        return text;
    memcpy(memory->octets, octets.data, octets.length);
    memory->length = octets.length;
    Py_XSETREF(memory->text, Py_NewRef(text));
    return text;
}

enum { PORT_DIGITS_MAX = 5 };

static struct bytes spell_port(uint16_t port, uint8_t digits[PORT_DIGITS_MAX])
{
    size_t at = PORT_DIGITS_MAX;
    do
        digits[--at] = (uint8_t)('0' + port % 10);
    while ((port /= 10) > 0);
    return bytes_of(digits + at, PORT_DIGITS_MAX - at);
}

static PyObject *port_text(struct wsgi_environ *env, uint16_t port)
{
    PyObject **place = &env->ports[port % WSGI_PORTS];
    if (*place == NULL || env->port_numbers[port % WSGI_PORTS] != port) {
        uint8_t digits[PORT_DIGITS_MAX];
        PyObject *text = text_latin1(spell_port(port, digits));
        if (text == NULL)
            return NULL;
        Py_XSETREF(*place, text);
        env->port_numbers[port % WSGI_PORTS] = port;
    }
    return Py_NewRef(*place);
}

/* ---- one request ---- */

struct build {
    struct wsgi_environ *env;
    const struct app_request *request;
    const struct slot_record *record;
    PyObject *dict;
    PyObject *target; /* borrowed from `dict` */
    struct bytes host;
    struct bytes script_name; /* of the process, or of a header */
    uint64_t seen[HTTP_FIELD_COUNT / 64 + 1];
};

static struct bytes span_at(const struct build *build, uint32_t offset, uint32_t length)
{
    return app_request_span(build->env->process->exchange, build->request, offset, length);
}

static struct bytes span(const struct build *build, const struct arena_span *span)
{
    return span_at(build, span->offset, span->length);
}

static int put_key(const struct build *build, enum wsgi_key key, PyObject *value)
{
    return put(build->dict, build->env->keys[key], value);
}

static int put_word(const struct build *build, enum wsgi_key key, enum wsgi_word word)
{
    return PyDict_SetItem(build->dict, build->env->keys[key], build->env->words[word]);
}

/* A value of the template: only one that changed has to be put anywhere. */
static int put_memory(const struct build *build, enum wsgi_key key, struct wsgi_memory *memory, struct bytes octets)
{
    if (is_remembered(memory, octets))
        return 0;
    PyObject *text = remembered(memory, octets);
    /* One too long to be remembered must not be found in the template either. */
    if (text != NULL && memory->text == text && PyDict_SetItem(build->env->template, build->env->keys[key], text) < 0)
        Py_CLEAR(text);
    return put_key(build, key, text);
}

/* RFC 9110 5.3: repeats are one list. RFC 6265 5.4: of cookies the separator is another. */
static int join(const struct build *build, PyObject *key, enum http_field_id id, PyObject *value)
{
    PyObject *before = PyDict_GetItemWithError(build->dict, key);
    if (before == NULL) {
        Py_DECREF(value);
        return -1;
    }
    PyObject *joined = PyUnicode_FromFormat(id == HTTP_FIELD_COOKIE ? "%U; %U" : "%U,%U", before, value);
    Py_DECREF(value);
    return put(build->dict, key, joined);
}

static int put_known(struct build *build, enum http_field_id id, struct bytes octets)
{
    PyObject *key = build->env->header_keys[id];
    if (key == NULL)
        return 0;
    PyObject *value = id == HTTP_FIELD_HOST ? remembered(&build->env->host, octets) : text_latin1(octets);
    if (id == HTTP_FIELD_HOST)
        build->host = octets;
    uint64_t bit = 1ULL << (id % 64);
    if (build->seen[id / 64] & bit)
        return value != NULL ? join(build, key, id, value) : -1;
    build->seen[id / 64] |= bit;
    return put(build->dict, key, value);
}

static PyObject *other_key(struct bytes name)
{
    uint8_t small[HEADER_NAME_MAX];
    uint8_t *key = small;
    if (name.length + 5 > sizeof small && (key = PyMem_Malloc(name.length + 5)) == NULL)
        return PyErr_NoMemory();
    spell_key(name, key);
    PyObject *text = text_latin1(bytes_of(key, name.length + 5));
    if (key != small)
        PyMem_Free(key);
    return text;
}

/* The name, with its underscore, passed the I/O process because of forwarder_headers; here its peer is looked at. */
static bool names_script(const struct build *build, struct bytes name)
{
    return build->env->script_name_from_header && (build->record->flags & SLOT_TRUSTED) != 0 &&
           bytes_equal(name, BYTES_LITERAL("script_name"));
}

static int put_other(struct build *build, struct bytes name, struct bytes octets)
{
    if (names_script(build, name))
        build->script_name = octets;
    PyObject *key = other_key(name);
    int is_repeated = key != NULL ? PyDict_Contains(build->dict, key) : -1;
    PyObject *value = is_repeated >= 0 ? text_latin1(octets) : NULL;
    int r = -1;
    if (value != NULL)
        r = is_repeated ? join(build, key, HTTP_FIELD_OTHER, value) : put(build->dict, key, value);
    Py_XDECREF(key);
    return r;
}

static int put_fields(struct build *build)
{
    const struct slot_record *record = build->record;
    const uint32_t fields_max = app_exchange_setup(build->env->process->exchange)->shape.fields_max;
    for (uint32_t i = 0; i < record->field_count && i < fields_max; i++) {
        const struct slot_field field = record->fields[i];
        struct bytes value = span_at(build, field.value_offset, field.value_length);
        int r;
        if (field.id > HTTP_FIELD_OTHER && field.id < HTTP_FIELD_COUNT)
            r = put_known(build, (enum http_field_id)field.id, value);
        else
            r = put_other(build, span_at(build, field.name_offset, field.name_length), value);
        if (r < 0)
            return -1;
    }
    return 0;
}

/* ---- who and where ---- */

static struct bytes address_text(const char *text, size_t room)
{
    return bytes_of(text, strnlen(text, room));
}

static int put_client(struct build *build)
{
    const struct slot_record *record = build->record;
    struct bytes client = address_text(record->client, sizeof record->client);
    if (put_memory(build, WSGI_KEY_REMOTE_ADDR, &build->env->client, client) < 0)
        return -1;
    /* Of a unix socket the template says it all. */
    return client.length > 0 ? put_key(build, WSGI_KEY_REMOTE_PORT, port_text(build->env, record->client_port)) : 0;
}

/* What the PROXY header said, under Gunicorn's names. */
static int put_proxy(struct build *build)
{
    const struct slot_record *record = build->record;
    if ((record->flags & SLOT_PROXIED) == 0)
        return 0;
    struct bytes client = address_text(record->proxy_client, sizeof record->proxy_client);
    bool is_v6 = memchr(client.data, ':', client.length) != NULL;
    struct bytes server = address_text(record->server, sizeof record->server);
    if (put_key(build, WSGI_KEY_PROXY_PROTOCOL, PyUnicode_InternFromString(is_v6 ? "TCP6" : "TCP4")) < 0 ||
        put_key(build, WSGI_KEY_PROXY_ADDR, text_latin1(server)) < 0)
        return -1;
    return put_key(build, WSGI_KEY_PROXY_PORT, port_text(build->env, record->server_port));
}

/* "[::1]:80" and "name:80": the part before the port, and the port as far as there is one. */
static struct bytes split_host(struct bytes host, struct bytes *ret_port)
{
    size_t colon = host.length;
    while (colon > 0 && host.data[colon - 1] >= '0' && host.data[colon - 1] <= '9')
        colon--;
    *ret_port = bytes_of(NULL, 0);
    if (colon == 0 || host.data[colon - 1] != ':')
        return host;
    *ret_port = bytes_skip(host, colon);
    return bytes_of(host.data, colon - 1);
}

/* PEP 3333: neither may be empty. A unix socket has neither, so the client's own words count, as in Gunicorn. */
static int put_server_of_unix(struct build *build)
{
    struct bytes port;
    struct bytes name = split_host(build->host, &port);
    if (name.length == 0)
        name = BYTES_LITERAL("localhost");
    if (port.length == 0)
        port = build->record->flags & SLOT_HTTPS ? BYTES_LITERAL("443") : BYTES_LITERAL("80");
    if (put_key(build, WSGI_KEY_SERVER_NAME, text_latin1(name)) < 0)
        return -1;
    return put_key(build, WSGI_KEY_SERVER_PORT, text_latin1(port));
}

static int put_server(struct build *build)
{
    const struct slot_record *record = build->record;
    if (record->flags & SLOT_UNIX)
        return put_server_of_unix(build);
    struct bytes server = address_text(record->server, sizeof record->server);
    uint8_t digits[PORT_DIGITS_MAX];
    if (put_memory(build, WSGI_KEY_SERVER_NAME, &build->env->server, server) < 0)
        return -1;
    return put_memory(build, WSGI_KEY_SERVER_PORT, &build->env->server_port, spell_port(record->server_port, digits));
}

/* ---- the request line ---- */

static int hex_digit(uint8_t octet)
{
    if (octet >= '0' && octet <= '9')
        return octet - '0';
    octet = bytes_lower(octet);
    return octet >= 'a' && octet <= 'f' ? octet - 'a' + 10 : -1;
}

/* RFC 3986 2.1, into `output`, which has room for all of `input`. A % without two digits stays what it is. */
static struct bytes percent_decode(struct bytes input, uint8_t *output)
{
    size_t length = 0;
    for (size_t i = 0; i < input.length; i++) {
        output[length] = input.data[i];
        if (input.data[i] == '%' && i + 2 < input.length) {
            int high = hex_digit(input.data[i + 1]), low = hex_digit(input.data[i + 2]);
            if (high >= 0 && low >= 0) {
                output[length] = (uint8_t)(high << 4 | low);
                i += 2;
            }
        }
        length++;
    }
    return bytes_of(output, length);
}

static PyObject *decoded_path(struct bytes path)
{
    if (path.length == 0 || memchr(path.data, '%', path.length) == NULL)
        return text_latin1(path);
    uint8_t *memory = PyMem_Malloc(path.length);
    if (memory == NULL)
        return PyErr_NoMemory();
    PyObject *text = text_latin1(percent_decode(path, memory));
    PyMem_Free(memory);
    return text;
}

/* Most requests have neither a query nor a % in the path: both keys have one value. */
static bool is_target(const struct build *build, struct bytes path)
{
    const struct arena_span *target = &build->record->target;
    return path.length > 0 && path.length == target->length && path.data == span(build, target).data &&
           memchr(path.data, '%', path.length) == NULL;
}

/* SCRIPT_NAME is cut from the path as it was sent, and only where a segment ends. */
static int put_path(struct build *build)
{
    struct bytes path = span(build, &build->record->path);
    struct bytes script = build->script_name;
    if (script.length > 0) {
        bool is_prefix = path.length >= script.length && memcmp(path.data, script.data, script.length) == 0 &&
                         (path.length == script.length || path.data[script.length] == '/');
        if (!is_prefix) {
            PyErr_SetString(PyExc_ValueError, "the path of the request does not start with SCRIPT_NAME");
            return -1;
        }
        path = bytes_skip(path, script.length);
        if (put_key(build, WSGI_KEY_SCRIPT_NAME, text_latin1(script)) < 0)
            return -1;
    }
    if (is_target(build, path))
        return PyDict_SetItem(build->dict, build->env->keys[WSGI_KEY_PATH_INFO], build->target);
    return put_key(build, WSGI_KEY_PATH_INFO, decoded_path(path));
}

/* What the template of its kind has not. */
static int put_version(struct build *build)
{
    const struct slot_record *record = build->record;
    const bool is_incremental = (record->flags & SLOT_INCREMENTAL) != 0;
    if (record->version == SLOT_HTTP_1_0)
        return put_word(build, WSGI_KEY_SERVER_PROTOCOL, WSGI_WORD_HTTP_1_0);
    if (record->version == SLOT_HTTP_2)
        return record->urgency == SLOT_URGENCY_DEFAULT && !is_incremental
                   ? 0
                   : put_priority(build->env, build->dict, record->urgency, is_incremental);
    if (!app_request_takes_trailers(build->request))
        return 0;
    return PyDict_SetItem(build->dict, build->env->keys[WSGI_KEY_SEND_TRAILERS], build->env->send_trailers);
}

/* HTTPS as every CGI-like interface has it, and what Apache's mod_ssl says of the connection under it. */
static int put_security(struct build *build)
{
    const struct slot_record *record = build->record;
    if ((record->flags & SLOT_HTTPS) != 0 && (put_word(build, WSGI_KEY_WSGI_URL_SCHEME, WSGI_WORD_HTTPS) < 0 ||
                                              put_word(build, WSGI_KEY_HTTPS, WSGI_WORD_ON) < 0))
        return -1;
    if (record->tls.length == 0)
        return 0;
    PyObject *facts = tls_memory_recall(&build->env->tls, span(build, &record->tls), wsgi_tls_facts);
    return facts != NULL ? PyDict_Update(build->dict, facts) : -1;
}

static int put_request_line(struct build *build)
{
    const struct slot_record *record = build->record;
    struct bytes query = span(build, &record->query);
    struct bytes target = span(build, &record->target);
    build->target = text_latin1(target);
    if (put_key(build, WSGI_KEY_RAW_URI, build->target) < 0 ||
        put_memory(build, WSGI_KEY_REQUEST_METHOD, &build->env->method, span(build, &record->method)) < 0)
        return -1;
    if (query.length > 0 && put_key(build, WSGI_KEY_QUERY_STRING, text_latin1(query)) < 0)
        return -1;
    return put_version(build) < 0 ? -1 : put_security(build);
}

static int fill(struct build *build, PyObject *input)
{
    if (input != NULL && PyDict_SetItem(build->dict, build->env->keys[WSGI_KEY_WSGI_INPUT], input) < 0)
        return -1;
    if (put_request_line(build) < 0 || put_client(build) < 0 || put_proxy(build) < 0)
        return -1;
    /* The fields first: they may name the host and SCRIPT_NAME. */
    if (put_fields(build) < 0 || put_server(build) < 0)
        return -1;
    return put_path(build);
}

PyObject *wsgi_environ_build(struct wsgi_environ *env, const struct app_request *request, PyObject *input)
{
    struct build build = {.env = env, .request = request, .record = request->record};
    if (!text_latin1_octets(env->script_name, &build.script_name))
        build.script_name = bytes_of(NULL, 0);
    build.dict = PyDict_Copy(env->template);
    if (build.dict != NULL && fill(&build, input) < 0)
        Py_CLEAR(build.dict);
    return build.dict;
}
