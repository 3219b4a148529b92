#include "daemon/io/client_identity.h"

#include "proto/forwarded.h"

#include <arpa/inet.h>

bool client_identity_trusted(const struct io_core *core, const struct connection *connection)
{
    return address_set_contains(&core->forwarded_allow, &connection->peer.any);
}

/* ---- what the connection says ----------------------------------------------------------------------------------- */

/* Every text here is shorter than the place it is for; a longer one would be cut. */
static void put_text(char *place, size_t capacity, const char *text)
{
    size_t length = strlen(text);
    if (length >= capacity)
        length = capacity - 1;
    memcpy(place, text, length);
    place[length] = '\0';
}

static void tell_socket(const struct connection *connection, struct slot_record *record)
{
    connection_client_text(connection, record->client, &record->client_port);
    put_text(record->server, sizeof record->server, connection->server);
    record->server_port = connection->listener->port;
    if (connection->listener->is_unix)
        record->flags |= SLOT_UNIX;
}

static void tell_proxied(const struct connection_proxied *proxied, struct slot_record *record)
{
    put_text(record->client, sizeof record->client, proxied->client);
    put_text(record->proxy_client, sizeof record->proxy_client, proxied->client);
    put_text(record->server, sizeof record->server, proxied->server);
    record->client_port = record->proxy_client_port = proxied->client_port;
    record->server_port = proxied->server_port;
    record->flags |= SLOT_PROXIED;
}

static void tell_scheme(bool is_https, struct slot_record *record)
{
    record->flags = (uint8_t)((record->flags & ~SLOT_HTTPS) | (is_https ? SLOT_HTTPS : 0));
}

/* ---- which of the fields are there ------------------------------------------------------------------------------ */

enum said {
    SAID_FOR = 1,
    SAID_HOST = 2,
    SAID_PORT = 4,
    SAID_HTTP = 8,
    SAID_HTTPS = 16,
    SAID_FORWARDED = 32,
};

static unsigned said_by(const struct secure_schemes *schemes, const struct http_field *field)
{
    static const unsigned WORDS[] = {[SCHEME_UNSAID] = 0, [SCHEME_HTTP] = SAID_HTTP, [SCHEME_HTTPS] = SAID_HTTPS};
    unsigned said = 0;
    if (field->id == HTTP_FIELD_X_FORWARDED_FOR)
        said = SAID_FOR;
    else if (field->id == HTTP_FIELD_X_FORWARDED_HOST)
        said = SAID_HOST;
    else if (field->id == HTTP_FIELD_X_FORWARDED_PORT)
        said = SAID_PORT;
    else if (field->id == HTTP_FIELD_FORWARDED)
        said = SAID_FORWARDED;
    if (secure_schemes_may_have(schemes, field->name.length))
        said |= WORDS[secure_schemes_read(schemes, field)];
    return said;
}

static unsigned said_in(const struct io_core *core, const struct http_head *head)
{
    unsigned said = 0;
    for (uint32_t i = 0; i < head->field_count; i++)
        said |= said_by(&core->secure_schemes, &head->fields[i]);
    return said;
}

/* ---- the client ------------------------------------------------------------------------------------------------- */

static bool node_trusted(const struct io_core *core, const struct forwarded_node *node)
{
    if (node->is_ipv6) {
        struct sockaddr_in6 address = {.sin6_family = AF_INET6};
        memcpy(&address.sin6_addr, node->address, IP6_BYTES);
        return address_set_contains(&core->forwarded_allow, (const struct sockaddr *)&address);
    }
    struct sockaddr_in address = {.sin_family = AF_INET};
    memcpy(&address.sin_addr, node->address, IP4_BYTES);
    return address_set_contains(&core->forwarded_allow, (const struct sockaddr *)&address);
}

static void tell_client(const struct forwarded_node *node, struct slot_record *record)
{
    if (node->is_ipv6)
        ip_text_format6(node->address, record->client);
    else
        ip_text_format4(node->address, record->client);
    record->client_port = node->port;
}

/* A walk along the proxies, from the one that speaks to us towards the client. */
struct walk {
    const struct io_core *core;
    struct forwarded_node node; /* the furthest that may be believed */
    bool found;
    bool ended;
    uint32_t hops;
};

/* One entry further left. What is no address ends the walk without a client. */
static void walk_on(struct walk *walk, struct bytes text)
{
    struct forwarded_node node;
    if (walk->hops++ == CLIENT_IDENTITY_HOPS_MAX) {
        walk->ended = true;
        return;
    }
    walk->found = forwarded_node_parse(text, &node);
    walk->ended = !walk->found || !node_trusted(walk->core, &node);
    if (walk->found)
        walk->node = node;
}

static void walk_along(struct walk *walk, struct bytes list)
{
    struct bytes item;
    while (!walk->ended && forwarded_list_pop(&list, &item))
        if (item.length > 0)
            walk_on(walk, item);
}

/* Several fields of the name are one list. */
static void apply_for(const struct io_core *core, const struct http_head *head, struct slot_record *record)
{
    struct walk walk = {.core = core};
    for (uint32_t i = head->field_count; i-- > 0 && !walk.ended;)
        if (head->fields[i].id == HTTP_FIELD_X_FORWARDED_FOR)
            walk_along(&walk, head->fields[i].value);
    if (walk.found)
        tell_client(&walk.node, record);
}

