/*
 * Secure schemes: the setting secure_scheme_headers, made ready to be held against request fields.
 *
 * Owns:    its table and the text in it.
 * Threads: the loop. Life: `deinit` of a zeroed object is harmless.
 */
#ifndef DAEMON_IO_SECURE_SCHEMES_H
#define DAEMON_IO_SECURE_SCHEMES_H

#include "config/schema.h"
#include "proto/http_fields.h"

struct secure_scheme {
    struct bytes name; /* in lower case */
    struct bytes value;
};

struct secure_schemes {
    struct secure_scheme *items;
    size_t count;
    uint64_t name_lengths; /* bit N: a name of N octets, or of N plus a multiple of 64, is among them */
    char *text;
};

enum scheme_word { SCHEME_UNSAID, SCHEME_HTTP, SCHEME_HTTPS };

/* `items` are NAME=VALUE. -ENOMEM. */
[[nodiscard]] int secure_schemes_init(struct secure_schemes *schemes, const struct string_list *items);
void secure_schemes_deinit(struct secure_schemes *schemes);

/* What the field says: https with one of its values, http with any other, as in Gunicorn. Of X-Forwarded-Proto, which
 * proxies append to, the last item counts, and wss is https. */
enum scheme_word secure_schemes_read(const struct secure_schemes *schemes, const struct http_field *field);

static inline bool secure_schemes_may_have(const struct secure_schemes *schemes, size_t name_length)
{
    return (schemes->name_lengths >> (name_length & 63) & 1) != 0;
}

#endif
