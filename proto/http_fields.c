#include "proto/http_fields.h"

#include <assert.h>

#include "proto/http_octets.h"
#include "proto/ip_text.h"

enum {
    NAME_BYTES_MAX = 31,
    NAME_HASH_SLOTS = 128,
    PORT_MAX = 65535,
    CONTENT_LENGTH_DIGITS_MAX = 19, /* they cannot overflow 64 bits */
};

struct known_name {
    uint8_t length;
    char text[NAME_BYTES_MAX];
};

static const struct known_name known_names[HTTP_FIELD_COUNT] = {
#define KNOWN_NAME(symbol, name) [HTTP_FIELD_##symbol] = {sizeof(name) - 1, name},
    HTTP_FIELDS(KNOWN_NAME)
#undef KNOWN_NAME
};

#define NAME_FITS(symbol, name) static_assert(sizeof(name) > 1 && sizeof(name) <= NAME_BYTES_MAX);
HTTP_FIELDS(NAME_FITS)
#undef NAME_FITS

/* Perfect for the names above; http_fields_hash.py finds weights and table anew when a name is added. */
static const uint8_t name_of_slot[NAME_HASH_SLOTS] = {
    [2] = HTTP_FIELD_PRIORITY,
    [6] = HTTP_FIELD_HTTP2_SETTINGS,
    [9] = HTTP_FIELD_X_REAL_IP,
    [13] = HTTP_FIELD_ACCEPT_ENCODING,
    [14] = HTTP_FIELD_CONNECTION,
    [17] = HTTP_FIELD_DNT,
    [18] = HTTP_FIELD_SEC_WEBSOCKET_PROTOCOL,
    [22] = HTTP_FIELD_SEC_CH_UA_PLATFORM,
    [24] = HTTP_FIELD_SEC_FETCH_DEST,
    [36] = HTTP_FIELD_PROXY_CONNECTION,
    [43] = HTTP_FIELD_SEC_WEBSOCKET_KEY,
    [44] = HTTP_FIELD_KEEP_ALIVE,
    [47] = HTTP_FIELD_TRAILER,
    [50] = HTTP_FIELD_PRAGMA,
    [51] = HTTP_FIELD_TRANSFER_ENCODING,
    [52] = HTTP_FIELD_ACCEPT,
    [55] = HTTP_FIELD_IF_NONE_MATCH,
    [56] = HTTP_FIELD_X_FORWARDED_HOST,
    [57] = HTTP_FIELD_UPGRADE,
    [58] = HTTP_FIELD_ORIGIN,
    [60] = HTTP_FIELD_CONTENT_LENGTH,
    [61] = HTTP_FIELD_VIA,
    [63] = HTTP_FIELD_ACCEPT_LANGUAGE,
    [65] = HTTP_FIELD_X_FORWARDED_PROTO,
    [66] = HTTP_FIELD_CONTENT_TYPE,
    [68] = HTTP_FIELD_CONTENT_ENCODING,
    [69] = HTTP_FIELD_CACHE_CONTROL,
    [70] = HTTP_FIELD_IF_RANGE,
    [73] = HTTP_FIELD_SEC_CH_UA,
    [74] = HTTP_FIELD_SEC_FETCH_USER,
    [76] = HTTP_FIELD_DATE,
    [80] = HTTP_FIELD_COOKIE,
    [81] = HTTP_FIELD_PROXY,
    [82] = HTTP_FIELD_SERVER,
    [84] = HTTP_FIELD_IF_MATCH,
    [85] = HTTP_FIELD_AUTHORIZATION,
    [86] = HTTP_FIELD_USER_AGENT,
    [87] = HTTP_FIELD_FORWARDED,
    [88] = HTTP_FIELD_EARLY_DATA,
    [95] = HTTP_FIELD_X_FORWARDED_FOR,
    [96] = HTTP_FIELD_SEC_FETCH_MODE,
    [97] = HTTP_FIELD_UPGRADE_INSECURE_REQUESTS,
    [100] = HTTP_FIELD_SEC_FETCH_SITE,
    [102] = HTTP_FIELD_TE,
    [103] = HTTP_FIELD_RANGE,
    [104] = HTTP_FIELD_X_FORWARDED_PORT,
    [105] = HTTP_FIELD_IF_MODIFIED_SINCE,
    [106] = HTTP_FIELD_X_REQUESTED_WITH,
    [111] = HTTP_FIELD_IF_UNMODIFIED_SINCE,
    [112] = HTTP_FIELD_SEC_WEBSOCKET_EXTENSIONS,
    [116] = HTTP_FIELD_SEC_CH_UA_MOBILE,
    [119] = HTTP_FIELD_SEC_WEBSOCKET_VERSION,
    [122] = HTTP_FIELD_X_REQUEST_ID,
    [123] = HTTP_FIELD_REFERER,
    [124] = HTTP_FIELD_HOST,
    [126] = HTTP_FIELD_EXPECT,
};

static unsigned name_slot(struct bytes name)
{
    return (unsigned)(name.length * 3 + name.data[0] * 90U + name.data[name.length * 3 / 4] * 22U +
                      name.data[name.length - 1] * 34U) %
           NAME_HASH_SLOTS;
}

