#include "proto/http2_response.h"

#include <errno.h>
#include <limits.h>

#include "proto/http_octets.h"

enum { STATUS_MIN = 100, STATUS_MAX = 999, STATUS_SWITCHING = 101, DECIMAL_DIGITS_MAX = 20 };

/* What the server does with a field that the application gave. */
enum field_use { USE_AS_IS, USE_NEVER, USE_AS_DATE, USE_AS_SERVER };

/* RFC 9113 8.2.2, and the length, which the server states. */
static const uint8_t field_uses[HTTP_FIELD_COUNT] = {
    [HTTP_FIELD_CONNECTION] = USE_NEVER,
    [HTTP_FIELD_CONTENT_LENGTH] = USE_NEVER,
    [HTTP_FIELD_DATE] = USE_AS_DATE,
    [HTTP_FIELD_KEEP_ALIVE] = USE_NEVER,
    [HTTP_FIELD_PROXY_CONNECTION] = USE_NEVER,
    [HTTP_FIELD_SERVER] = USE_AS_SERVER,
    [HTTP_FIELD_TRANSFER_ENCODING] = USE_NEVER,
    [HTTP_FIELD_UPGRADE] = USE_NEVER,
};

struct writer {
    struct hpack_encoder *encoder;
    uint8_t *at;
    uint8_t *scratch; /* for a name in lower case: behind all that can be written */
};

/* Only a final response says these of itself; interim ones (RFC 9110 15.2) and trailers do not. */
static bool is_final(const struct http2_response *response)
{
    return response->status >= 200;
}

static bool states_length(const struct http2_response *response)
{
    return response->add_content_length && is_final(response) && response->status != 204; /* RFC 9110 8.6 */
}

static bool status_valid(uint16_t status)
{
    /* RFC 9113 8.6: nothing switches protocols here. */
    return status == 0 || (status >= STATUS_MIN && status <= STATUS_MAX && status != STATUS_SWITCHING);
}

static size_t field_max(const char *name, size_t value_length)
{
    return hpack_encoded_max(strlen(name), value_length);
}

/* Octets of all fields at most. */
static size_t block_max(const struct http2_response *response)
{
    size_t total = field_max(":status", 3) + field_max("date", response->date.length) +
                   field_max("server", response->server.length) + field_max("content-length", DECIMAL_DIGITS_MAX);
    for (uint32_t i = 0; i < response->field_count; i++)
        total += hpack_encoded_max(response->fields[i].name.length, response->fields[i].value.length);
    return total;
}

/* Octets of the longest name. */
static size_t scratch_max(const struct http2_response *response)
{
    size_t longest = 0;
    for (uint32_t i = 0; i < response->field_count; i++)
        if (response->fields[i].name.length > longest)
            longest = response->fields[i].name.length;
    return longest;
}

size_t http2_response_max(const struct http2_response *response)
{
    return block_max(response) + scratch_max(response);
}

static bool all_valid(const struct http2_response *response, uint32_t *ret_bad_field)
{
    if (!status_valid(response->status)) {
        *ret_bad_field = UINT32_MAX;
        return false;
    }
    for (uint32_t i = 0; i < response->field_count; i++) {
        if (!http_token_valid(response->fields[i].name) || !http_octets_safe(response->fields[i].value)) {
            *ret_bad_field = i;
            return false;
        }
    }
    return true;
}

/* RFC 9113 8.2.1. Most applications write lower case themselves; their name is taken where it stands. */
static struct bytes lower_name(struct writer *writer, struct bytes name)
{
    size_t at = 0;
    while (at < name.length && http_lower_tchar[name.data[at]] == name.data[at])
        at++;
    if (at == name.length)
        return name;
    memcpy(writer->scratch, name.data, name.length);
    (void)http_name_lower_plain(writer->scratch, name.length);
    return bytes_of(writer->scratch, name.length);
}

static void put(struct writer *writer, enum http_field_id id, struct bytes name, struct bytes value)
{
    writer->at += hpack_encode(writer->encoder, name, id, value, writer->at);
}

static void put_known(struct writer *writer, enum http_field_id id, struct bytes value)
{
    put(writer, id, http_field_name(id), value);
}

static void put_fields(struct writer *writer, const struct http2_response *response, bool *ret_has_date,
                       bool *ret_has_server)
{
    for (uint32_t i = 0; i < response->field_count; i++) {
        struct bytes name = lower_name(writer, response->fields[i].name);
        enum http_field_id id = http_field_id_of(name);
        *ret_has_date |= field_uses[id] == USE_AS_DATE;
        *ret_has_server |= field_uses[id] == USE_AS_SERVER;
        /* RFC 9113 8.2.1: blanks around a value, which HTTP/1 clients take away, make the response malformed. */
        if (field_uses[id] != USE_NEVER)
            put(writer, id, name, http_trim(response->fields[i].value));
    }
}

static void put_content_length(struct writer *writer, uint64_t length)
{
    uint8_t digits[DECIMAL_DIGITS_MAX];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (uint8_t)('0' + length % 10);
        length /= 10;
    } while (length > 0);
    put_known(writer, HTTP_FIELD_CONTENT_LENGTH, bytes_of(digits + at, sizeof(digits) - at));
}

int http2_response_encode(const struct http2_response *response, struct hpack_encoder *encoder, uint8_t *output,
                          size_t capacity, uint32_t *ret_bad_field)
{
    bool has_date = response->date.length == 0 || !is_final(response);
    bool has_server = response->server.length == 0 || !is_final(response);
    if (!all_valid(response, ret_bad_field))
        return -EBADMSG;
    /* Asked before the first field: once the encoder's table has changed there is no way back. */
    size_t block_bytes = block_max(response);
    if (block_bytes > INT_MAX || capacity < block_bytes + scratch_max(response))
        return -ENOSPC;

    struct writer writer = {encoder, output, output + block_bytes};
    if (response->status != 0)
        writer.at += hpack_encode_status(encoder, response->status, writer.at);
    put_fields(&writer, response, &has_date, &has_server);
    if (!has_date)
        put_known(&writer, HTTP_FIELD_DATE, response->date);
    if (!has_server)
        put_known(&writer, HTTP_FIELD_SERVER, response->server);
    if (states_length(response))
        put_content_length(&writer, response->content_length);
    return (int)(writer.at - output);
}
