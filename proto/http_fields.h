/*
 * HTTP fields: the names this server knows by number, and the grammar of names and values.
 *
 * A known name is found by a perfect hash and then compared whole. Numbers are stable within one build only,
 * but they do cross process borders (daemon/exchange), since all processes of a server are of one build.
 */
#ifndef PROTO_HTTP_FIELDS_H
#define PROTO_HTTP_FIELDS_H

#include "proto/bytes.h"

/* X(symbol, "lower-case-name"), in any order; HTTP_FIELD_OTHER is 0. */
#define HTTP_FIELDS(X)                                        \
    X(ACCEPT, "accept")                                       \
    X(ACCEPT_ENCODING, "accept-encoding")                     \
    X(ACCEPT_LANGUAGE, "accept-language")                     \
    X(AUTHORIZATION, "authorization")                         \
    X(CACHE_CONTROL, "cache-control")                         \
    X(CONNECTION, "connection")                               \
    X(CONTENT_ENCODING, "content-encoding")                   \
    X(CONTENT_LENGTH, "content-length")                       \
    X(CONTENT_TYPE, "content-type")                           \
    X(COOKIE, "cookie")                                       \
    X(DATE, "date")                                           \
    X(DNT, "dnt")                                             \
    X(EARLY_DATA, "early-data")                               \
    X(EXPECT, "expect")                                       \
    X(FORWARDED, "forwarded")                                 \
    X(HOST, "host")                                           \
    X(HTTP2_SETTINGS, "http2-settings")                       \
    X(IF_MATCH, "if-match")                                   \
    X(IF_MODIFIED_SINCE, "if-modified-since")                 \
    X(IF_NONE_MATCH, "if-none-match")                         \
    X(IF_RANGE, "if-range")                                   \
    X(IF_UNMODIFIED_SINCE, "if-unmodified-since")             \
    X(KEEP_ALIVE, "keep-alive")                               \
    X(ORIGIN, "origin")                                       \
    X(PRAGMA, "pragma")                                       \
    X(PRIORITY, "priority")                                   \
    X(PROXY, "proxy")                                         \
    X(PROXY_CONNECTION, "proxy-connection")                   \
    X(RANGE, "range")                                         \
    X(REFERER, "referer")                                     \
    X(SEC_CH_UA, "sec-ch-ua")                                 \
    X(SEC_CH_UA_MOBILE, "sec-ch-ua-mobile")                   \
    X(SEC_CH_UA_PLATFORM, "sec-ch-ua-platform")               \
    X(SEC_FETCH_DEST, "sec-fetch-dest")                       \
    X(SEC_FETCH_MODE, "sec-fetch-mode")                       \
    X(SEC_FETCH_SITE, "sec-fetch-site")                       \
    X(SEC_FETCH_USER, "sec-fetch-user")                       \
    X(SEC_WEBSOCKET_EXTENSIONS, "sec-websocket-extensions")   \
    X(SEC_WEBSOCKET_KEY, "sec-websocket-key")                 \
    X(SEC_WEBSOCKET_PROTOCOL, "sec-websocket-protocol")       \
    X(SEC_WEBSOCKET_VERSION, "sec-websocket-version")         \
    X(SERVER, "server")                                       \
    X(TE, "te")                                               \
    X(TRAILER, "trailer")                                     \
    X(TRANSFER_ENCODING, "transfer-encoding")                 \
    X(UPGRADE, "upgrade")                                     \
    X(UPGRADE_INSECURE_REQUESTS, "upgrade-insecure-requests") \
    X(USER_AGENT, "user-agent")                               \
    X(VIA, "via")                                             \
    X(X_FORWARDED_FOR, "x-forwarded-for")                     \
    X(X_FORWARDED_HOST, "x-forwarded-host")                   \
    X(X_FORWARDED_PORT, "x-forwarded-port")                   \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")                 \
    X(X_REAL_IP, "x-real-ip")                                 \
    X(X_REQUEST_ID, "x-request-id")                           \
    X(X_REQUESTED_WITH, "x-requested-with")

enum http_field_id {
    HTTP_FIELD_OTHER = 0,
#define HTTP_FIELD_ENUM(symbol, name) HTTP_FIELD_##symbol,
    HTTP_FIELDS(HTTP_FIELD_ENUM)
#undef HTTP_FIELD_ENUM
        HTTP_FIELD_COUNT
};

/* One field of a message; both spans point into the message's own bytes. `name` is in lower case. */
struct http_field {
    struct bytes name;
    struct bytes value;
    uint16_t id;         /* enum http_field_id */
    bool has_underscore; /* H1-32: such a name would pass for the dashed one in a CGI environment */
};

/* The number of a lower-case name, or HTTP_FIELD_OTHER. */
enum http_field_id http_field_id_of(struct bytes lower_name);

/* The lower-case name of a number other than HTTP_FIELD_OTHER; empty bytes for anything else. */
struct bytes http_field_name(enum http_field_id id);

/* RFC 9110 5.6.2: one or more tchar. */
bool http_token_valid(struct bytes token);

/* RFC 9110 5.5, strict: no control octet but HTAB, no DEL; 0x80 to 0xFF are allowed. Empty is valid. */
bool http_field_value_valid(struct bytes value);

/* RFC 9112 3.2, RFC 3986 3.2: uri-host [":" port], no userinfo; registered names, IPv4 and bracketed IPv6. */
bool http_host_valid(struct bytes host);

/* Whether `list` (RFC 9110 5.6.1, comma-separated tokens) has `lower_token`, compared without case. */
bool http_list_has_token(struct bytes list, struct bytes lower_token);

/* RFC 9110 8.6, stricter: 1 to 19 digits, at most 2^63-1. Leading zeros are digits like others (H1-06, H1-07). */
[[nodiscard]] bool http_content_length_parse(struct bytes value, uint64_t *ret_length);

/* The value without leading and trailing SP and HTAB. */
struct bytes http_trim(struct bytes value);

#endif