static uint64_t load8(const void *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}

static uint32_t load4(const void *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}

/* As memcmp() == 0 for names of two octets or more, without its call: this runs for every field of every request. */
static bool same_name(const uint8_t *a, const char *b, size_t length)
{
    if (length < 4)
        return a[0] == (uint8_t)b[0] && a[1] == (uint8_t)b[1] && a[length - 1] == (uint8_t)b[length - 1];
    if (length < 8)
        return load4(a) == load4(b) && load4(a + length - 4) == load4(b + length - 4);
    for (size_t at = 0; at + 8 < length; at += 8)
        if (load8(a + at) != load8(b + at))
            return false;
    return load8(a + length - 8) == load8(b + length - 8);
}

enum http_field_id http_field_id_of(struct bytes lower_name)
{
    if (lower_name.length < 2)
        return HTTP_FIELD_OTHER;
    enum http_field_id id = name_of_slot[name_slot(lower_name)];
    const struct known_name *known = &known_names[id];
    if (known->length != lower_name.length || !same_name(lower_name.data, known->text, known->length))
        return HTTP_FIELD_OTHER;
    return id;
}

struct bytes http_field_name(enum http_field_id id)
{
    if ((unsigned)id >= HTTP_FIELD_COUNT)
        return (struct bytes){};
    return bytes_of(known_names[id].text, known_names[id].length);
}

bool http_token_valid(struct bytes token)
{
    for (size_t i = 0; i < token.length; i++)
        if (http_lower_tchar[token.data[i]] == 0)
            return false;
    return token.length > 0;
}

bool http_field_value_valid(struct bytes value)
{
    return http_control_find(value.data, 0, value.length) == value.length;
}

bool http_content_length_parse(struct bytes value, uint64_t *ret_length)
{
    if (value.length == 0 || value.length > CONTENT_LENGTH_DIGITS_MAX)
        return false;
    uint64_t length = 0;
    for (size_t i = 0; i < value.length; i++) {
        if (!http_octet_is(value.data[i], OCTET_DIGIT))
            return false;
        length = length * 10 + (value.data[i] - '0');
    }
    if (length > INT64_MAX)
        return false;
    *ret_length = length;
    return true;
}

struct bytes http_trim(struct bytes value)
{
    while (value.length > 0 && http_octet_is(value.data[0], OCTET_BLANK))
        value = bytes_skip(value, 1);
    while (value.length > 0 && http_octet_is(value.data[value.length - 1], OCTET_BLANK))
        value.length--;
    return value;
}

bool http_list_has_token(struct bytes list, struct bytes lower_token)
{
    while (list.length > 0) {
        const uint8_t *comma = memchr(list.data, ',', list.length);
        size_t element_length = comma ? (size_t)(comma - list.data) : list.length;
        if (bytes_equal_lower(http_trim(bytes_of(list.data, element_length)), lower_token))
            return true;
        list = bytes_skip(list, element_length + (comma != NULL));
    }
    return false;
}

/* RFC 3986 3.2.2: unreserved, sub-delims and percent-encoded octets; may be empty. */
static bool registered_name_valid(struct bytes name)
{
    for (size_t i = 0; i < name.length; i++) {
        if (http_octet_is(name.data[i], OCTET_REGISTERED_NAME))
            continue;
        bool encoded = name.data[i] == '%' && name.length - i > 2 && http_octet_is(name.data[i + 1], OCTET_HEX) &&
                       http_octet_is(name.data[i + 2], OCTET_HEX);
        if (!encoded)
            return false;
        i += 2;
    }
    return true;
}

/* What follows the host: nothing, or ':' and a port, which RFC 3986 3.2.3 lets be empty. */
static bool port_part_valid(struct bytes part)
{
    if (part.length == 0)
        return true;
    if (part.data[0] != ':')
        return false;
    unsigned port = 0;
    for (size_t i = 1; i < part.length; i++) {
        if (!http_octet_is(part.data[i], OCTET_DIGIT))
            return false;
        port = port * 10 + (part.data[i] - '0');
        if (port > PORT_MAX)
            return false;
    }
    return true;
}

bool http_host_valid(struct bytes host)
{
    /* RFC 9112 3.2: a target without authority is announced by an empty Host. */
    if (host.length == 0)
        return true;
    if (host.data[0] == '[') {
        const uint8_t *bracket = memchr(host.data, ']', host.length);
        if (!bracket)
            return false;
        uint8_t address[IP6_BYTES];
        size_t inner = (size_t)(bracket - host.data) - 1;
        return ip_text_parse6(bytes_of(host.data + 1, inner), address) && port_part_valid(bytes_skip(host, inner + 2));
    }
    const uint8_t *colon = memchr(host.data, ':', host.length);
    size_t name_length = colon ? (size_t)(colon - host.data) : host.length;
    return name_length > 0 && registered_name_valid(bytes_of(host.data, name_length)) &&
           port_part_valid(bytes_skip(host, name_length));
}
