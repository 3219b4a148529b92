#include "daemon/io/access_json.h"

#include <assert.h>
#include <string.h>

enum { SHORT_VALUE_BYTES_MAX = 256 }; /* address, method, scheme: bounded more tightly */

static void put_string(struct log_text *line, struct bytes value, size_t bytes_max)
{
    LOG_TEXT_LITERAL(line, "\"");
    log_text_put_escaped(line, value, bytes_max, log_text_escape_json);
    LOG_TEXT_LITERAL(line, "\"");
}

/* A member that is absent from the request is absent from the line. */
static void put_member(struct log_text *line, const char *name, struct bytes value, size_t bytes_max)
{
    if (value.length == 0)
        return;
    log_text_put(line, name, strlen(name));
    put_string(line, value, bytes_max);
}

static void put_timestamp(struct log_text *line, struct bytes second, uint64_t time_us)
{
    char fraction[] = ".000000Z\"";
    log_text_digits(fraction + 1, (unsigned)(time_us % 1'000'000), 6);
    LOG_TEXT_LITERAL(line, "{\"timestamp\":\"");
    log_text_put(line, second.data, second.length);
    log_text_put(line, fraction, sizeof fraction - 1);
}

static void put_request(struct log_text *line, const struct access_entry *entry)
{
    enum { SHORT = SHORT_VALUE_BYTES_MAX, LONG = ACCESS_VALUE_BYTES_MAX };
    put_member(line, ",\"client.address\":", entry->remote_address, SHORT);
    put_member(line, ",\"http.request.method\":", entry->method, SHORT);
    put_member(line, ",\"url.scheme\":", entry->scheme, SHORT);
    put_member(line, ",\"url.path\":", entry->path, LONG);
    put_member(line, ",\"url.query\":", entry->query, LONG);
    LOG_TEXT_LITERAL(line, ",\"network.protocol.version\":\"");
    log_text_put_decimal(line, entry->version_major);
    LOG_TEXT_LITERAL(line, ".");
    log_text_put_decimal(line, entry->version_minor);
    LOG_TEXT_LITERAL(line, "\"");
}

static void put_response(struct log_text *line, const struct access_entry *entry)
{
    LOG_TEXT_LITERAL(line, ",\"http.response.status_code\":");
    log_text_put_decimal(line, entry->status);
    LOG_TEXT_LITERAL(line, ",\"http.response.body.size\":");
    log_text_put_decimal(line, entry->body_bytes);
    LOG_TEXT_LITERAL(line, ",\"http.server.request.duration\":");
    log_text_put_seconds(line, entry->duration_us);
    if (entry->app_pid > 0) {
        LOG_TEXT_LITERAL(line, ",\"process.pid\":");
        log_text_put_decimal(line, (uint64_t)entry->app_pid);
    }
}

static void put_fields(struct log_text *line, const struct access_entry *entry)
{
    enum { LONG = ACCESS_VALUE_BYTES_MAX };
    static const struct bytes none = {};
    uint8_t user[ACCESS_USER_BYTES_MAX];
    struct bytes referer = access_entry_request_field(entry, HTTP_FIELD_REFERER, none);

    put_member(line, ",\"server.address\":", access_entry_request_field(entry, HTTP_FIELD_HOST, none), LONG);
    put_member(line, ",\"user_agent.original\":", access_entry_request_field(entry, HTTP_FIELD_USER_AGENT, none), LONG);
    put_member(line, ",\"http.request.header.referer\":[", referer, LONG); /* fields are lists there */
    if (referer.length)
        LOG_TEXT_LITERAL(line, "]");
    put_member(line, ",\"user.name\":", access_entry_user(entry, user), LONG);
}

enum { JSON_LONG_VALUES = 6, JSON_SHORT_VALUES = 3, JSON_REST_BYTES_MAX = 1024, JSON_VALUE_OVERHEAD = 3 };
static_assert(JSON_LONG_VALUES * (ACCESS_VALUE_BYTES_MAX + JSON_VALUE_OVERHEAD) +
                      JSON_SHORT_VALUES * (SHORT_VALUE_BYTES_MAX + JSON_VALUE_OVERHEAD) + JSON_REST_BYTES_MAX <=
                  ACCESS_LINE_BYTES_MAX,
              "a JSON line is never cut, for half an object is none");

void access_json_put(struct log_text *line, const struct access_entry *entry, struct bytes second)
{
    put_timestamp(line, second, entry->time_us);
    put_request(line, entry);
    put_response(line, entry);
    put_fields(line, entry);
    LOG_TEXT_LITERAL(line, "}");
}
