/*
 * Metrics: what an I/O process counts, and why connections end.
 *
 * Owns:    the table of names. The page of numbers is the caller's, in memory that the supervisor may read.
 * Threads: each page has one writer, the loop thread of its I/O process; anybody may read.
 * Life:    a zeroed page is ready. Both sides are of one build, so the layout needs no version.
 */
#ifndef DAEMON_IO_METRICS_H
#define DAEMON_IO_METRICS_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* X(symbol, "word", "help"): each feeds the counter METRIC_CLOSED_symbol. */
#define CLOSE_REASONS(X)                                                                                \
    X(NONE, "none", "no reason was recorded, which is a fault of the server")                           \
    X(CLIENT_DONE, "client_done", "the client closed between requests")                                 \
    X(KEEPALIVE_IDLE, "keepalive_idle", "keepalive passed without another request")                     \
    X(REQUESTED, "requested", "one side asked with Connection: close, or HTTP/1.0 without keep-alive")  \
    X(HEAD_TIMEOUT, "head_timeout", "head_timeout passed before the request head was complete")         \
    X(BODY_TIMEOUT, "body_timeout", "body_timeout passed without an octet of the request body")         \
    X(BODY_RATE, "body_rate", "the request body came slower than body_rate_min")                        \
    X(WRITE_TIMEOUT, "write_timeout", "write_timeout passed without the client taking an octet")        \
    X(REQUEST_REJECTED, "request_rejected", "the request was malformed or beyond a limit")              \
    X(HTTP2_ERROR, "http2_error", "an HTTP/2 connection error, or a client that was told to calm down") \
    X(PROXY_HEADER, "proxy_header", "the PROXY protocol header was missing, malformed or not allowed")  \
    X(TLS_HANDSHAKE, "tls_handshake", "the TLS handshake failed, or was not over in time")              \
    X(TLS_ERROR, "tls_error", "the client broke TLS, or one of its limits, after the handshake")        \
    X(PLAIN_HTTP, "plain_http", "the client spoke HTTP without TLS to an address that speaks TLS")      \
    X(CLIENT_RESET, "client_reset", "the client reset the connection")                                  \
    X(CLIENT_EOF_EARLY, "client_eof_early", "the client closed in the middle of a request or response") \
    X(RESPONSE_INCOMPLETE, "response_incomplete", "a response that had begun could not be finished")    \
    X(APP_FAILED, "app_failed", "the application process died or broke the protocol")                   \
    X(APP_TIMEOUT, "app_timeout", "the application took longer than allowed")                           \
    X(QUEUE_TIMEOUT, "queue_timeout", "no application process took the request within queue_timeout")   \
    X(OVERLOAD, "overload", "the request queue or a buffer budget was full")                            \
    X(LIMIT_CONNECTIONS, "limit_connections", "max_connections was reached")                            \
    X(SHUTDOWN, "shutdown", "the server is stopping")                                                   \
    X(IO_ERROR, "io_error", "the kernel reported an error on the socket")

enum close_reason {
#define CLOSE_REASON_ENUM(symbol, word, help) CLOSE_##symbol,
    CLOSE_REASONS(CLOSE_REASON_ENUM)
#undef CLOSE_REASON_ENUM
        CLOSE_REASON_COUNT
};

/* The word of a reason, for a log line: "keepalive_idle". */
const char *close_reason_word(enum close_reason reason);

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

/* X(symbol, kind, "family", "label", "help"). Rows of one family stand together and differ in their label; the close
 * reasons follow as the family connections_closed. Names follow OpenMetrics: a counter's sample gets "_total". */
