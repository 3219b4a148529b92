#include "daemon/io/secure_schemes.h"

#include "proto/forwarded.h"

#include <errno.h>
#include <stdlib.h>

static size_t text_bytes(const struct string_list *items)
{
    size_t bytes = 0;
    for (size_t i = 0; i < items->count; i++)
        bytes += strlen(items->items[i]) + 1;
    return bytes;
}

static struct bytes put_lower(char **at, const char *text, size_t length)
{
    const struct bytes put = bytes_of(*at, length);
    for (size_t i = 0; i < length; i++)
        *(*at)++ = (char)bytes_lower((uint8_t)text[i]);
    return put;
}

int secure_schemes_init(struct secure_schemes *schemes, const struct string_list *items)
{
    struct secure_schemes made = {
        .items = calloc(items->count + 1, sizeof *made.items),
        .text = malloc(text_bytes(items) + 1),
    };
    if (made.items == NULL || made.text == NULL) {
        secure_schemes_deinit(&made);
        return -ENOMEM;
    }
    char *at = made.text;
    for (size_t i = 0; i < items->count; i++) {
        const char *name = items->items[i];
        size_t length = strcspn(name, "=");
        const char *value = name[length] == '=' ? name + length + 1 : "";
        made.items[i].name = put_lower(&at, name, length);
        made.items[i].value = put_lower(&at, value, strlen(value));
        made.name_lengths |= (uint64_t)1 << (length & 63);
    }
    made.count = items->count;
    *schemes = made;
    return 0;
}

void secure_schemes_deinit(struct secure_schemes *schemes)
{
    free(schemes->items);
    free(schemes->text);
    *schemes = (struct secure_schemes){};
}

/* The last item, and a WebSocket scheme as the one it is carried by. */
static struct bytes forwarded_proto(struct bytes value)
{
    struct bytes item = value;
    (void)forwarded_list_pop(&value, &item);
    if (bytes_equal_lower(item, BYTES_LITERAL("wss")))
        return BYTES_LITERAL("https");
    return bytes_equal_lower(item, BYTES_LITERAL("ws")) ? BYTES_LITERAL("http") : item;
}

enum scheme_word secure_schemes_read(const struct secure_schemes *schemes, const struct http_field *field)
{
    enum scheme_word word = SCHEME_UNSAID;
    for (size_t i = 0; i < schemes->count; i++) {
        if (!bytes_equal(schemes->items[i].name, field->name))
            continue;
        struct bytes value = field->id == HTTP_FIELD_X_FORWARDED_PROTO ? forwarded_proto(field->value) : field->value;
        if (bytes_equal_lower(value, schemes->items[i].value))
            return SCHEME_HTTPS;
        word = SCHEME_HTTP;
    }
    return word;
}
