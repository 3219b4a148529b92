/*
 * Schema: every setting of the server, once. The struct below holds the values, the table in schema.c says all else.
 *
 * Owns:    nothing; the text of a `struct settings` lives in its arena and goes with settings_deinit().
 * Threads: the table is constant; a `struct settings` is filled by its loader and then only read.
 * Naming:  a field is named as its setting. A duration is written in seconds and kept as `NAME_ms`; a size is kept in
 *          bytes. After settings_load() no field says "auto": numbers are resolved, enums that are answered at run time
 *          (worker_class, asgi_loop, engine, the bufferings) keep an AUTO.
 */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/log.h"

struct string_list {
    size_t count;
    char **items;
};

enum worker_class {
    WORKER_CLASS_AUTO,
    WORKER_CLASS_SYNC,
    WORKER_CLASS_GTHREAD,
    WORKER_CLASS_ASGI,
    WORKER_CLASS_GEVENT,
    WORKER_CLASS_TORNADO,
    WORKER_CLASS_EVENTLET
};
enum asgi_loop { ASGI_LOOP_AUTO, ASGI_LOOP_ASYNCIO, ASGI_LOOP_UVLOOP };
enum asgi_lifespan { ASGI_LIFESPAN_AUTO, ASGI_LIFESPAN_ON, ASGI_LIFESPAN_OFF };
enum asgi_tasks { ASGI_TASKS_POOLED, ASGI_TASKS_TASK };
enum engine { ENGINE_AUTO, ENGINE_IO_URING };
enum buffering { BUFFERING_AUTO, BUFFERING_ON, BUFFERING_OFF };
enum proxy_protocol { PROXY_PROTOCOL_OFF, PROXY_PROTOCOL_V1, PROXY_PROTOCOL_V2, PROXY_PROTOCOL_AUTO };
/* Of an address: its own, or that of the setting. */
enum listen_proxy { LISTEN_PROXY_OF_ALL, LISTEN_PROXY_OFF, LISTEN_PROXY_V1, LISTEN_PROXY_V2, LISTEN_PROXY_AUTO };
enum header_map { HEADER_MAP_DROP, HEADER_MAP_REFUSE, HEADER_MAP_DANGEROUS };
enum wire_protocol { WIRE_PROTOCOL_HTTP, WIRE_PROTOCOL_UWSGI };
enum spin { SPIN_SLEEP, SPIN_ADAPTIVE, SPIN_BUSY };
enum cert_reqs { CERT_REQS_NONE, CERT_REQS_OPTIONAL, CERT_REQS_REQUIRED };
enum ssl_version { SSL_VERSION_ANY, SSL_VERSION_TLS12, SSL_VERSION_TLS13 };
enum tls_min_version { TLS_MIN_VERSION_12, TLS_MIN_VERSION_13 };
enum ktls { KTLS_USE_AUTO, KTLS_USE_TX, KTLS_USE_BOTH, KTLS_USE_OFF };
enum http2_cleartext { HTTP2_CLEARTEXT_OFF, HTTP2_CLEARTEXT_PRIOR_KNOWLEDGE, HTTP2_CLEARTEXT_BOTH };
enum reload_engine { RELOAD_ENGINE_AUTO, RELOAD_ENGINE_POLL, RELOAD_ENGINE_INOTIFY };

struct settings_arena;

/* A string that was not set, or set empty, is NULL; a list that was not set is empty. Relative paths are meant from
 * `chdir`. */
struct settings {
    /* Application */
    char *config;   /* absolute path of the file that was read, or "python:MODULE"; NULL without a file */
    char *wsgi_app; /* MODULE, MODULE:ATTRIBUTE or MODULE:FACTORY(ARGUMENTS) */
    bool factory;   /* call the attribute without arguments to get the application */
    char *chdir;    /* absolute; the supervisor goes there before anything else */
    char *python;   /* path of an interpreter, or "embedded"; never NULL after settings_load() */
    char *venv;
    struct string_list pythonpath;
    struct string_list raw_env;      /* NAME=VALUE */
    struct string_list file_environ; /* what a Python file did to os.environ: NAME=VALUE, or NAME where it was deleted;
                                        for app processes, below raw_env */

    /* Addresses */
    struct string_list bind;   /* each parses with bind_address_parse() */
    struct string_list listen; /* each parses with listen_table_parse() */
    int64_t backlog;
    bool reuse_port;