#define METRICS(X)                                                                                                     \
    X(CONNECTIONS_ACCEPTED, COUNTER, "connections_accepted", "", "Connections accepted")                               \
    X(CONNECTIONS_ACTIVE, GAUGE, "connections_active", "", "Connections open, idle ones included")                     \
    X(CONNECTIONS_IDLE, GAUGE, "connections_idle", "", "Connections parked between requests")                          \
    X(ACCEPT_EMFILE, COUNTER, "accept_emfile", "", "Times accepting paused for want of file descriptors")              \
    X(ACCEPT_SHED, COUNTER, "accept_shed", "", "Clients turned away at once for want of file descriptors")             \
    X(REQUESTS, COUNTER, "requests", "", "Requests whose head was complete and valid")                                 \
    X(REQUESTS_REJECTED, COUNTER, "requests_rejected", "", "Requests answered with an error before any application")   \
    X(MESSAGES_INVALID, COUNTER, "messages_invalid", "", "Messages of an application process that broke the protocol") \
    X(UNDERSCORE_FIELDS_DROPPED, COUNTER, "underscore_fields_dropped", "", "Request fields dropped by header_map")     \
    X(EARLY_HINTS, COUNTER, "early_hints", "", "Responses 103 sent")                                                   \
    X(HTTP2_CONNECTIONS, COUNTER, "http2_connections", "", "Connections that spoke HTTP/2")                            \
    X(HTTP2_RESETS, COUNTER, "http2_resets", "", "HTTP/2 streams ended by RST_STREAM, of either side")                 \
    X(HTTP2_WIDENED, GAUGE, "http2_widened_bytes", "", "Octets beyond the usual in windows of HTTP/2 connections")     \
    X(RESPONSES_1XX, COUNTER, "responses", "class=\"1xx\"", "Responses by class of status")                            \
    X(RESPONSES_2XX, COUNTER, "responses", "class=\"2xx\"", "")                                                        \
    X(RESPONSES_3XX, COUNTER, "responses", "class=\"3xx\"", "")                                                        \
    X(RESPONSES_4XX, COUNTER, "responses", "class=\"4xx\"", "")                                                        \
    X(RESPONSES_5XX, COUNTER, "responses", "class=\"5xx\"", "")                                                        \
    X(BYTES_RECEIVED, COUNTER, "received_bytes", "", "Octets received from clients")                                   \
    X(BYTES_SENT, COUNTER, "sent_bytes", "", "Octets sent to clients")                                                 \
    X(REQUEST_BODY_BYTES, COUNTER, "request_body_bytes", "", "Octets of request bodies, decoded")                      \
    X(RESPONSE_BODY_BYTES, COUNTER, "response_body_bytes", "", "Octets of response bodies, before framing")            \
    X(EXCHANGES_LIVE, GAUGE, "exchanges_live", "", "Requests between head and end of response")                        \
    X(SLOTS_LIVE, GAUGE, "slots_live", "", "Request slots claimed")                                                    \
    X(RECV_BUFFERS_LENT, GAUGE, "recv_buffers_lent", "", "Receive buffers held by requests")                           \
    X(STAGING_LIVE, GAUGE, "staging_live", "", "Blocks of the inbound arena's staging part in use")                    \
    X(SPOOL_BLOCKS, GAUGE, "request_spool_blocks", "", "Blocks of 64 KiB in use in the file of held bodies")           \
    X(EARLY_STARTS, COUNTER, "request_early_starts", "", "Requests begun before their body ended: a fast client's")    \
    X(FILES, COUNTER, "files", "", "Files that application processes handed over to be sent")                          \
    X(FILES_LIVE, GAUGE, "files_live", "", "Files that are being sent")                                                \
    X(FILE_BYTES_SENDFILE, COUNTER, "file_bytes", "way=\"sendfile\"", "Octets of such files, by the way they took")    \
    X(FILE_BYTES_READ, COUNTER, "file_bytes", "way=\"read\"", "")                                                      \
    X(FILE_COLD_READS, COUNTER, "file_cold_reads", "", "Reads of what sendfile would have had to wait for")            \
    X(MEMORY_BYTES, GAUGE, "client_memory_bytes", "", "Held for clients, of client_memory_max")                        \
    X(MEMORY_MAX, GAUGE, "client_memory_max_bytes", "", "The setting client_memory_max")                               \
    X(MEMORY_STEP, GAUGE, "client_memory_step", "", "0 normal, 1 scarce (over 85 %), 2 exhausted (over 95 %)")         \
    X(MEMORY_SCARCE, COUNTER, "client_memory_steps", "to=\"scarce\"", "Times that a step was entered")                 \
    X(MEMORY_EXHAUSTED, COUNTER, "client_memory_steps", "to=\"exhausted\"", "")                                        \
    X(MEMORY_STREAMS, COUNTER, "client_memory_refused", "what=\"stream\"", "What was refused for want of memory")      \
    X(MEMORY_REQUESTS, COUNTER, "client_memory_refused", "what=\"request\"", "")                                       \
    X(MEMORY_CONNECTIONS, COUNTER, "client_memory_refused", "what=\"connection\"", "")                                 \
    X(MEMORY_IDLE, COUNTER, "client_memory_refused", "what=\"idle\"", "")                                              \
    X(TIMERS_LIVE, GAUGE, "timers_live", "", "Timers armed")                                                           \
    X(DISPATCH_QUEUED, GAUGE, "dispatch_queued", "", "Requests that wait for any application process to have room")    \
    X(DISPATCH_RECALLED, COUNTER, "dispatch_recalled", "", "Requests taken back from a busy application process")      \
    X(DISPATCH_REDISPATCHED, COUNTER, "dispatch_redispatched", "", "Requests sent again after an application died")    \
    X(APP_DEATHS, COUNTER, "app_deaths", "", "Application processes that went while this process served them")         \
    X(APP_TIMEOUTS, COUNTER, "app_timeouts", "", "Requests that an application did not answer in time")                \
    X(ENOBUFS, COUNTER, "enobufs", "", "Receives that found no free buffer")                                           \
    X(CQ_OVERFLOWS, COUNTER, "cq_overflows", "", "Completion queue overflows")                                         \
    X(WAKES_SENT, COUNTER, "wakes_sent", "", "Doorbells rung")                                                         \
    X(WAKES_AVOIDED, COUNTER, "wakes_avoided", "", "Doorbells not needed, the other side was awake")                   \
    X(LOOP_TURNS, COUNTER, "loop_turns", "", "Turns of the event loop")                                                \
    X(COMPLETIONS, COUNTER, "completions", "", "Completions handled")                                                  \
    X(TLS_HANDSHAKES_FULL, COUNTER, "tls_handshakes", "kind=\"full\"", "TLS handshakes completed")                     \
    X(TLS_HANDSHAKES_RESUMED, COUNTER, "tls_handshakes", "kind=\"resumed\"", "")                                       \
    X(TLS_FAILED_PROTOCOL, COUNTER, "tls_handshake_failures", "reason=\"protocol\"", "TLS handshakes that failed")     \
    X(TLS_FAILED_VERSION, COUNTER, "tls_handshake_failures", "reason=\"version\"", "")                                 \
    X(TLS_FAILED_CIPHER, COUNTER, "tls_handshake_failures", "reason=\"cipher\"", "")                                   \
    X(TLS_FAILED_ALPN, COUNTER, "tls_handshake_failures", "reason=\"alpn\"", "")                                       \
    X(TLS_FAILED_SNI, COUNTER, "tls_handshake_failures", "reason=\"sni\"", "")                                         \
    X(TLS_FAILED_CLIENT_CERTIFICATE, COUNTER, "tls_handshake_failures", "reason=\"client_certificate\"", "")           \
    X(TLS_FAILED_CLIENT_ALERT, COUNTER, "tls_handshake_failures", "reason=\"client_alert\"", "")                       \
    X(TLS_FAILED_TIMEOUT, COUNTER, "tls_handshake_failures", "reason=\"timeout\"", "")                                 \
    X(TLS_FAILED_PLAIN_HTTP, COUNTER, "tls_handshake_failures", "reason=\"plain_http\"", "")                           \
    X(TLS_FAILED_CLIENT_GONE, COUNTER, "tls_handshake_failures", "reason=\"client_gone\"", "")                         \
    X(TLS_FAILED_FLOOD, COUNTER, "tls_handshake_failures", "reason=\"flood\"", "")                                     \
    X(TLS_FAILED_INTERNAL, COUNTER, "tls_handshake_failures", "reason=\"internal\"", "")                               \
    X(TLS_UNFINISHED, GAUGE, "tls_handshakes_unfinished", "", "TLS handshakes under way")                              \
    X(TLS_SIGNATURES_WAITING, GAUGE, "tls_signatures_waiting", "", "RSA signatures asked of the signers")              \
    X(TLS_KEY_UPDATES, COUNTER, "tls_key_updates", "", "TLS key updates that clients sent")                            \
    X(TLS_TINY_RECORDS, COUNTER, "tls_tiny_records", "", "TLS records with less than 9 octets of data")                \
    X(TLS_EARLY, COUNTER, "tls_early_data", "", "Connections whose first octets came as early data")                   \
    X(TLS_TRUNCATIONS, COUNTER, "tls_truncations", "", "Clients that closed without saying so in TLS (close_notify)")  \
    X(KTLS_ENCRYPTS, GAUGE, "ktls_kernel", "does=\"encrypt\"",                                                         \
      "What the kernel's TLS was found to do, and is used for")                                                        \
    X(KTLS_DECRYPTS, GAUGE, "ktls_kernel", "does=\"decrypt\"", "")                                                     \
    X(KTLS_REKEYING, GAUGE, "ktls_kernel", "does=\"rekey\"", "")                                                       \
    X(KTLS_SENDING, COUNTER, "ktls_connections", "direction=\"send\"", "Connections handed to the kernel's TLS")       \
    X(KTLS_RECEIVING, COUNTER, "ktls_connections", "direction=\"receive\"", "")                                        \
    X(KTLS_FALLBACKS, COUNTER, "ktls_fallbacks", "", "Connections whose keys the kernel did not take")                 \
    X(KTLS_REKEYS, COUNTER, "ktls_rekeys", "", "Times the kernel took new keys on a connection")                       \
    X(KTLS_REKEYS_REFUSED, COUNTER, "ktls_rekeys_refused", "", "Key updates of clients that this kernel cannot do")    \
    X(ACCESS_LOG_DROPS, COUNTER, "access_log_drops", "", "Access log lines lost because the log could not keep up")    \
    X(LOG_DROPS, COUNTER, "log_drops", "", "Error log lines lost because the log could not keep up")

