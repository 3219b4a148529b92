#include "daemon/io/request_record.h"

#include "daemon/io/client_identity.h"

#include <assert.h>
#include <ctype.h>

/* Where the head was parsed, and the offset in the arena at which it stands. */
struct head_place {
    const uint8_t *from;
    uint32_t offset;
};

static struct arena_span span_of(const struct head_place *place, struct bytes bytes)
{
    if (bytes.length == 0)
        return (struct arena_span){};
    return (struct arena_span){.offset = place->offset + (uint32_t)(bytes.data - place->from),
                               .length = (uint32_t)bytes.length};
}

/* forwarder_headers are written as an application sees them: SCRIPT_NAME for a field script_name. */
static bool same_name(struct bytes lower, const char *upper)
{
    size_t i = 0;
    for (; i < lower.length && upper[i] != '\0'; i++)
        if (toupper(lower.data[i]) != toupper((unsigned char)upper[i]))
            return false;
    return i == lower.length && upper[i] == '\0';
}

static bool forwarder_may(const struct io_core *core, const struct slot_record *record, struct bytes name)
{
    if ((record->flags & SLOT_TRUSTED) == 0)
        return false;
    for (size_t i = 0; i < core->settings.forwarder_headers.count; i++)
        if (same_name(name, core->settings.forwarder_headers.items[i]))
            return true;
    return false;
}

/* Whether the application may see the field. */
static bool admitted(const struct io_core *core, const struct slot_record *record, const struct http_field *field)
{
    if (field->id == HTTP_FIELD_PROXY)
        return false;
    if (!field->has_underscore)
        return true;
    if (core->settings.header_map == HEADER_MAP_DANGEROUS || forwarder_may(core, record, field->name))
        return true;
    metrics_add(core->metrics, METRIC_UNDERSCORE_FIELDS_DROPPED, 1);
    return false;
}

static void fill_fields(const struct io_core *core, const struct http_head *head, const struct head_place *place,
                        struct slot_record *record)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct http_field *field = &head->fields[i];
        if (!admitted(core, record, field))
            continue;
        struct arena_span value = span_of(place, field->value);
        record->fields[count++] = (struct slot_field){
            .name_offset = span_of(place, field->name).offset,
            .name_length = (uint16_t)field->name.length,
            .value_offset = value.offset,
            .value_length = value.length,
            .id = field->id,
        };
    }
    record->field_count = (uint16_t)count;
}

static int64_t body_length(const struct http_head *head)
{
    if (head->body_kind == HTTP_BODY_UNKNOWN)
        return -1;
    return head->body_kind == HTTP_BODY_LENGTH ? (int64_t)head->content_length : 0;
}

static uint8_t body_flags(const struct http_head *head)
{
    if (head->body_kind == HTTP_BODY_UNKNOWN)
        return SLOT_CHUNKED | SLOT_BODY;
    return head->body_kind == HTTP_BODY_LENGTH ? SLOT_BODY : 0;
}

const char *request_record_fill(const struct io_core *core, const struct connection *connection,
                                const struct http_head *head, const uint8_t *from, const uint8_t *at,
                                struct slot_record *record)
{
    static_assert((int)HTTP_VERSION_1_0 == (int)SLOT_HTTP_1_0 && (int)HTTP_VERSION_1_1 == (int)SLOT_HTTP_1_1 &&
                      (int)HTTP_VERSION_2 == (int)SLOT_HTTP_2,
                  "the record has the parser's word for the version");
    static uint64_t last_request_id;
    const struct head_place place = {.from = from, .offset = (uint32_t)(at - core->inbound.base)};
    assert(head->field_count <= core->setup.shape.fields_max);
    record->version = head->version;
    record->flags = body_flags(head) | (head->te_trailers ? SLOT_TE_TRAILERS : 0);
    record->content_length = body_length(head);
    record->method = span_of(&place, head->method);
    record->target = span_of(&place, head->target);
    record->path = span_of(&place, head->path);
    record->query = span_of(&place, head->query);
    record->request_id = ++last_request_id;
    record->tls = (struct arena_span){};
    record->stream_id = 0;
    record->urgency = SLOT_URGENCY_DEFAULT;
    const char *refusal = client_identity_fill(core, connection, head, record);
    if (refusal != NULL)
        return refusal;
    fill_fields(core, head, &place, record);
    return NULL;
}
