#include "config/schema.h"

#include <assert.h>
#include <string.h>

/* Offset of a field, refused by the compiler when the field is not of the type its row says. */
#define OFFSET(type, field) \
    ((int)(offsetof(struct settings, field) + 0 * sizeof((type *)0 == &((struct settings *)0)->field)))

#define KIB         ((int64_t)1024)
#define MIB         (1024 * KIB)
#define GIB         (1024 * MIB)
#define YEAR_MS     ((int64_t)365 * 86'400 * 1000)
#define NUMBER_MAX  ((int64_t)2'147'483'647)
#define HEAD_MAX    (32 * KIB)
#define REQUEST_MAX (1024 * GIB)

/* clang-format off */
#define BOOL(f)        .name = #f, .type = SETTING_BOOL, .field = OFFSET(bool, f)
#define COUNT(f)       .name = #f, .type = SETTING_COUNT, .field = OFFSET(int64_t, f)
#define SIZE(f)        .name = #f, .type = SETTING_SIZE, .field = OFFSET(int64_t, f)
#define DURATION(f)    .name = #f, .type = SETTING_DURATION, .field = OFFSET(int64_t, f##_ms), .max = YEAR_MS
#define MODE(f)        .name = #f, .type = SETTING_MODE, .field = OFFSET(int64_t, f), .max = 0777
#define STRING(f)      .name = #f, .type = SETTING_STRING, .field = OFFSET(char *, f)
#define IDENTITY(f)    .name = #f, .type = SETTING_IDENTITY, .field = OFFSET(char *, f)
#define LIST(f)        .name = #f, .type = SETTING_LIST, .field = OFFSET(struct string_list, f), .separator = ','
#define LINES(f)       .name = #f, .type = SETTING_LIST, .field = OFFSET(struct string_list, f)
#define TABLES(f)      .name = #f, .type = SETTING_TABLES, .field = OFFSET(struct string_list, f)
#define PAIRS(f)       .name = #f, .type = SETTING_PAIRS, .field = OFFSET(struct string_list, f), .separator = ','
#define WORD(f)        .name = #f, .type = SETTING_WORD, .field = OFFSET(enum f, f), .words = f##_words
#define WORD_OF(f, e)  .name = #f, .type = SETTING_WORD, .field = OFFSET(enum e, f), .words = e##_words
#define HOOK_OF(w, f)  .name = #f, .group = HOOKS, .type = SETTING_HOOK, .field = OFFSET(int64_t, f), .processes = (w)
#define HOOK(f)        HOOK_OF(APP, f)
#define SERVER_HOOK(f) HOOK_OF(SUPERVISOR, f)
/* Gunicorn's, and never kept: only whether the value is away from Gunicorn's default is looked at. */
#define FOREIGN(n)     .name = #n, .type = SETTING_STRING, .field = SETTING_NO_FIELD

#define RANGE(low, high) .min = (low), .max = (high)
#define FOR(who)         .processes = (who)
#define RESTART          .reload = SETTING_NEEDS_RESTART
#define LATER(why)       .status = SETTING_NO_EFFECT_YET, .reason = (why)
#define WITHOUT(why)     .status = SETTING_NO_EFFECT, .reason = (why)
#define REFUSED(why)     .status = SETTING_REFUSED, .reason = (why)

#define APPLICATION "Application"
#define ADDRESSES   "Addresses"
#define WORKERS     "Worker processes"
#define IO_PROCESS  "I/O processes"
#define TIMEOUTS    "Timeouts"
#define LIMITS      "Limits"
#define BUFFERS     "Buffering"
#define PROXIES     "Proxies in front"
#define DIALECT     "HTTP dialect"
#define LOGS        "Logs and metrics"
#define DAEMON      "Daemon"
#define TLS         "TLS"
#define HTTP2       "HTTP/2"
#define HOOKS       "Hooks"
#define UWSGI       "uwsgi protocol"
#define ELSEWHERE   "Gunicorn settings without a counterpart"
/* clang-format on */

enum { SUPERVISOR = SETTING_SUPERVISOR, IO = SETTING_IO, APP = SETTING_APP, ALL = SUPERVISOR | IO | APP };

static const char comes_with_sinks[] = "it comes with the log sinks";
static const char comes_with_reloader[] = "it comes with the file watcher";
static const char comes_with_control[] = "it comes with the control socket";
static const char no_dirty_arbiters[] = "dirty arbiters are not part of this server; run a task queue beside it";
static const char always_strict[] = "the parser is strict by design, because lenient ones allow request smuggling";

#define TOO_OLD   "SSL and TLS before 1.2 are not spoken (RFC 8996); use \"TLSv1_2\", or leave it out"
#define NOT_BUILT "this class is not built yet; use \"auto\", \"sync\", \"gthread\" or \"asgi\""
#define NO_GEVENT NOT_BUILT " (threads serve an application that gevent has patched, too)"

static const struct setting_word worker_class_words[] = {
    {"auto", WORKER_CLASS_AUTO, NULL},
    {"sync", WORKER_CLASS_SYNC, NULL},
    {"gthread", WORKER_CLASS_GTHREAD, NULL},
    {"asgi", WORKER_CLASS_ASGI, NULL},
    {"gevent", WORKER_CLASS_GEVENT, NO_GEVENT},
    {"gevent_wsgi", WORKER_CLASS_GEVENT, NO_GEVENT},
    {"gevent_pywsgi", WORKER_CLASS_GEVENT, NO_GEVENT},
    {"tornado", WORKER_CLASS_TORNADO, NOT_BUILT},
    {"eventlet", WORKER_CLASS_EVENTLET, NOT_BUILT},
    /* The import paths that Gunicorn command lines carry, each with the class that does its work here. */
    {"gunicorn.workers.sync.SyncWorker", WORKER_CLASS_SYNC, NULL},
    {"gunicorn.workers.gthread.ThreadWorker", WORKER_CLASS_GTHREAD, NULL},
    {"gunicorn.workers.gasgi.ASGIWorker", WORKER_CLASS_ASGI, NULL},
    {"uvicorn.workers.UvicornWorker", WORKER_CLASS_ASGI, NULL},
    {"uvicorn.workers.UvicornH11Worker", WORKER_CLASS_ASGI, NULL},
    {"uvicorn_worker.UvicornWorker", WORKER_CLASS_ASGI, NULL},
    {"uvicorn_worker.UvicornH11Worker", WORKER_CLASS_ASGI, NULL},
    {}};
static const struct setting_word asgi_loop_words[] = {
    {"auto", ASGI_LOOP_AUTO, NULL}, {"asyncio", ASGI_LOOP_ASYNCIO, NULL}, {"uvloop", ASGI_LOOP_UVLOOP, NULL}, {}};
static const struct setting_word asgi_lifespan_words[] = {
    {"auto", ASGI_LIFESPAN_AUTO, NULL}, {"on", ASGI_LIFESPAN_ON, NULL}, {"off", ASGI_LIFESPAN_OFF, NULL}, {}};
