#include "config/listen_table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "config/bind_address.h"

struct parser {
    struct listen_table table;
    struct settings_arena *arena;
    char *wrong;
};

static int take_address(struct parser *parser, const char *value)
{
    struct bind_address ignored;
    const char *expected = bind_address_parse(value, &ignored);

    if (expected != NULL) {
        snprintf(parser->wrong, LISTEN_TABLE_WRONG_BYTES, "address = \"%.100s\": expected %s", value, expected);
        return -EINVAL;
    }
    parser->table.address = settings_arena_string(parser->arena, value);
    return parser->table.address == NULL ? -ENOMEM : 0;
}

static int take_tls(struct parser *parser, const char *value)
{
    if (strcasecmp(value, "true") != 0 && strcasecmp(value, "false") != 0) {
        snprintf(parser->wrong, LISTEN_TABLE_WRONG_BYTES, "tls = \"%.100s\": expected true or false", value);
        return -EINVAL;
    }
    parser->table.tls = strcasecmp(value, "true") == 0 ? LISTEN_TLS_ON : LISTEN_TLS_OFF;
    return 0;
}

static int take_items(struct parser *parser, const char *value, struct string_list *list)
{
    while (*value != '\0') {
        size_t length = strcspn(value, ",");
        char *item = settings_arena_copy(parser->arena, value, length);
        int result = item == NULL ? -ENOMEM : length == 0 ? 0 : string_list_add(parser->arena, list, item);
        if (result < 0)
            return result;
        value += length + (value[length] != '\0');
    }
    return 0;
}

static int take_certfile(struct parser *parser, const char *value)
{
    return take_items(parser, value, &parser->table.certfile);
}

static int take_keyfile(struct parser *parser, const char *value)
{
    return take_items(parser, value, &parser->table.keyfile);
}

static int take_ocsp_file(struct parser *parser, const char *value)
{
    return take_items(parser, value, &parser->table.ocsp_file);
}

static int take_http_protocols(struct parser *parser, const char *value)
{
    return take_items(parser, value, &parser->table.http_protocols);
}

static const struct {
    const char *word;
    enum listen_proxy proxy;
} proxy_words[] = {
    /* The first of a kind is how it is written. */
    {"off", LISTEN_PROXY_OFF},   {"v1", LISTEN_PROXY_V1},     {"v2", LISTEN_PROXY_V2},
    {"auto", LISTEN_PROXY_AUTO}, {"false", LISTEN_PROXY_OFF}, {"true", LISTEN_PROXY_AUTO},
};

static int take_proxy_protocol(struct parser *parser, const char *value)
{
    for (size_t i = 0; i < sizeof(proxy_words) / sizeof(proxy_words[0]); i++) {
        if (strcasecmp(proxy_words[i].word, value) == 0) {
            parser->table.proxy_protocol = proxy_words[i].proxy;
            return 0;
        }
    }
    snprintf(parser->wrong, LISTEN_TABLE_WRONG_BYTES,
             "proxy_protocol = \"%.100s\": expected \"off\", \"v1\", \"v2\" or \"auto\"", value);
    return -EINVAL;
}

static char *add_proxy_protocol(struct settings_arena *arena, char *text, enum listen_proxy proxy)
{
    for (size_t i = 0; text != NULL && i < sizeof(proxy_words) / sizeof(proxy_words[0]); i++)
        if (proxy_words[i].proxy == proxy)
            return settings_arena_print(arena, "%s\nproxy_protocol=%s", text, proxy_words[i].word);
    return text;
}

static const struct {
    const char *key;
    int (*take)(struct parser *parser, const char *value);
} rows[] = {
    {"address", take_address},
    {"tls", take_tls},
    {"certfile", take_certfile},
    {"keyfile", take_keyfile},
    {"ocsp_file", take_ocsp_file},
    {"http_protocols", take_http_protocols},
    {"proxy_protocol", take_proxy_protocol},
};

static int take_line(struct parser *parser, char *line)
{
    char *value = strchr(line, '=');

    if (value != NULL) {
        *value++ = '\0';
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
            if (strcmp(rows[i].key, line) == 0)
                return rows[i].take(parser, value);
    }
    snprintf(parser->wrong, LISTEN_TABLE_WRONG_BYTES,
             "unknown key \"%.60s\": expected \"address\", \"tls\", \"certfile\", \"keyfile\", \"ocsp_file\", "
             "\"http_protocols\" or \"proxy_protocol\"",
             line);
    return -EINVAL;
}

static int take_lines(struct parser *parser, char *lines)
{
    for (char *rest = lines; *rest != '\0';) {
        char *line = rest;
        rest += strcspn(rest, "\n");
        if (*rest != '\0')
            *rest++ = '\0';
        int result = take_line(parser, line);
        if (result < 0)
            return result;
    }
    return 0;
}

int listen_table_parse(const char *lines, struct settings_arena *arena, struct listen_table *ret_table,
                       char wrong[LISTEN_TABLE_WRONG_BYTES])
{
    struct parser parser = {.arena = arena, .wrong = wrong};
    char *copy = settings_arena_string(arena, lines);

    if (copy == NULL)
        return -ENOMEM;
    int result = take_lines(&parser, copy);
    if (result < 0)
        return result;
    if (parser.table.address == NULL) {
        snprintf(wrong, LISTEN_TABLE_WRONG_BYTES, "a table without an address");
        return -EINVAL;
    }
    *ret_table = parser.table;
    return 0;
}

static char *add_items(struct settings_arena *arena, char *text, const char *key, const struct string_list *list)
{
    for (size_t i = 0; text != NULL && i < list->count; i++)
        text = i == 0 ? settings_arena_print(arena, "%s\n%s=%s", text, key, list->items[i])
                      : settings_arena_print(arena, "%s,%s", text, list->items[i]);
    return text;
}

char *listen_table_format(const struct listen_table *table, struct settings_arena *arena)
{
    static const char *const tls[] = {
        [LISTEN_TLS_BY_CERTIFICATE] = "", [LISTEN_TLS_OFF] = "\ntls=false", [LISTEN_TLS_ON] = "\ntls=true"};
    char *text = settings_arena_print(arena, "address=%s%s", table->address, tls[table->tls]);

    text = add_items(arena, text, "certfile", &table->certfile);
    text = add_items(arena, text, "keyfile", &table->keyfile);
    text = add_items(arena, text, "ocsp_file", &table->ocsp_file);
    text = add_items(arena, text, "http_protocols", &table->http_protocols);
    return add_proxy_protocol(arena, text, table->proxy_protocol);
}
