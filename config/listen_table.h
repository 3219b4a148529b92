/*
 * Listen table: one item of the setting `listen`, taken apart and put together again.
 *
 * Owns nothing: what is parsed lives in the arena.
 */
#ifndef CONFIG_LISTEN_TABLE_H
#define CONFIG_LISTEN_TABLE_H

#include "config/schema.h"
#include "config/settings_arena.h"

enum listen_tls {
    LISTEN_TLS_BY_CERTIFICATE, /* not said; settings_load() leaves no such table */
    LISTEN_TLS_OFF,
    LISTEN_TLS_ON
};

enum { LISTEN_TABLE_WRONG_BYTES = 256 };

struct listen_table {
    char *address; /* parses with bind_address_parse() */
    enum listen_tls tls;
    struct string_list certfile; /* empty: those of the setting with this name */
    struct string_list keyfile;
    struct string_list ocsp_file;
    struct string_list http_protocols; /* empty: those of the setting with this name */
    enum listen_proxy proxy_protocol;
};

/* -ENOMEM; or -EINVAL, and `wrong` is a sentence that says what. */
[[nodiscard]] int listen_table_parse(const char *lines, struct settings_arena *arena, struct listen_table *ret_table,
                                     char wrong[LISTEN_TABLE_WRONG_BYTES]);

/* The item again. NULL: no memory. */
char *listen_table_format(const struct listen_table *table, struct settings_arena *arena);

#endif