enum metric {
#define METRIC_ENUM(symbol, kind, family, label, help) METRIC_##symbol,
#define METRIC_CLOSED_ENUM(symbol, word, help)         METRIC_CLOSED_##symbol,
    METRICS(METRIC_ENUM) CLOSE_REASONS(METRIC_CLOSED_ENUM)
#undef METRIC_ENUM
#undef METRIC_CLOSED_ENUM
        METRIC_COUNT
};

struct metrics {
    _Atomic uint64_t values[METRIC_COUNT];
};
static_assert(sizeof(struct metrics) <= 4096, "it fits the page that the supervisor has for it");
static_assert(sizeof(_Atomic uint64_t) == 8, "lock-free, or it could not be shared between processes");

/* Relaxed: a number publishes nothing but itself. Load and store instead of a locked add: there is one writer. */
static inline uint64_t metrics_get(const struct metrics *metrics, enum metric metric)
{
    return atomic_load_explicit(&metrics->values[metric], memory_order_relaxed);
}

static inline void metrics_set(struct metrics *metrics, enum metric metric, uint64_t value)
{
    atomic_store_explicit(&metrics->values[metric], value, memory_order_relaxed);
}

static inline void metrics_add(struct metrics *metrics, enum metric metric, uint64_t count)
{
    metrics_set(metrics, metric, metrics_get(metrics, metric) + count);
}

/* Gauges only. Going below nothing is a fault of the daemon. */
static inline void metrics_subtract(struct metrics *metrics, enum metric metric, uint64_t count)
{
    uint64_t value = metrics_get(metrics, metric);
    assert(value >= count);
    metrics_set(metrics, metric, value - count);
}

static inline void metrics_count_close(struct metrics *metrics, enum close_reason reason)
{
    metrics_add(metrics, (enum metric)(METRIC_CLOSED_NONE + (int)reason), 1);
}

/* By class of status, 100 to 599; anything else an application invents counts with the nearest class. */
void metrics_count_response(struct metrics *metrics, uint16_t status);

/* One page and the name it is shown under: {ring="0"}. */
struct metrics_source {
    const struct metrics *metrics;
    uint32_t ring;
};

#define METRICS_CONTENT_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* OpenMetrics text of all sources, "# EOF" included. Returns the octets written, or -ENOSPC. */
[[nodiscard]] int64_t metrics_expose(const struct metrics_source *sources, size_t source_count, char *output,
                                     size_t capacity);

#endif