    /* Worker processes */
    int64_t workers;
    enum worker_class worker_class; /* AUTO, SYNC, GTHREAD or ASGI; the others are refused until they are built */
    int64_t threads;
    int64_t worker_connections;
    int64_t max_requests; /* 0: never recycled */
    int64_t max_requests_jitter;
    int64_t timeout_ms; /* 0: no limit, as is graceful_timeout_ms */
    int64_t graceful_timeout_ms;
    bool preload_app;
    enum asgi_loop asgi_loop;
    enum asgi_lifespan asgi_lifespan;
    int64_t asgi_disconnect_grace_period_ms;
    enum asgi_tasks asgi_tasks;

    /* I/O processes */
    int64_t rings;
    enum engine engine;
    struct string_list cpu_affinity; /* CPU of I/O process N is item N modulo count; empty: not pinned */
    enum spin spin;
    int64_t max_connections; /* per I/O process */
    int64_t recv_buffers;
    int64_t recv_buffer_size;
    int64_t upload_buffers;
    int64_t upload_buffer_size;
    int64_t request_slots;
    int64_t outbound_arena;
    char *health_path;
    char *metrics_path;
    bool sendfile;

    /* Timeouts; 0: off */
    int64_t keepalive_ms;
    int64_t head_timeout_ms;
    int64_t body_timeout_ms;
    int64_t body_rate_min; /* bytes per second */
    int64_t write_timeout_ms;
    int64_t write_rate_min;
    int64_t queue_timeout_ms;
    int64_t request_timeout_ms;

    /* Limits */
    int64_t limit_request_line; /* never 0 after settings_load(): Gunicorn's 0, no limit, becomes the highest */
    int64_t limit_request_fields;
    int64_t limit_request_field_size;
    int64_t limit_request_body; /* 0: no limit */
    int64_t pipeline_max;
    int64_t queue_size;

    /* Buffering */
    enum buffering request_buffering;
    int64_t request_buffer_max;
    int64_t request_spool_max;
    enum buffering response_buffering;
    int64_t response_buffer_max;
    int64_t response_buffer_total;
    int64_t client_memory_max;
    char *tmp_upload_dir; /* never NULL after settings_load() */

    /* Proxies in front */
    struct string_list forwarded_allow_ips;   /* parses with address_set_init(), as does proxy_allow_ips */
    struct string_list secure_scheme_headers; /* NAME=VALUE, the name in upper case */
    struct string_list forwarder_headers;     /* upper case, underscores */
    enum header_map header_map;
    enum proxy_protocol proxy_protocol;
    struct string_list proxy_allow_ips;
    char *root_path;
    char *server_header; /* NULL: no Server field */

    /* HTTP dialect */
    bool permit_unconventional_http_method;
    bool casefold_http_method;

    /* Logs */
    char *accesslog; /* path, "-" for stdout, NULL: off */
    char *access_log_format;
    char *errorlog; /* path, "-" for stderr */
    enum log_level loglevel;
    bool capture_output;
    char *logger_class;
    char *logconfig;
    char *logconfig_json;
    bool syslog;
    char *syslog_addr;
    char *syslog_prefix;
    char *syslog_facility;
    bool disable_redirect_access_to_syslog;
    char *statsd_host;
    char *statsd_prefix;
    char *dogstatsd_tags;
    bool enable_backlog_metric;

    /* Daemon */
    bool daemon;
    char *pidfile;
    char *user; /* name or number, as is group */
    char *group;
    bool initgroups;
    int64_t umask;
    char *proc_name; /* base of the process titles; never NULL after settings_load() */
    char *default_proc_name;
    bool check_config; /* load the application in one app process, then exit 0 or 1 */
    bool print_config;
    bool reload;
    enum reload_engine reload_engine;
    struct string_list reload_extra_files;
    char *control_socket;
    int64_t control_socket_mode;
    bool control_socket_disable;

    /* TLS; all paths are absolute after settings_load() */
    struct string_list certfile;
    struct string_list keyfile;   /* as many as certfile: item N has the key of certificate N */
    struct string_list ocsp_file; /* none, or as many as certfile */
    char *keyfile_password_file;
    char *ca_certs;
    enum cert_reqs cert_reqs;
    char *ciphers;                /* of TLS 1.2 */
    enum ssl_version ssl_version; /* is part of tls_min_version after settings_load() */
    enum tls_min_version tls_min_version;
    char *tls_groups;                  /* NAME:NAME:...; never NULL after settings_load() */
    struct string_list http_protocols; /* "h2", "h1", each at most once, the preferred one first */
    bool tls_strict_sni;
    bool tls_early_data;
    enum ktls ktls;
    bool tls_tickets;
    bool dev_tls; /* after settings_load() certfile and keyfile name what it makes */
    char *tls_ticket_keys;

