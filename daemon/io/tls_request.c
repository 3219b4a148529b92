#include "daemon/io/tls_request.h"

#include "daemon/io/tls_describe.h"

#include <errno.h>

static const struct bytes early_name = {(const uint8_t *)"early-data", 10};

/* What changes nothing may be done twice: RFC 9110 9.2.1. */
static bool is_harmless(const struct http_head *head)
{
    static const char *const METHODS[] = {"GET", "HEAD", "OPTIONS"};
    if (head->body_kind != HTTP_BODY_NONE && !(head->body_kind == HTTP_BODY_LENGTH && head->content_length == 0))
        return false;
    for (size_t i = 0; i < sizeof METHODS / sizeof METHODS[0]; i++)
        if (bytes_equal(head->method, bytes_of_string(METHODS[i])))
            return true;
    return false;
}

static struct bytes without_port(struct bytes host)
{
    if (host.length > 0 && host.data[0] == '[') { /* an address of IPv6 in its brackets */
        const uint8_t *end = memchr(host.data, ']', host.length);
        return end != NULL ? bytes_of(host.data + 1, (size_t)(end - host.data) - 1) : host;
    }
    const uint8_t *colon = memchr(host.data, ':', host.length);
    return colon != NULL ? bytes_of(host.data, (size_t)(colon - host.data)) : host;
}

static bool covers(const struct connection *connection, struct bytes host)
{
    return connection->remnant != NULL ? tls_agreed_covers(connection->remnant->agreed, host)
                                       : tls_channel_covers(connection->tls, host);
}

static uint16_t judge(const struct connection *connection, const struct http_head *head)
{
    if (head->host.length > 0 && !covers(connection, without_port(head->host)))
        return 421;
    return connection_is_early(connection) && !is_harmless(head) ? 425 : 0;
}

/* RFC 8470 5.1: the application may still judge for itself. */
static void tell_early(const struct io_core *core, const struct tls_description *description,
                       const struct http_head *head, struct slot_record *record)
{
    for (uint32_t i = 0; i < head->field_count; i++)
        if (bytes_equal(head->fields[i].name, early_name))
            return;
    if (record->field_count > core->setup.shape.fields_max)
        return;
    record->fields[record->field_count++] = (struct slot_field){
        .name_offset = description->early_data_offset,
        .name_length = (uint16_t)early_name.length,
        .value_offset = description->early_data_offset + (uint32_t)early_name.length,
        .value_length = 1,
        .id = HTTP_FIELD_OTHER,
    };
}

static int find_description(struct tls_descriptions *descriptions, const struct connection *connection,
                            const struct tls_description **ret_description)
{
    if (descriptions == NULL)
        return -ENOENT;
    if (connection->remnant != NULL)
        return tls_descriptions_find_agreed(descriptions, connection->remnant->agreed, ret_description);
    return tls_descriptions_find(descriptions, connection->tls, ret_description);
}

uint16_t tls_request_prepare(struct io_core *core, struct connection *connection, const struct http_head *head,
                             struct http_exchange *exchange)
{
    const struct tls_description *description;
    if (!connection_is_secure(connection))
        return 0;
    uint16_t status = judge(connection, head);
    if (status != 0)
        return status;
    if (find_description(core->tls, connection, &description) < 0)
        return 503;
    buffer_pool_hold(&core->buffers, description->loan);
    exchange->tls_loan = description->loan;
    exchange->record->tls = description->span;
    if (connection_is_early(connection))
        tell_early(core, description, head, exchange->record);
    return 0;
}
