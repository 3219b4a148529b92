#include "proto/forwarded.h"

#include "proto/http_fields.h"
#include "proto/http_octets.h"

enum { PORT_DIGITS_MAX = 5, PORT_MAX = 65'535 };

bool forwarded_port_parse(struct bytes text, uint16_t *ret_port)
{
    uint32_t port = 0;
    if (text.length == 0 || text.length > PORT_DIGITS_MAX)
        return false;
    for (size_t i = 0; i < text.length; i++) {
        if (!http_octet_is(text.data[i], OCTET_DIGIT))
            return false;
        port = 10 * port + (text.data[i] - (uint32_t)'0');
    }
    if (port == 0 || port > PORT_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------ */

static bool parse_address(struct bytes text, bool is_ipv6, struct forwarded_node *node)
{
    node->is_ipv6 = is_ipv6;
    return is_ipv6 ? ip_text_parse6(text, node->address) : ip_text_parse4(text, node->address);
}

/* Nothing, or a colon and a port. */
static bool parse_port_suffix(struct bytes text, struct forwarded_node *node)
{
    if (text.length == 0)
        return true;
    return text.data[0] == ':' && forwarded_port_parse(bytes_skip(text, 1), &node->port);
}

static bool parse_bracketed(struct bytes text, struct forwarded_node *node)
{
    const uint8_t *end = memchr(text.data, ']', text.length);
    if (end == NULL)
        return false;
    size_t length = (size_t)(end - text.data);
    return parse_address(bytes_of(text.data + 1, length - 1), true, node) &&
           parse_port_suffix(bytes_skip(text, length + 1), node);
}

static bool parse_bare(struct bytes text, struct forwarded_node *node)
{
    const uint8_t *colon = memchr(text.data, ':', text.length);
    if (colon == NULL)
        return parse_address(text, false, node);
    size_t length = (size_t)(colon - text.data);
    if (memchr(colon + 1, ':', text.length - length - 1) != NULL)
        return parse_address(text, true, node);
    return parse_address(bytes_of(text.data, length), false, node) && parse_port_suffix(bytes_skip(text, length), node);
}

bool forwarded_node_parse(struct bytes text, struct forwarded_node *ret_node)
{
    struct forwarded_node node = {};
    if (text.length == 0)
        return false;
    bool good = text.data[0] == '[' ? parse_bracketed(text, &node) : parse_bare(text, &node);
    if (good)
        *ret_node = node;
    return good;
}

bool forwarded_list_pop(struct bytes *list, struct bytes *ret_item)
{
    if (list->length == 0)
        return false;
    size_t start = list->length;
    while (start > 0 && list->data[start - 1] != ',')
        start--;
    *ret_item = http_trim(bytes_skip(*list, start));
    list->length = start > 0 ? start - 1 : 0;
    return true;
}

/* ---- Forwarded -------------------------------------------------------------------------------------------------- */

static void skip_blanks(struct bytes *rest)
{
    while (rest->length > 0 && http_octet_is(rest->data[0], OCTET_BLANK))
        *rest = bytes_skip(*rest, 1);
}

static struct bytes take_token(struct bytes *rest)
{
    size_t length = 0;
    while (length < rest->length && http_lower_tchar[rest->data[length]] != 0)
        length++;
    struct bytes token = bytes_of(rest->data, length);
    *rest = bytes_skip(*rest, length);
    return token;
}

static bool take_octet(struct bytes *rest, uint8_t octet)
{
    if (rest->length == 0 || rest->data[0] != octet)
        return false;
    *rest = bytes_skip(*rest, 1);
    return true;
}

/* What stands between the quotes. One with a quoted pair comes out as it was sent: no address, scheme or host has
 * a backslash, so it is refused where it is used. */
static bool take_quoted(struct bytes *rest, struct bytes *ret_value)
{
    for (size_t i = 1; i < rest->length; i++) {
        uint8_t octet = rest->data[i];
        if (octet == '"') {
            *ret_value = bytes_of(rest->data + 1, i - 1);
            *rest = bytes_skip(*rest, i + 1);
            return true;
        }
        if (octet == '\\' && (++i == rest->length || !http_octet_is(rest->data[i], OCTET_QUOTED_PAIR)))
            return false;
        if (octet != '\\' && !http_octet_is(octet, OCTET_QUOTED))
            return false;
    }
    return false;
}

/* A token or a quoted string. An address with a port has a colon, and many proxies write it without the quotes that
 * it then needs, as well as IPv6 addresses; what it is they mean is never in doubt, so that is read too. */
static bool take_value(struct bytes *rest, struct bytes *ret_value)
{
    if (rest->length > 0 && rest->data[0] == '"')
        return take_quoted(rest, ret_value);
    size_t length = 0;
    while (length < rest->length && (http_lower_tchar[rest->data[length]] != 0 || rest->data[length] == ':' ||
                                     rest->data[length] == '[' || rest->data[length] == ']'))
        length++;
    *ret_value = bytes_of(rest->data, length);
    *rest = bytes_skip(*rest, length);
    return length > 0;
}

static struct bytes *place_of(struct forwarded_element *element, struct bytes name)
{
    if (bytes_equal_lower(name, BYTES_LITERAL("for")))
        return &element->node;
    if (bytes_equal_lower(name, BYTES_LITERAL("proto")))
        return &element->proto;
    if (bytes_equal_lower(name, BYTES_LITERAL("host")))
        return &element->host;
    return NULL; /* `by`, and extensions */
}

/* name "=" value */
static bool take_pair(struct bytes *rest, struct forwarded_element *element)
{
    struct bytes value;
    struct bytes name = take_token(rest);
    if (name.length == 0 || !take_octet(rest, '=') || !take_value(rest, &value))
        return false;
    struct bytes *place = place_of(element, name);
    if (place == NULL)
        return true;
    if (place->data != NULL)
        return false; /* RFC 7239 4: each parameter at most once in an element */
    *place = value;
    return true;
}

/* Pairs up to a comma or the end; an empty element is none. */
static bool take_element(struct bytes *rest, struct forwarded_element *element, bool *ret_empty)
{
    *ret_empty = true;
    skip_blanks(rest);
    while (rest->length > 0 && rest->data[0] != ',') {
        if (!take_octet(rest, ';')) {
            if (!take_pair(rest, element))
                return false;
            *ret_empty = false;
            skip_blanks(rest);
            if (rest->length > 0 && rest->data[0] != ';' && rest->data[0] != ',')
                return false;
        }
        skip_blanks(rest);
    }
    (void)take_octet(rest, ',');
    return true;
}

bool forwarded_parse(struct bytes value, struct forwarded_element *elements, size_t capacity, size_t *count)
{
    while (value.length > 0) {
        struct forwarded_element element = {};
        bool empty;
        if (!take_element(&value, &element, &empty))
            return false;
        if (empty)
            continue;
        if (*count == capacity)
            return false;
        elements[(*count)++] = element;
    }
    return true;
}
