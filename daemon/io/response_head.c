#include "daemon/io/response_head.h"

#include "daemon/exchange/field_block.h"

#include <errno.h>

/* The application's own Connection: close is honoured; everything else about the connection is ours to say. */
static bool asks_to_close(const struct http_field *fields, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (fields[i].name.length == 10 && bytes_equal_lower(fields[i].name, BYTES_LITERAL("connection")) &&
            http_list_has_token(fields[i].value, BYTES_LITERAL("close")))
            return true;
    return false;
}

static void take_reason(struct response_head *head)
{
    if (head->field_count == 0 || !bytes_equal(head->fields[0].name, FIELD_BLOCK_REASON))
        return;
    head->reason = head->fields[0].value;
    head->fields++;
    head->field_count--;
}

int response_head_read(struct io_core *core, struct bytes block, struct response_head *ret_head)
{
    uint8_t *copy = core->scratch.response_head;
    struct http_field *fields = core->scratch.response_fields;
    if (block.length > IO_SCRATCH_HEAD_BYTES)
        return -EMSGSIZE;
    memcpy(copy, block.data, block.length);
    int count = field_block_read(bytes_of(copy, block.length), fields, IO_SCRATCH_RESPONSE_FIELDS_MAX);
    if (count < 0)
        return count;
    struct response_head head = {
        .fields = fields, .field_count = (uint32_t)count, .copy = bytes_of(copy, block.length)};
    take_reason(&head);
    head.closes = asks_to_close(head.fields, head.field_count);
    *ret_head = head;
    return 0;
}

static bool status_without_body(uint16_t status)
{
    return status < 200 || status == 204 || status == 304;
}

struct response_framing response_head_framing(const struct reply *reply, bool is_head)
{
    bool complete = (reply->flags & MESSAGE_END) != 0 && (reply->flags & MESSAGE_FAILED) == 0;
    int64_t length = reply->content_length;
    if (length < 0 && complete && !is_head)
        length = (int64_t)reply->body.length;
    bool without_body = is_head || status_without_body(reply->status);
    bool may_state = reply->status >= 200 && reply->status != 204; /* RFC 9110 8.6 */

    if (length < 0)
        return (struct response_framing){.body = without_body ? HTTP_BODY_NONE : HTTP_BODY_UNKNOWN};
    return (struct response_framing){
        .body = without_body ? HTTP_BODY_NONE : HTTP_BODY_LENGTH,
        .states_length = may_state && (reply->content_length >= 0 || !without_body),
        .content_length = (uint64_t)length,
    };
}
