#include "daemon/io/access_entry.h"

#include <string.h>

struct bytes access_entry_request_field(const struct access_entry *entry, enum http_field_id id,
                                        struct bytes lower_name)
{
    for (uint32_t i = entry->request_field_count; i-- > 0;) {
        const struct http_field *field = &entry->request_fields[i];
        if (id != HTTP_FIELD_OTHER ? field->id == id : bytes_equal(field->name, lower_name))
            return field->value.data ? field->value : BYTES_LITERAL("");
    }
    return (struct bytes){};
}

struct bytes access_entry_response_field(const struct access_entry *entry, struct bytes lower_name)
{
    for (uint32_t i = entry->response_field_count; i-- > 0;) {
        const struct http_field *field = &entry->response_fields[i];
        if (bytes_equal_lower(field->name, lower_name))
            return field->value.data ? field->value : BYTES_LITERAL("");
    }
    return (struct bytes){};
}

static int base64_value(uint8_t octet)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = octet ? strchr(digits, octet) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* RFC 7617 2: user-id ":" password. Decodes only up to the colon; without one nobody named himself. */
static size_t decode_user(struct bytes credentials, uint8_t user[ACCESS_USER_BYTES_MAX])
{
    uint32_t bits = 0;
    int bit_count = 0;
    size_t used = 0;
    for (size_t i = 0; i < credentials.length; i++) {
        int value = base64_value(credentials.data[i]);
        if (value < 0)
            return 0;
        bits = bits << 6 | (uint32_t)value;
        bit_count += 6;
        if (bit_count < 8)
            continue;
        bit_count -= 8;
        uint8_t octet = (uint8_t)(bits >> bit_count);
        if (octet == ':')
            return used;
        if (used == ACCESS_USER_BYTES_MAX)
            return 0;
        user[used++] = octet;
    }
    return 0;
}

struct bytes access_entry_user(const struct access_entry *entry, uint8_t user[ACCESS_USER_BYTES_MAX])
{
    static const struct bytes scheme = {(const uint8_t *)"basic ", 6};
    struct bytes value = access_entry_request_field(entry, HTTP_FIELD_AUTHORIZATION, (struct bytes){});
    if (value.length < scheme.length || !bytes_equal_lower(bytes_of(value.data, scheme.length), scheme))
        return (struct bytes){};
    struct bytes credentials = http_trim(bytes_skip(value, scheme.length));
    return bytes_of(user, decode_user(credentials, user));
}