/* ---- the server ------------------------------------------------------------------------------------------------- */

/* Name and port of what http_host_valid() has let pass: "name", "name:", "name:80", "[::1]:80". */
static struct bytes split_host(struct bytes host, uint16_t *ret_port)
{
    size_t colon = host.length;
    while (colon > 0 && host.data[colon - 1] != ':' && host.data[colon - 1] != ']')
        colon--;
    if (colon > 0 && host.data[colon - 1] == ':') {
        (void)!forwarded_port_parse(bytes_skip(host, colon), ret_port);
        host.length = colon - 1;
    }
    if (host.length >= 2 && host.data[0] == '[')
        return bytes_of(host.data + 1, host.length - 2);
    return host;
}

static uint16_t usual_port(const struct slot_record *record)
{
    return (record->flags & SLOT_HTTPS) != 0 ? 443 : 80;
}

static void tell_server(struct bytes host, struct slot_record *record)
{
    uint16_t port = usual_port(record);
    if (host.length == 0 || !http_host_valid(host))
        return;
    struct bytes name = split_host(host, &port);
    if (name.length == 0 || name.length >= sizeof record->server)
        return;
    memcpy(record->server, name.data, name.length);
    record->server[name.length] = '\0';
    record->server_port = port;
    record->flags &= (uint8_t)~SLOT_UNIX;
}

/* The last item of the last field of that name: what the nearest proxy wrote. */
static struct bytes last_item(const struct http_head *head, enum http_field_id id)
{
    struct bytes item = {};
    for (uint32_t i = head->field_count; i-- > 0;) {
        if (head->fields[i].id != id)
            continue;
        struct bytes list = head->fields[i].value;
        (void)forwarded_list_pop(&list, &item);
        break;
    }
    return item;
}

static void apply_port(const struct http_head *head, struct slot_record *record)
{
    uint16_t port;
    if ((record->flags & SLOT_UNIX) == 0 && forwarded_port_parse(last_item(head, HTTP_FIELD_X_FORWARDED_PORT), &port))
        record->server_port = port;
}

/* ---- RFC 7239 --------------------------------------------------------------------------------------------------- */

/* The words of the last element that has any count; `proto` and `host` come from as far left as the walk went. */
static void apply_elements(const struct io_core *core, const struct forwarded_element *elements, size_t count,
                           struct slot_record *record)
{
    struct walk walk = {.core = core};
    struct bytes proto = {};
    struct bytes host = {};
    while (count > 0 && !walk.ended) {
        const struct forwarded_element *element = &elements[--count];
        proto = element->proto.length > 0 ? element->proto : proto;
        host = element->host.length > 0 ? element->host : host;
        walk_on(&walk, element->node);
    }
    if (proto.length > 0)
        tell_scheme(bytes_equal_lower(proto, BYTES_LITERAL("https")) || bytes_equal_lower(proto, BYTES_LITERAL("wss")),
                    record);
    tell_server(host, record);
    if (walk.found && (record->flags & SLOT_PROXIED) == 0)
        tell_client(&walk.node, record);
}

static void apply_forwarded(const struct io_core *core, const struct http_head *head, struct slot_record *record)
{
    struct forwarded_element elements[CLIENT_IDENTITY_HOPS_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < head->field_count; i++)
        if (head->fields[i].id == HTTP_FIELD_FORWARDED &&
            !forwarded_parse(head->fields[i].value, elements, CLIENT_IDENTITY_HOPS_MAX, &count))
            return;
    apply_elements(core, elements, count, record);
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static void apply_x_forwarded(const struct io_core *core, const struct http_head *head, unsigned said,
                              struct slot_record *record)
{
    if ((said & (SAID_HTTP | SAID_HTTPS)) != 0)
        tell_scheme((said & SAID_HTTPS) != 0, record);
    if ((said & SAID_FOR) != 0 && (record->flags & SLOT_PROXIED) == 0)
        apply_for(core, head, record);
    if ((said & SAID_HOST) != 0)
        tell_server(last_item(head, HTTP_FIELD_X_FORWARDED_HOST), record);
    if ((said & SAID_PORT) != 0)
        apply_port(head, record);
}

const char *client_identity_fill(const struct io_core *core, const struct connection *connection,
                                 const struct http_head *head, struct slot_record *record)
{
    if (connection->proxied != NULL)
        tell_proxied(connection->proxied, record);
    else
        tell_socket(connection, record);
    tell_scheme(connection_is_secure(connection), record);
    if (!client_identity_trusted(core, connection))
        return NULL;
    record->flags |= SLOT_TRUSTED;
    if (head->version == HTTP_VERSION_2)
        tell_scheme(head->target_is_https, record);
    unsigned said = said_in(core, head);
    if ((said & SAID_HTTP) != 0 && (said & SAID_HTTPS) != 0)
        return "the headers about the scheme contradict each other";
    if ((said & ~(unsigned)SAID_FORWARDED) != 0)
        apply_x_forwarded(core, head, said, record);
    else if ((said & SAID_FORWARDED) != 0)
        apply_forwarded(core, head, record);
    return NULL;
}
