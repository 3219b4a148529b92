#include "daemon/io/exchange_log.h"

#include <stdlib.h>

enum { VERSION_BASE = 10 }; /* enum http_version and enum slot_version: major times this, and minor */

static struct bytes span_bytes(const struct io_core *core, struct arena_span span)
{
    return bytes_of(core->inbound.base + span.offset, span.length);
}

static struct bytes scheme_name(bool is_https)
{
    return is_https ? BYTES_LITERAL("https") : BYTES_LITERAL("http");
}

static uint32_t record_fields(const struct io_core *core, const struct slot_record *record, struct http_field *fields)
{
    for (uint32_t i = 0; i < record->field_count; i++) {
        const struct slot_field *field = &record->fields[i];
        fields[i] = (struct http_field){
            .name = bytes_of(core->inbound.base + field->name_offset, field->name_length),
            .value = bytes_of(core->inbound.base + field->value_offset, field->value_length),
            .id = field->id,
        };
    }
    return record->field_count;
}

void exchange_log_append(struct io_core *core, const struct http_exchange *exchange)
{
    const struct slot_record *record = exchange->record;
    if (core->access_log == NULL)
        return;
    const struct access_entry entry = {
        .time_us = core->wall_us,
        .duration_us = core->now_us - exchange->started_us,
        .remote_address = bytes_of_string(record->client),
        .method = span_bytes(core, record->method),
        .target = span_bytes(core, record->target),
        .path = span_bytes(core, record->path),
        .query = span_bytes(core, record->query),
        .scheme = scheme_name((record->flags & SLOT_HTTPS) != 0),
        .version_major = record->version / VERSION_BASE,
        .version_minor = record->version % VERSION_BASE,
        .status = exchange->status,
        .app_pid = exchange->app_pid,
        .body_bytes = exchange->response_bytes,
        .request_fields = core->scratch.log_fields,
        .request_field_count = record_fields(core, record, core->scratch.log_fields),
        .response_fields = exchange->logged_fields,
        .response_field_count = exchange->logged_field_count,
    };
    access_log_append(core->access_log, &entry);
}

void exchange_log_refused(struct io_core *core, const struct connection *connection, const struct http_head *head,
                          uint64_t since_ms, uint16_t status)
{
    static const struct http_head NOTHING = {.version = HTTP_VERSION_1_1};
    char client[IP_TEXT_MAX];
    uint16_t port;
    if (core->access_log == NULL)
        return;
    if (head == NULL)
        head = &NOTHING;
    connection_client_text(connection, client, &port);
    const struct access_entry entry = {
        .time_us = core->wall_us,
        .duration_us = since_ms != 0 ? (core->now_ms - since_ms) * 1000 : 0,
        .remote_address = bytes_of_string(client),
        .method = head->method,
        .target = head->target,
        .path = head->path,
        .query = head->query,
        .scheme = scheme_name(connection_is_secure(connection)),
        .version_major = head->version / VERSION_BASE,
        .version_minor = head->version % VERSION_BASE,
        .status = status,
    };
    access_log_append(core->access_log, &entry);
}

static struct bytes moved(struct bytes span, struct bytes from, const uint8_t *to)
{
    return bytes_of(to + (span.data - from.data), span.length);
}

void exchange_log_keep_fields(const struct io_core *core, struct http_exchange *exchange,
                              const struct response_head *head)
{
    if (core->access_log == NULL || !access_log_wants_response_fields(core->access_log))
        return;
    struct http_field *fields = malloc(head->field_count * sizeof *fields + head->copy.length + 1);
    if (fields == NULL)
        return;
    uint8_t *copy = (uint8_t *)(fields + head->field_count);
    memcpy(copy, head->copy.data, head->copy.length);
    for (uint32_t i = 0; i < head->field_count; i++)
        fields[i] = (struct http_field){
            .name = moved(head->fields[i].name, head->copy, copy),
            .value = moved(head->fields[i].value, head->copy, copy),
        };
    exchange->logged_fields = fields;
    exchange->logged_field_count = head->field_count;
}