    /* HTTP/2 */
    enum http2_cleartext http2_cleartext; /* OFF or PRIOR_KNOWLEDGE after settings_load() */
    int64_t http2_max_concurrent_streams;
    int64_t http2_initial_window_size;
    int64_t http2_window_max;
    int64_t http2_max_frame_size;
    int64_t http2_max_header_list_size;
    int64_t http2_max_requests_per_connection; /* 0: no limit */
    int64_t http2_ping_interval_ms;            /* 0: off */
    int64_t http2_idle_timeout_ms;             /* or keepalive_ms, the longer of them */

    /* uwsgi */
    enum wire_protocol protocol;
    struct string_list uwsgi_allow_ips;

    /* Hooks: the line of the function in the Python file `config`, 0 without one */
    int64_t on_starting;
    int64_t on_reload;
    int64_t when_ready;
    int64_t pre_fork;
    int64_t post_fork;
    int64_t post_worker_init;
    int64_t worker_int;
    int64_t worker_abort;
    int64_t pre_exec;
    int64_t pre_request;
    int64_t post_request;
    int64_t child_exit;
    int64_t worker_exit;
    int64_t nworkers_changed;
    int64_t on_exit;

    char *start_directory; /* absolute; where the daemon was started, for a later reload */
    struct settings_arena *arena;
};

/* Frees all text. Harmless on a zeroed object. */
void settings_deinit(struct settings *settings);

/* How a value is written, checked and kept. */
enum setting_type {
    SETTING_BOOL,     /* bool */
    SETTING_COUNT,    /* int64_t */
    SETTING_SIZE,     /* int64_t, bytes; K, M and G may follow the number */
    SETTING_DURATION, /* int64_t, milliseconds; seconds outside, with fractions */
    SETTING_MODE,     /* int64_t, octal outside */
    SETTING_WORD,     /* an enum of the words listed */
    SETTING_STRING,   /* char * */
    SETTING_IDENTITY, /* char *; a name or a number */
    SETTING_LIST,     /* struct string_list */
    SETTING_PAIRS,    /* struct string_list of NAME=VALUE; a table in a file */
    SETTING_TABLES,   /* struct string_list, NAME=VALUE lines in each item; an array of tables, which only a file has */
    SETTING_HOOK      /* int64_t, a line number; only a Python file can set it */
};

enum setting_status {
    SETTING_EFFECTIVE,
    SETTING_NO_EFFECT_YET, /* known, waits for a later part; `reason` says which */
    SETTING_NO_EFFECT,     /* known from Gunicorn, without meaning in this engine; `reason` says why */
    SETTING_REFUSED        /* known from Gunicorn, never built; setting it is an error with `reason` */
};

enum setting_process { SETTING_SUPERVISOR = 1, SETTING_IO = 2, SETTING_APP = 4 };

enum setting_reload {
    SETTING_RELOADS,      /* a reload applies it: live, or because the app processes are replaced */
    SETTING_NEEDS_RESTART /* a reload reports that it changed, and keeps the old value */
};

/* One word of a SETTING_WORD. `refusal` is NULL for a word that may be used. */
struct setting_word {
    const char *word;
    int value;
    const char *refusal;
};

enum { SETTING_NO_FIELD = -1, SETTING_AUTOMATIC = -1 };

struct setting {
    const char *name;
    const char *flags; /* "-w --workers"; every row also answers to --NAME, a bool to --no-NAME */
    const char *group; /* heading in the reference; NULL: internal, never written by a user */
    enum setting_type type;
    int field;             /* offset in struct settings, or SETTING_NO_FIELD */
    const char *initial;   /* the default as a user would write it; NULL: not set */
    const char *automatic; /* a word accepted beside numbers, SETTING_AUTOMATIC until the loader resolves it; or NULL */
    const char *alone;     /* the value of a flag that stands without one; or NULL */
    int64_t min, max;      /* in the unit that is kept */
    const struct setting_word *words; /* ended by a NULL word; the first word of a value is its canonical one */
    char separator;                   /* of list items in one string; 0: the string is one item */
    unsigned processes;               /* who needs it: enum setting_process */
    enum setting_reload reload;
    enum setting_status status;
    const char *reason;
    const char *help;
};

/* The field of a row, which must have one; of the C type that its setting_type names. */
static inline void *setting_field(const struct settings *settings, const struct setting *setting)
{
    return (char *)settings + setting->field;
}

size_t setting_count(void);
const struct setting *setting_at(size_t index);
size_t setting_index(const struct setting *setting);

/* By name; `-` counts as `_`. NULL: unknown, or internal. */
const struct setting *setting_find(const char *name);

/* The known setting nearest to a name that is not known, or NULL when none is near. */
const struct setting *setting_nearest(const char *name);

#endif