static const struct setting_word asgi_tasks_words[] = {
    {"pooled", ASGI_TASKS_POOLED, NULL}, {"task", ASGI_TASKS_TASK, NULL}, {}};
static const struct setting_word engine_words[] = {
    {"auto", ENGINE_AUTO, NULL},
    {"io_uring", ENGINE_IO_URING, NULL},
    {"epoll", ENGINE_AUTO, "this engine is not built yet; use \"auto\" or \"io_uring\""},
    {}};
static const struct setting_word buffering_words[] = {
    {"auto", BUFFERING_AUTO, NULL}, {"on", BUFFERING_ON, NULL}, {"off", BUFFERING_OFF, NULL}, {}};
static const struct setting_word proxy_protocol_words[] = {{"off", PROXY_PROTOCOL_OFF, NULL},
                                                           {"v1", PROXY_PROTOCOL_V1, NULL},
                                                           {"v2", PROXY_PROTOCOL_V2, NULL},
                                                           {"auto", PROXY_PROTOCOL_AUTO, NULL},
                                                           {"false", PROXY_PROTOCOL_OFF, NULL},
                                                           {"true", PROXY_PROTOCOL_AUTO, NULL},
                                                           {}};
static const struct setting_word header_map_words[] = {{"drop", HEADER_MAP_DROP, NULL},
                                                       {"refuse", HEADER_MAP_REFUSE, NULL},
                                                       {"dangerous", HEADER_MAP_DANGEROUS, NULL},
                                                       {}};
static const struct setting_word wire_protocol_words[] = {
    {"http", WIRE_PROTOCOL_HTTP, NULL},
    {"uwsgi", WIRE_PROTOCOL_UWSGI, "this protocol is not built yet; use \"http\""},
    {}};
static const struct setting_word spin_words[] = {
    {"sleep", SPIN_SLEEP, NULL}, {"adaptive", SPIN_ADAPTIVE, NULL}, {"spin", SPIN_BUSY, NULL}, {}};
static const struct setting_word log_level_words[] = {{"debug", LOG_LEVEL_DEBUG, NULL},
                                                      {"info", LOG_LEVEL_INFO, NULL},
                                                      {"warning", LOG_LEVEL_WARNING, NULL},
                                                      {"warn", LOG_LEVEL_WARNING, NULL},
                                                      {"error", LOG_LEVEL_ERROR, NULL},
                                                      {"critical", LOG_LEVEL_CRITICAL, NULL},
                                                      {}};
static const struct setting_word cert_reqs_words[] = {{"none", CERT_REQS_NONE, NULL},
                                                      {"optional", CERT_REQS_OPTIONAL, NULL},
                                                      {"required", CERT_REQS_REQUIRED, NULL},
                                                      {"0", CERT_REQS_NONE, NULL},
                                                      {"1", CERT_REQS_OPTIONAL, NULL},
                                                      {"2", CERT_REQS_REQUIRED, NULL},
                                                      {"CERT_NONE", CERT_REQS_NONE, NULL},
                                                      {"CERT_OPTIONAL", CERT_REQS_OPTIONAL, NULL},
                                                      {"CERT_REQUIRED", CERT_REQS_REQUIRED, NULL},
                                                      {"ssl.CERT_NONE", CERT_REQS_NONE, NULL},
                                                      {"ssl.CERT_OPTIONAL", CERT_REQS_OPTIONAL, NULL},
                                                      {"ssl.CERT_REQUIRED", CERT_REQS_REQUIRED, NULL},
                                                      {}};
/* The names and the numbers of Python's ssl module: a Gunicorn file may say ssl.PROTOCOL_TLSv1_2, which is 5. */
static const struct setting_word ssl_version_words[] = {{"TLS", SSL_VERSION_ANY, NULL},
                                                        {"TLSv1_2", SSL_VERSION_TLS12, NULL},
                                                        {"TLSv1_3", SSL_VERSION_TLS13, NULL},
                                                        {"TLS_SERVER", SSL_VERSION_ANY, NULL},
                                                        {"SSLv23", SSL_VERSION_ANY, NULL},
                                                        {"PROTOCOL_TLS", SSL_VERSION_ANY, NULL},
                                                        {"PROTOCOL_TLS_SERVER", SSL_VERSION_ANY, NULL},
                                                        {"PROTOCOL_SSLv23", SSL_VERSION_ANY, NULL},
                                                        {"PROTOCOL_TLSv1_2", SSL_VERSION_TLS12, NULL},
                                                        {"2", SSL_VERSION_ANY, NULL},
                                                        {"17", SSL_VERSION_ANY, NULL},
                                                        {"5", SSL_VERSION_TLS12, NULL},
                                                        {"SSLv2", SSL_VERSION_ANY, TOO_OLD},
                                                        {"SSLv3", SSL_VERSION_ANY, TOO_OLD},
                                                        {"TLSv1", SSL_VERSION_ANY, TOO_OLD},
                                                        {"TLSv1_1", SSL_VERSION_ANY, TOO_OLD},
                                                        {"PROTOCOL_SSLv3", SSL_VERSION_ANY, TOO_OLD},
                                                        {"PROTOCOL_TLSv1", SSL_VERSION_ANY, TOO_OLD},
                                                        {"PROTOCOL_TLSv1_1", SSL_VERSION_ANY, TOO_OLD},
                                                        {"0", SSL_VERSION_ANY, TOO_OLD},
                                                        {"1", SSL_VERSION_ANY, TOO_OLD},
                                                        {"3", SSL_VERSION_ANY, TOO_OLD},
                                                        {"4", SSL_VERSION_ANY, TOO_OLD},
                                                        {}};
static const struct setting_word tls_min_version_words[] = {{"1.2", TLS_MIN_VERSION_12, NULL},
                                                            {"1.3", TLS_MIN_VERSION_13, NULL},
                                                            {"TLSv1.2", TLS_MIN_VERSION_12, NULL},
                                                            {"TLSv1.3", TLS_MIN_VERSION_13, NULL},
                                                            {"1.0", TLS_MIN_VERSION_12, TOO_OLD},
                                                            {"1.1", TLS_MIN_VERSION_12, TOO_OLD},
                                                            {}};
static const struct setting_word ktls_words[] = {{"auto", KTLS_USE_AUTO, NULL}, {"tx", KTLS_USE_TX, NULL},
                                                 {"both", KTLS_USE_BOTH, NULL}, {"off", KTLS_USE_OFF, NULL},
                                                 {"false", KTLS_USE_OFF, NULL}, {}};
static const struct setting_word http2_cleartext_words[] = {
    {"off", HTTP2_CLEARTEXT_OFF, NULL},
    {"prior-knowledge", HTTP2_CLEARTEXT_PRIOR_KNOWLEDGE, NULL},
    {"both", HTTP2_CLEARTEXT_BOTH, NULL},
    {"false", HTTP2_CLEARTEXT_OFF, NULL},
    {"upgrade", HTTP2_CLEARTEXT_OFF,
     "RFC 9113 has removed the upgrade, because requests were smuggled past proxies with it; \"prior-knowledge\" is "
     "HTTP/2 without TLS"},
    {}};
static const struct setting_word reload_engine_words[] = {{"auto", RELOAD_ENGINE_AUTO, NULL},
                                                          {"poll", RELOAD_ENGINE_POLL, NULL},
                                                          {"inotify", RELOAD_ENGINE_INOTIFY, NULL},
                                                          {}};

/* Order: as the reference page shows them. A group is one run of rows. */
static const struct setting table[] = {
    {STRING(config), .flags = "-c --config", .group = APPLICATION, FOR(SUPERVISOR | APP), RESTART,
     .help = "Settings file: PATH, file:PATH or python:MODULE. A PATH that ends in .toml is read as TOML, any other is "
             "executed as a Gunicorn Python file. Without it ./uroboros.toml is read if it exists, else "
             "./gunicorn.conf.py if that exists."},
    {STRING(wsgi_app), .group = APPLICATION, FOR(SUPERVISOR | APP),
     .help = "The application, WSGI or ASGI, when it is not given as an argument: MODULE, MODULE:ATTRIBUTE or "
             "MODULE:FACTORY(ARGUMENTS). Without a colon the attribute is `application`."},
    {BOOL(factory), .group = APPLICATION, .initial = "false", FOR(APP),
     .help = "The attribute is a function that returns the application when called without arguments."},
    {STRING(chdir), .flags = "--chdir", .group = APPLICATION, FOR(ALL), RESTART,
     .help = "Directory to change to before anything is loaded; relative paths in all settings start there. By default "
             "the directory the server was started in."},
    {LIST(pythonpath), .flags = "--pythonpath", .group = APPLICATION, FOR(SUPERVISOR | APP),
     .help = "Directories to put in front of sys.path, separated by commas."},
    {LINES(raw_env), .flags = "-e --env", .group = APPLICATION, FOR(APP),
     .help = "NAME=VALUE to set in the environment of the application. May be given several times."},
    {STRING(python), .group = APPLICATION, FOR(SUPERVISOR | APP),
     .help = "Interpreter that runs the application: a path, or `embedded` for the libpython the server was built "
             "with. By default that of `venv`, else of the active virtual environment, else the system's python3."},
    {STRING(venv), .group = APPLICATION, FOR(SUPERVISOR | APP),
     .help = "Directory of the virtual environment whose interpreter and packages the application uses."},

    {LIST(bind), .flags = "-b --bind", .group = ADDRESSES, .initial = "127.0.0.1:8000", FOR(SUPERVISOR | IO), RESTART,
     .help = "Address to listen on: HOST, HOST:PORT, :PORT, PORT, tcp://HOST:PORT, [IPV6]:PORT, unix:PATH, "
             "unix:@ABSTRACT, or inherited sockets as fd://N or fd://NAME (FileDescriptorName= of a systemd socket "
             "unit). May be given several times. When PORT is in the environment the default is 0.0.0.0:$PORT."},
    {TABLES(listen), .group = ADDRESSES, FOR(SUPERVISOR), RESTART,
     .help = "Addresses with settings of their own, one table [[listen]] each: `address` as in `bind`; `tls`, true or "
             "false, by default whether there is a certificate; `certfile`, `keyfile`, `ocsp_file`, "
             "`http_protocols` and `proxy_protocol` where it has its own. They come beside those of `bind`, whose "
             "default then falls away."},
    {COUNT(backlog), .flags = "--backlog", .group = ADDRESSES, .initial = "2048", RANGE(1, NUMBER_MAX), FOR(SUPERVISOR),
     RESTART,
     .help = "Connections that may wait to be accepted, per listening socket; the kernel caps it at "
             "net.core.somaxconn."},
    {BOOL(reuse_port), .flags = "--reuse-port", .group = ADDRESSES, .initial = "false", FOR(SUPERVISOR), RESTART,
     .help = "Let other programs of the same user share the port: skips the check that the address is free. Inside "
             "the server each I/O process has a SO_REUSEPORT listener of its own in any case."},

    {COUNT(workers), .flags = "-w --workers", .group = WORKERS, .initial = "1", .automatic = "auto", RANGE(1, 512),
     FOR(SUPERVISOR | IO | APP),
     .help = "App processes. `auto` is one per usable CPU. When WEB_CONCURRENCY is in the environment it is the "
             "default."},
    {WORD(worker_class), .flags = "-k --worker-class", .group = WORKERS, .initial = "auto", FOR(SUPERVISOR | IO | APP),
     .help = "How an app process runs the application. `auto` looks at it: ASGI gets `asgi`, WSGI gets `gthread`. "
             "`sync` with more than one thread is `gthread`."},
    {COUNT(threads), .flags = "--threads", .group = WORKERS, .initial = "1", RANGE(1, 1024), FOR(SUPERVISOR | IO | APP),
     .help = "Threads per app process that run a WSGI application."},
    {COUNT(worker_connections), .flags = "--worker-connections", .group = WORKERS, .initial = "1000", RANGE(1, 65'536),
     FOR(SUPERVISOR | IO | APP), .help = "Requests an asynchronous app process works on at a time."},
    {COUNT(max_requests), .flags = "--max-requests", .group = WORKERS, .initial = "0", RANGE(0, NUMBER_MAX),
     FOR(SUPERVISOR | APP),
     .help = "Replace an app process after this many requests; no connection is closed by it. 0: never."},
    {COUNT(max_requests_jitter), .flags = "--max-requests-jitter", .group = WORKERS, .initial = "0",
     RANGE(0, NUMBER_MAX), FOR(SUPERVISOR | APP),
     .help = "A random number from 0 to this is added to `max_requests`, for each process anew."},
    {DURATION(timeout), .flags = "-t --timeout", .group = WORKERS, .initial = "30", FOR(ALL),
     .help =
         "Seconds after which an app process counts as hung and is replaced: for `sync` the time of one request, for "
         "`gthread` of one request without output, for `asgi` the time its event loop has not turned. Only the "
         "client concerned gets a 504. 0: never."},
    {DURATION(graceful_timeout), .flags = "--graceful-timeout", .group = WORKERS, .initial = "30", FOR(ALL),
     .help = "Seconds that running requests get to finish at stop and at reload."},
    {BOOL(preload_app), .flags = "--preload", .group = WORKERS, .initial = "false", FOR(SUPERVISOR | APP),
     .help = "Import the application once, in a template process, and fork the app processes from it. They share its "
             "memory and start at once; threads that the application starts while it is imported are not in them."},
    {WORD(asgi_loop), .flags = "--asgi-loop", .group = WORKERS, .initial = "auto", FOR(APP),
     .help = "Event loop of ASGI applications. `auto` is uvloop where it can be imported, else asyncio."},
    {WORD(asgi_lifespan), .flags = "--asgi-lifespan", .group = WORKERS, .initial = "auto", FOR(APP),
     .help = "Lifespan events: `on` needs an application that handles them, `auto` tries, `off` does not. A start-up "
             "that the application reports as failed stops the server with exit status 3."},
    {DURATION(asgi_disconnect_grace_period), .flags = "--asgi-disconnect-grace-period", .group = WORKERS,
     .initial = "3", FOR(APP), .help = "Seconds between the loss of a client and the cancellation of its ASGI task."},
    {WORD(asgi_tasks), .group = WORKERS, .initial = "pooled", FOR(APP),
     .help = "`pooled` runs requests one after another on asyncio tasks that are kept while they stay clean; `task` "
             "makes a task for each request."},

    {COUNT(rings), .group = IO_PROCESS, .initial = "auto", .automatic = "auto", RANGE(1, 256), FOR(ALL), RESTART,
     .help = "I/O processes, one ring and one thread each. `auto` is half the usable CPUs, at least one."},
    {WORD(engine), .group = IO_PROCESS, .initial = "auto", FOR(SUPERVISOR | IO), RESTART,
     .help = "How the kernel is asked for input and output. Until the epoll engine is built both words need io_uring."},
    {LIST(cpu_affinity), .group = IO_PROCESS, .initial = "off", FOR(SUPERVISOR | IO), RESTART,
     .help = "CPUs to pin the I/O processes to, in turn: numbers and ranges such as 0,2-3; `auto` is all usable CPUs; "
             "`off` pins nothing."},
    {WORD(spin), .group = IO_PROCESS, .initial = "adaptive", FOR(IO | APP), RESTART,
     .help = "What a process does before it sleeps on an empty queue: `sleep` at once, `spin` 50 microseconds, or an "
             "`adaptive` time between 5 and 50 that is 0 unless there are more "
             "CPUs than I/O and app processes. Event loops sleep at once."},
    {COUNT(max_connections), .group = IO_PROCESS, .initial = "100000", RANGE(1, 4'000'000), FOR(SUPERVISOR | IO),
     RESTART,
     .help = "Open connections per I/O process. When full, the longest idle one is closed for a new one; when none is "
             "idle, accepting waits."},
    {COUNT(recv_buffers), .group = IO_PROCESS, .initial = "4096", RANGE(8, 32'768), FOR(SUPERVISOR | IO), RESTART,
     .help = "Receive buffers for request heads and small requests, per I/O process; a power of two."},
    {SIZE(recv_buffer_size), .group = IO_PROCESS, .initial = "4K", RANGE(1 * KIB, 64 * KIB), FOR(SUPERVISOR | IO),
     RESTART, .help = "Bytes of each of them."},
    {COUNT(upload_buffers), .group = IO_PROCESS, .initial = "128", RANGE(8, 32'768), FOR(SUPERVISOR | IO), RESTART,
     .help = "Receive buffers for request bodies, per I/O process; a power of two."},
    {SIZE(upload_buffer_size), .group = IO_PROCESS, .initial = "128K", RANGE(4 * KIB, 1 * MIB), FOR(SUPERVISOR | IO),
     RESTART, .help = "Bytes of each of them."},
    {COUNT(request_slots), .group = IO_PROCESS, .initial = "4096", RANGE(64, 65'536), FOR(ALL), RESTART,
     .help = "Requests an I/O process has under way at a time. When all are taken, reading pauses."},
    {SIZE(outbound_arena), .group = IO_PROCESS, .initial = "16M", RANGE(2 * MIB, 1 * GIB), FOR(ALL), RESTART,
     .help = "Shared memory of each app process for response bodies on their way to the I/O processes."},
    {STRING(health_path), .group = IO_PROCESS, FOR(IO),
     .help = "Path that the I/O process answers itself: 200 while an app process is ready, else 503. Off by default."},
    {STRING(metrics_path), .group = IO_PROCESS, FOR(IO),
     .help =
         "Path under which an I/O process shows the metrics of all of them, as OpenMetrics text. Whoever can reach a "
         "listener can read it. Off by default."},
    {BOOL(sendfile), .group = IO_PROCESS, .initial = "true", FOR(APP),
     .help = "Hand files that the application sends (wsgi.file_wrapper) to the I/O process, which reads and sends them "
             "as fast as the client takes them, instead of reading them in Python. In Gunicorn `sendfile = True` in a "
             "file turns it off; here it means what it says."},

    {DURATION(keepalive), .flags = "--keep-alive", .group = TIMEOUTS, .initial = "75", FOR(IO),
     .help = "Seconds that a connection may stay open between requests. 0: every response closes."},
    {DURATION(head_timeout), .group = TIMEOUTS, .initial = "10", FOR(IO),
     .help = "Seconds for the first byte of a request after accept, and for a whole request head from its first byte. "
             "0: none."},
    {DURATION(body_timeout), .group = TIMEOUTS, .initial = "30", FOR(IO),
     .help = "Seconds that a request body may make no progress while the server is ready to read. 0: none."},
    {SIZE(body_rate_min), .group = TIMEOUTS, .initial = "1024", RANGE(0, 1 * GIB), FOR(IO),
     .help = "Bytes per second that a request body must bring over any 30 s after its first 10 s. 0: none."},
    {DURATION(write_timeout), .group = TIMEOUTS, .initial = "30", FOR(IO),
     .help = "Seconds that a client may take nothing of a response. 0: none."},
    {SIZE(write_rate_min), .group = TIMEOUTS, .initial = "1024", RANGE(0, 1 * GIB), FOR(IO),
     .help = "Bytes per second that a client must take of a response over any 30 s. 0: none."},
    {DURATION(queue_timeout), .group = TIMEOUTS, .initial = "timeout", .automatic = "timeout", FOR(IO),
     .help =
         "Seconds that a request may wait for a free place in an app process; then 503 with Retry-After. By default "
         "as `timeout`. 0: none."},
    {DURATION(request_timeout), .group = TIMEOUTS, .initial = "0", FOR(IO | APP),
     .help = "Seconds for any request in the application; then 504, and the process is kept. 0: off."},

    {SIZE(limit_request_line), .flags = "--limit-request-line", .group = LIMITS, .initial = "8190", RANGE(0, HEAD_MAX),
     FOR(IO), .help = "Bytes of a request line; 414 beyond. 0: the highest."},
    {COUNT(limit_request_fields), .flags = "--limit-request-fields", .group = LIMITS, .initial = "100", RANGE(0, 1024),
     FOR(IO), .help = "Header fields of a request; 431 beyond. 0: the highest."},
    {SIZE(limit_request_field_size), .flags = "--limit-request-field_size", .group = LIMITS, .initial = "8190",
     RANGE(0, HEAD_MAX), FOR(IO), .help = "Bytes of one header field; 431 beyond. 0: the highest."},
    {SIZE(limit_request_body), .group = LIMITS, .initial = "1G", RANGE(0, REQUEST_MAX), FOR(IO),
     .help = "Bytes of a request body; 413 beyond. 0: no limit."},
    {COUNT(pipeline_max), .group = LIMITS, .initial = "16", RANGE(1, 1024), FOR(IO),
     .help = "Pipelined requests of one connection that are taken in before the first is answered."},
    {COUNT(queue_size), .group = LIMITS, .initial = "2048", RANGE(0, 1'048'576), FOR(IO),
     .help = "Requests that wait, per I/O process, when no app process can hold more; 503 with Retry-After beyond."},

    {WORD_OF(request_buffering, buffering), .group = BUFFERS, .initial = "auto", FOR(IO),
     .help = "Hold a request until its body is complete, so that no thread waits for a slow client. `auto`: for WSGI, "
             "not for ASGI; long bodies of fast clients are streamed, to a quarter of the threads at most."},
    {SIZE(request_buffer_max), .group = BUFFERS, .initial = "1M", RANGE(0, 1 * GIB), FOR(IO),
     .help = "Bytes of a held body that stay in memory; the rest goes to an unlinked file in `tmp_upload_dir`."},
    {SIZE(request_spool_max), .group = BUFFERS, .initial = "1G", RANGE(0, REQUEST_MAX), FOR(IO),
     .help = "Bytes that all held bodies of an I/O process may take in files; 503 beyond."},
    {WORD_OF(response_buffering, buffering), .group = BUFFERS, .initial = "auto", FOR(IO),
     .help = "Take a response off its thread at once, so that no thread waits for a slow client. `auto`: for WSGI, not "
             "for ASGI."},
    {SIZE(response_buffer_max), .group = BUFFERS, .initial = "1M", RANGE(0, 1 * GIB), FOR(IO),
     .help = "Bytes that are taken so of one response."},
    {SIZE(response_buffer_total), .group = BUFFERS, .initial = "64M", RANGE(0, 64 * GIB), FOR(IO),
     .help = "Bytes that all responses of an I/O process may have taken so."},
    {SIZE(client_memory_max), .group = BUFFERS, .initial = "auto", .automatic = "auto", RANGE(1 * MIB, 64 * GIB),
     FOR(IO),
     .help = "Bytes that an I/O process may hold for its clients beside its receive buffers. Over 85 % of it HTTP/2 "
             "streams are refused, connections end with their response and idle ones are closed; over 95 % requests "
             "get 503. `auto`: a quarter of the memory (of the control group, where it has a limit), shared by the I/O "
             "processes, less their receive buffers; at least 16M."},
    {STRING(tmp_upload_dir), .group = BUFFERS, FOR(SUPERVISOR | IO),
     .help = "Directory of the files for held bodies. By default $TMPDIR, else /tmp."},

    {LIST(forwarded_allow_ips), .flags = "--forwarded-allow-ips", .group = PROXIES, .initial = "127.0.0.1,::1", FOR(IO),
     .help = "Peers whose X-Forwarded-* and Forwarded fields are believed: addresses, networks or `*`. Peers on unix "
             "sockets always are. When FORWARDED_ALLOW_IPS is in the environment it is the default."},
    {PAIRS(secure_scheme_headers), .group = PROXIES,
     .initial = "X-FORWARDED-PROTOCOL=ssl,X-FORWARDED-PROTO=https,X-FORWARDED-SSL=on", FOR(IO),
     .help = "Fields and values by which a trusted peer says that the client came by https. Contradicting ones: 400."},
    {LIST(forwarder_headers), .flags = "--forwarder-headers", .group = PROXIES, .initial = "SCRIPT_NAME,PATH_INFO",
     FOR(IO), .help = "Field names with an underscore that a trusted peer may set all the same."},
    {WORD(header_map), .flags = "--header-map", .group = PROXIES, .initial = "drop", FOR(IO),
     .help = "What to do with a field name that has an underscore, and so could pass for another one in a WSGI "
             "environ: `drop` the field, `refuse` the request, or let it pass (`dangerous`)."},
    {WORD(proxy_protocol), .flags = "--proxy-protocol", .alone = "auto", .group = PROXIES, .initial = "off", FOR(IO),
     .help = "Connections begin with a PROXY header: `v1`, `v2`, or `auto` for either."},
    {LIST(proxy_allow_ips), .flags = "--proxy-allow-from", .group = PROXIES, .initial = "127.0.0.1,::1", FOR(IO),
     .help = "Peers that may send a PROXY header; others get 403. Same forms as `forwarded_allow_ips`."},
    {STRING(root_path), .flags = "--root-path", .group = PROXIES, .initial = "", FOR(APP),
     .help = "root_path of the ASGI scope: the prefix at which the proxy has mounted the application."},
    {STRING(server_header), .group = PROXIES, .initial = "uroboros", FOR(IO),
     .help = "Value of the Server response field where the application sets none. Empty: no field."},

    {FOREIGN(permit_unconventional_http_method), .flags = "--permit-unconventional-http-method", .alone = "true",
     .group = DIALECT, .initial = "false", WITHOUT("every method that RFC 9110 calls a token is accepted"),
     .help = "Accept unusual method names."},
    {BOOL(casefold_http_method), .flags = "--casefold-http-method", .group = DIALECT, .initial = "false", FOR(IO),
     LATER("methods are passed on as they were sent"), .help = "Turn methods to upper case."},
    {FOREIGN(permit_obsolete_folding), .flags = "--permit-obsolete-folding", .alone = "true", .group = DIALECT,
     .initial = "false", WITHOUT(always_strict), .help = "Accept folded header lines."},
    {FOREIGN(strip_header_spaces), .flags = "--strip-header-spaces", .alone = "true", .group = DIALECT,
     .initial = "false", WITHOUT(always_strict), .help = "Accept spaces before the colon of a field."},
    {FOREIGN(permit_unconventional_http_version), .flags = "--permit-unconventional-http-version", .alone = "true",
     .group = DIALECT, .initial = "false", WITHOUT(always_strict), .help = "Accept versions other than 1.0 and 1.1."},
    {FOREIGN(http_parser), .flags = "--http-parser", .group = DIALECT, .initial = "auto",
     WITHOUT("there is one parser"), .help = "Which of Gunicorn's parsers to use."},

    {STRING(accesslog), .flags = "--access-logfile", .group = LOGS, FOR(SUPERVISOR | IO),
     .help = "Access log: a path, or `-` for standard output. Off by default."},
    {STRING(access_log_format), .flags = "--access-logformat", .group = LOGS,
     .initial = "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\"", FOR(IO),
     .help = "Gunicorn's format of an access line, or the word `json` for one JSON object per line."},
    {STRING(errorlog), .flags = "--error-logfile --log-file", .group = LOGS, .initial = "-", FOR(SUPERVISOR),
     .help = "Error log: a path, or `-` for standard error."},
    {WORD_OF(loglevel, log_level), .flags = "--log-level", .group = LOGS, .initial = "info", FOR(ALL),
     .help = "Least severe messages that the error log keeps."},
    {BOOL(capture_output), .flags = "--capture-output", .group = LOGS, .initial = "true", FOR(SUPERVISOR | APP),
     .help = "The application's stdout and stderr go to the error log, line by line; else to those of the daemon, "
             "unchanged. Exceptions and `wsgi.errors` go to the error log either way."},
    {STRING(logger_class), .flags = "--logger-class", .group = LOGS, FOR(APP), LATER(comes_with_sinks),
     .help = "Python class that logs."},
    {STRING(logconfig), .flags = "--log-config", .group = LOGS, FOR(APP), LATER(comes_with_sinks),
     .help = "Python logging configuration file."},
    {.name = "logconfig_dict",
     .type = SETTING_PAIRS,
     .field = SETTING_NO_FIELD,
     .group = LOGS,
     LATER(comes_with_sinks),
     .help = "The same as a dictionary."},
    {STRING(logconfig_json), .flags = "--log-config-json", .group = LOGS, FOR(APP), LATER(comes_with_sinks),
     .help = "The same as a JSON file."},
    {BOOL(syslog), .flags = "--log-syslog", .group = LOGS, .initial = "false", FOR(SUPERVISOR | IO),
     LATER(comes_with_sinks), .help = "Send the logs to syslog."},
    {STRING(syslog_addr), .flags = "--log-syslog-to", .group = LOGS, .initial = "udp://localhost:514", FOR(SUPERVISOR),
     LATER(comes_with_sinks), .help = "Address of the syslog server."},
    {STRING(syslog_prefix), .flags = "--log-syslog-prefix", .group = LOGS, FOR(SUPERVISOR), LATER(comes_with_sinks),
     .help = "Program name in syslog."},
    {STRING(syslog_facility), .flags = "--log-syslog-facility", .group = LOGS, .initial = "user", FOR(SUPERVISOR),
     LATER(comes_with_sinks), .help = "Facility in syslog."},
    {BOOL(disable_redirect_access_to_syslog), .flags = "--disable-redirect-access-to-syslog", .group = LOGS,
     .initial = "false", FOR(SUPERVISOR), LATER(comes_with_sinks), .help = "Keep access lines out of syslog."},
    {STRING(statsd_host), .flags = "--statsd-host", .group = LOGS, FOR(SUPERVISOR), LATER(comes_with_sinks),
     .help = "Address of a statsd server."},
    {STRING(statsd_prefix), .flags = "--statsd-prefix", .group = LOGS, FOR(SUPERVISOR), LATER(comes_with_sinks),
     .help = "Prefix of statsd names."},
    {STRING(dogstatsd_tags), .flags = "--dogstatsd-tags", .group = LOGS, FOR(SUPERVISOR), LATER(comes_with_sinks),
     .help = "Tags of statsd metrics."},
    {BOOL(enable_backlog_metric), .flags = "--enable-backlog-metric", .group = LOGS, .initial = "false",
     FOR(SUPERVISOR), LATER(comes_with_sinks), .help = "Report the length of the accept queues."},

    {BOOL(daemon), .flags = "-D --daemon", .group = DAEMON, .initial = "false", FOR(SUPERVISOR), RESTART,
     .help = "Detach from the terminal and run in the background."},
    {STRING(pidfile), .flags = "-p --pid", .group = DAEMON, FOR(SUPERVISOR), RESTART,
     .help = "File to write the supervisor's process id to."},
    {IDENTITY(user), .flags = "-u --user", .group = DAEMON, FOR(ALL), RESTART,
     .help = "User, by name or number, that the I/O and app processes change to."},
    {IDENTITY(group), .flags = "-g --group", .group = DAEMON, FOR(ALL), RESTART,
     .help = "Group, by name or number, that the I/O and app processes change to."},
    {BOOL(initgroups), .flags = "--initgroups", .group = DAEMON, .initial = "false", FOR(ALL), RESTART,
     .help = "Give these processes the supplementary groups of `user` too."},
    {MODE(umask), .flags = "-m --umask", .group = DAEMON, .initial = "0", FOR(ALL), RESTART,
     .help = "File mode mask, which also decides the mode of unix sockets. A leading 0 or 0o makes it octal."},
    {STRING(proc_name), .flags = "-n --name", .group = DAEMON, FOR(ALL), RESTART,
     .help = "Name in the process titles. By default the application's."},
    {STRING(default_proc_name), .group = DAEMON, FOR(ALL), RESTART,
     .help = "Stands in for `proc_name` when that is not set."},
    {BOOL(check_config), .flags = "--check-config", .group = DAEMON, .initial = "false", FOR(SUPERVISOR | APP), RESTART,
     .help = "Check the settings, load the application, and exit: status 0 when all is well."},
    {BOOL(print_config), .flags = "--print-config", .group = DAEMON, .initial = "false", FOR(SUPERVISOR), RESTART,
     .help = "Print every setting with its value and where it came from, then exit."},
    {BOOL(reload), .flags = "--reload", .group = DAEMON, .initial = "false", FOR(SUPERVISOR), RESTART,
     LATER(comes_with_reloader), .help = "Replace the app processes when a source file changes."},
    {WORD(reload_engine), .flags = "--reload-engine", .group = DAEMON, .initial = "auto", FOR(SUPERVISOR), RESTART,
     LATER(comes_with_reloader), .help = "How files are watched."},
    {LINES(reload_extra_files), .flags = "--reload-extra-file", .group = DAEMON, FOR(SUPERVISOR), RESTART,
     LATER(comes_with_reloader), .help = "Further files to watch."},
    {STRING(control_socket), .flags = "--control-socket", .group = DAEMON, FOR(SUPERVISOR), RESTART,
     LATER(comes_with_control), .help = "Path of the control socket. Off by default."},
    {MODE(control_socket_mode), .flags = "--control-socket-mode", .group = DAEMON, .initial = "0600", FOR(SUPERVISOR),
     RESTART, LATER(comes_with_control), .help = "File mode of the control socket."},
    {BOOL(control_socket_disable), .flags = "--no-control-socket", .group = DAEMON, .initial = "false", FOR(SUPERVISOR),
     RESTART, .help = "Keep the control socket off, which it is unless `control_socket` asks for it."},

    {LIST(certfile), .flags = "--certfile", .group = TLS, FOR(SUPERVISOR),
     .help = "Certificate chain in PEM, the server's own first; it turns TLS on for every address of `bind`. Several, "
             "separated by commas, are chosen by the name that a client asks for and by what it can verify. Files are "
             "watched: new ones serve new connections a second or two later, broken ones are refused with a message."},
    {LIST(keyfile), .flags = "--keyfile", .group = TLS, FOR(SUPERVISOR),
     .help = "Private key in PEM, one for each `certfile`. Without it the key is looked for in the certificate's file. "
             "Of a systemd service it may be a credential, ${CREDENTIALS_DIRECTORY}/NAME, as may every file of TLS."},
    {STRING(keyfile_password_file), .group = TLS, FOR(SUPERVISOR),
     .help = "File whose first line is the password of encrypted keys."},
    {LIST(ocsp_file), .group = TLS, FOR(SUPERVISOR),
     .help = "OCSP response in DER to staple, one for each `certfile`; watched as they are."},
    {STRING(ca_certs), .flags = "--ca-certs", .group = TLS, FOR(SUPERVISOR | IO),
     .help = "Authorities, in PEM, that client certificates are checked against."},
    {WORD(cert_reqs), .flags = "--cert-reqs", .group = TLS, .initial = "none", FOR(IO),
     .help = "Client certificates: `none` is asked for, one is `optional`, or `required`. Python's numbers 0, 1, 2 and "
             "its names, as in ssl.CERT_REQUIRED, mean the same."},
    {STRING(ciphers), .flags = "--ciphers", .group = TLS, FOR(IO),
     .help = "Cipher suites of TLS 1.2 as an OpenSSL list. Only those with ECDHE and an AEAD are ever used; a list "
             "that has none of them is refused. TLS 1.3 has no choice to make."},
    {WORD(ssl_version), .flags = "--ssl-version", .group = TLS, .initial = "TLS", FOR(IO),
     .help = "Gunicorn's name for the oldest version, which Gunicorn itself ignores: `TLSv1_2` and `TLSv1_3` raise "
             "`tls_min_version`, `TLS` leaves it alone."},
    {WORD(tls_min_version), .group = TLS, .initial = "1.2", FOR(IO), .help = "Oldest version of TLS that is spoken."},
    {STRING(tls_groups), .group = TLS, .initial = "X25519:P-256", FOR(IO),
     .help = "Groups for the key exchange, the preferred one first, separated by colons."},
    {LIST(http_protocols), .flags = "--http-protocols", .group = TLS, .initial = "h2,h1", FOR(SUPERVISOR | IO),
     .help = "Protocols offered on TLS connections (ALPN), the preferred one first: h2, h1. A client that offers no "
             "protocol at all gets HTTP/1.1. The classes `sync` and `tornado` serve h1 only."},
    {BOOL(tls_strict_sni), .group = TLS, .initial = "false", FOR(IO),
     .help = "Refuse a client that asks for a name which no certificate has (unrecognized_name), instead of showing "
             "the first certificate."},
    {BOOL(tls_tickets), .group = TLS, .initial = "true", FOR(SUPERVISOR | IO),
     .help = "Resume sessions by tickets. Their keys are random, the same in all I/O processes, kept over reloads and "
             "exchanged every 12 hours."},
    {STRING(tls_ticket_keys), .group = TLS, FOR(SUPERVISOR),
     .help = "File with one to three ticket keys of 80 octets each, as `openssl rand 80` writes them, for servers that "
             "share sessions: the first seals, all of them open. It is watched, and whoever writes it rotates. The "
             "format is that of nginx's 80-octet keys."},
    {BOOL(tls_early_data), .group = TLS, .initial = "false", FOR(IO),
     .help = "Take TLS 1.3 early data (0-RTT): GET, HEAD and OPTIONS without a body only, with `Early-Data: 1` for the "
             "application; anything else gets 425. Early data can be replayed by an attacker, so an application must "
             "know what it answers."},
    {WORD(ktls), .group = TLS, .initial = "auto", FOR(IO), RESTART,
     .help = "What of TLS the kernel does once the handshake is complete, where it can (the module `tls`). `tx`: it "
             "encrypts. `both`: it decrypts too. `auto`: it encrypts, and decrypts if it can take new keys (Linux 6.14 "
             "and newer). `off`: all is done in the server. What the kernel cannot do is always done in the server."},
    {BOOL(dev_tls), .group = TLS, .initial = "false", FOR(SUPERVISOR), RESTART,
     .help =
         "TLS with a development certificate for localhost, 127.0.0.1 and ::1. The program `openssl` makes it once, "
         "in $XDG_STATE_HOME/uroboros or ~/.local/state/uroboros. No authority has signed it, so browsers warn."},
    {FOREIGN(suppress_ragged_eofs), .flags = "--suppress-ragged-eofs", .alone = "true", .group = TLS, .initial = "true",
     WITHOUT("it is a detail of Python's ssl module"), .help = "A detail of Python's ssl module."},
    {FOREIGN(do_handshake_on_connect), .flags = "--do-handshake-on-connect", .alone = "true", .group = TLS,
     .initial = "false", WITHOUT("no handshake ever blocks another connection"), .help = "Handshake at accept."},

    {WORD(http2_cleartext), .flags = "--http2-cleartext", .group = HTTP2, .initial = "off", FOR(IO),
     .help = "HTTP/2 without TLS, on the addresses that have none: a client that knows begins with it "
             "(`prior-knowledge`), others go on in HTTP/1.1. Gunicorn's `both` means the same here; its `upgrade` is "
             "not offered, because RFC 9113 has removed it."},
    {COUNT(http2_max_concurrent_streams), .flags = "--http2-max-concurrent-streams", .group = HTTP2, .initial = "100",
     RANGE(1, 10'000), FOR(IO),
     .help = "Streams that a connection may have open. A stream counts until the application is done with it, even "
             "when the client has reset it."},
    {SIZE(http2_initial_window_size), .flags = "--http2-initial-window-size", .group = HTTP2, .initial = "65535",
     RANGE(1, NUMBER_MAX), FOR(IO),
     .help = "Bytes of a request body that may be under way on one stream before the application has read them. "
             "Streams whose application reads fast are given more, up to `http2_window_max`."},
    {SIZE(http2_window_max), .group = HTTP2, .initial = "1M", RANGE(0, 256 * MIB), FOR(IO),
     .help =
         "Bytes to which the window of a stream, and of a connection, may grow while what comes is taken as fast as "
         "it comes. `http2_initial_window_size` or less: windows stay as they are."},
    {SIZE(http2_max_frame_size), .flags = "--http2-max-frame-size", .group = HTTP2, .initial = "16384",
     RANGE(16'384, 16'777'215), FOR(IO),
     .help = "Largest frame that is accepted. Frames are worked on as they arrive: a larger one takes no more memory."},
    {SIZE(http2_max_header_list_size), .flags = "--http2-max-header-list-size", .group = HTTP2, .initial = "65536",
     RANGE(1 * KIB, 1 * MIB), FOR(IO),
     .help = "Bytes of a decoded field section, with 32 for each field; 431 beyond. The limits of a request head, "
             "`limit_request_fields` and `limit_request_field_size`, hold as well."},
    {COUNT(http2_max_requests_per_connection), .group = HTTP2, .initial = "0", RANGE(0, NUMBER_MAX), FOR(IO),
     .help = "Requests after which a connection is asked to make room for a new one (GOAWAY). 0: no limit."},
    {DURATION(http2_ping_interval), .group = HTTP2, .initial = "60", FOR(IO),
     .help = "Seconds of silence after which a client is asked whether it is still there (PING). 0: never."},
    {DURATION(http2_idle_timeout), .group = HTTP2, .initial = "180", FOR(IO),
     .help = "Seconds that a connection may stay open without a request; `keepalive` where that is longer, or where "
             "this is 0."},

    {WORD_OF(protocol, wire_protocol), .flags = "--protocol", .group = UWSGI, .initial = "http", FOR(IO), RESTART,
     .help = "What is spoken on the listening sockets."},
    {LIST(uwsgi_allow_ips), .flags = "--uwsgi-allow-from", .group = UWSGI, .initial = "127.0.0.1,::1", FOR(IO),
     LATER("it comes with the uwsgi protocol"), .help = "Peers that may speak uwsgi."},

    {SERVER_HOOK(on_starting),
     .help =
         "on_starting(server): before any app process is started. If it raises, the server does not start. This and "
         "the other hooks with `server` alone, pre_fork, child_exit and nworkers_changed are called in a process of "
         "their own, see docs/applications.md."},
    {SERVER_HOOK(on_reload), .help = "on_reload(server): at a reload, before new app processes are started."},
    {SERVER_HOOK(when_ready),
     .help = "when_ready(server): all app processes are ready and the server accepts requests."},
    {SERVER_HOOK(pre_fork), .help = "pre_fork(server, worker): an app process is about to start."},
    {HOOK(post_fork), .help = "post_fork(server, worker): in an app process, before the application is loaded."},
    {HOOK(post_worker_init), .help = "post_worker_init(worker): in an app process, the application is loaded."},
    {HOOK(worker_int), .help = "worker_int(worker): in an app process that is told to stop at once."},
    {HOOK(worker_abort),
     .help = "worker_abort(worker): in an app process that `timeout` ends, in a thread of its own, as soon as Python "
             "code may run beside what is stuck."},
    {SERVER_HOOK(pre_exec), .help = "pre_exec(server): before the server executes another program (SIGUSR2)."},
    {HOOK(pre_request), .help = "pre_request(worker, request): before each request."},
    {HOOK(post_request), .help = "post_request(worker, request, environ, response): after each request."},
    {SERVER_HOOK(child_exit), .help = "child_exit(server, worker): an app process has ended."},
    {HOOK(worker_exit), .help = "worker_exit(server, worker): in an app process, before it ends."},
    {SERVER_HOOK(nworkers_changed),
     .help = "nworkers_changed(server, new, old): the number of app processes was set; `old` is None at the start."},
    {SERVER_HOOK(on_exit), .help = "on_exit(server): before the server ends, when all app processes have."},
    {FOREIGN(ssl_context), .group = HOOKS,
     REFUSED(
         "TLS is done without Python's ssl module, so no SSLContext can be used; set certfile, keyfile, ciphers and "
         "ca_certs instead"),
     .help = "ssl_context(config, default_factory): returns a Python SSLContext."},

    {FOREIGN(worker_tmp_dir), .flags = "--worker-tmp-dir", .group = ELSEWHERE,
     WITHOUT("heartbeats are words in shared memory, not files"), .help = "Directory of Gunicorn's heartbeat files."},
    {FOREIGN(enable_stdio_inheritance), .flags = "-R --enable-stdio-inheritance", .alone = "true", .group = ELSEWHERE,
     .initial = "false", WITHOUT("app output reaches the error log line by line anyway"),
     .help = "Unbuffered standard streams."},
    {FOREIGN(paste), .flags = "--paste --paster", .group = ELSEWHERE,
     REFUSED("PasteDeploy files are not read; name the application in wsgi_app"), .help = "PasteDeploy file."},
    {FOREIGN(raw_paste_global_conf), .flags = "--paste-global", .group = ELSEWHERE,
     REFUSED("PasteDeploy files are not read"), .help = "PasteDeploy globals."},
    {FOREIGN(spew), .flags = "--spew", .alone = "true", .group = ELSEWHERE, .initial = "false",
     REFUSED("tracing every line is a debugger's work; use python -m trace"), .help = "Trace every line."},
    {FOREIGN(dirty_apps), .flags = "--dirty-app", .group = ELSEWHERE, REFUSED(no_dirty_arbiters),
     .help = "Dirty arbiter applications."},
    {FOREIGN(dirty_workers), .flags = "--dirty-workers", .group = ELSEWHERE, .initial = "0", REFUSED(no_dirty_arbiters),
     .help = "Dirty arbiter processes."},
    {FOREIGN(dirty_timeout), .flags = "--dirty-timeout", .group = ELSEWHERE, .initial = "300",
     REFUSED(no_dirty_arbiters), .help = "Dirty arbiter timeout."},
    {FOREIGN(dirty_threads), .flags = "--dirty-threads", .group = ELSEWHERE, .initial = "1", REFUSED(no_dirty_arbiters),
     .help = "Dirty arbiter threads."},
    {FOREIGN(dirty_graceful_timeout), .flags = "--dirty-graceful-timeout", .group = ELSEWHERE, .initial = "30",
     REFUSED(no_dirty_arbiters), .help = "Dirty arbiter stop time."},
    {FOREIGN(on_dirty_starting), .group = ELSEWHERE, REFUSED(no_dirty_arbiters), .help = "Dirty arbiter hook."},
    {FOREIGN(dirty_post_fork), .group = ELSEWHERE, REFUSED(no_dirty_arbiters), .help = "Dirty arbiter hook."},
    {FOREIGN(dirty_worker_init), .group = ELSEWHERE, REFUSED(no_dirty_arbiters), .help = "Dirty arbiter hook."},
    {FOREIGN(dirty_worker_exit), .group = ELSEWHERE, REFUSED(no_dirty_arbiters), .help = "Dirty arbiter hook."},

    {LINES(file_environ), FOR(APP)},
    {STRING(start_directory), FOR(SUPERVISOR)},
};

enum { TABLE_ROWS = sizeof(table) / sizeof(table[0]), NAME_BYTES_MAX = 64 };

size_t setting_count(void)
{
    return TABLE_ROWS;
}

const struct setting *setting_at(size_t index)
{
    assert(index < TABLE_ROWS);
    return &table[index];
}

size_t setting_index(const struct setting *setting)
{
    assert(setting >= table && setting < table + TABLE_ROWS);
    return (size_t)(setting - table);
}

static bool same_name(const char *written, const char *name)
{
    for (; *name != '\0'; written++, name++)
        if (*written != *name && !(*written == '-' && *name == '_'))
            return false;
    return *written == '\0';
}

const struct setting *setting_find(const char *name)
{
    for (size_t i = 0; i < TABLE_ROWS; i++)
        if (table[i].group != NULL && same_name(name, table[i].name))
            return &table[i];
    return NULL;
}

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Levenshtein's distance, one row of the matrix at a time. Both names are shorter than NAME_BYTES_MAX. */
static size_t edit_distance(const char *left, const char *right)
{
    size_t row[NAME_BYTES_MAX];
    size_t width = strlen(right);

    for (size_t j = 0; j <= width; j++)
        row[j] = j;
    for (size_t i = 0; left[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            size_t substituted = diagonal + (left[i] != right[j] && !(left[i] == '-' && right[j] == '_'));
            diagonal = row[j + 1];
            row[j + 1] = smallest(row[j] + 1, row[j + 1] + 1, substituted);
        }
    }
    return row[width];
}

const struct setting *setting_nearest(const char *name)
{
    const struct setting *nearest = NULL;
    size_t length = strlen(name);
    /* A third of the letters may be wrong: enough for two slips in a word, too few to take one setting for another. */
    size_t best = (length < 6 ? 2 : length / 3) + 1;

    if (length >= NAME_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < TABLE_ROWS; i++) {
        if (table[i].group == NULL)
            continue;
        size_t distance = edit_distance(name, table[i].name);
        if (distance < best) {
            best = distance;
            nearest = &table[i];
        }
    }
    return nearest;
}
