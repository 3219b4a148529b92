#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdlib.h>

#include "daemon/io/request_record.h"
#include "proto/http1_request.h"

enum { FIELDS_MAX = 8, ARENA_BYTES = 4'096, HEAD_OFFSET = 1'000 };

/* A client at 192.0.2.7:5000, to a listener at 192.0.2.80:8000. The head is parsed in one place and stands in another.
 */
struct stage {
    struct io_core core;
    struct connection connection;
    struct connection_listener listener;
    struct metrics metrics;
    uint8_t arena[ARENA_BYTES];
    uint8_t parsed[ARENA_BYTES];
    struct http_field fields[FIELDS_MAX];
    struct http1_request request;
    struct slot_record *record;
};

static const struct http1_limits LIMITS = {8'190, 8'190, FIELDS_MAX, ARENA_BYTES, 32, 0, false};

static int set_stage(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    if (stage == NULL)
        return -1;
    stage->record = calloc(1, sizeof *stage->record + FIELDS_MAX * sizeof *stage->record->fields);
    stage->core.metrics = &stage->metrics;
    stage->core.inbound.base = stage->arena;
    stage->core.setup.shape.fields_max = FIELDS_MAX;
    stage->listener = (struct connection_listener){.port = 8'000, .server = "192.0.2.80"};
    stage->connection.listener = &stage->listener;
    stage->connection.server = stage->listener.server;
    stage->connection.peer.ipv4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(5'000)};
    inet_pton(AF_INET, "192.0.2.7", &stage->connection.peer.ipv4.sin_addr);
    *state = stage;
    return stage->record != NULL ? 0 : -1;
}

static int strike_stage(void **state)
{
    struct stage *stage = *state;
    free(stage->record);
    free(stage);
    return 0;
}

static const char *fill(struct stage *stage, const struct http_head *head)
{
    return request_record_fill(&stage->core, &stage->connection, head, stage->parsed, stage->arena + HEAD_OFFSET,
                               stage->record);
}

static void parse(struct stage *stage, const char *text)
{
    const size_t length = strlen(text);
    size_t consumed;
    memcpy(stage->parsed, text, length);
    http1_request_init(&stage->request, stage->fields, FIELDS_MAX);
    assert_int_equal(http1_request_feed(&stage->request, &LIMITS, stage->parsed, length, &consumed), HTTP1_HEAD_READY);
    memcpy(stage->arena + HEAD_OFFSET, stage->parsed, length);
    assert_null(fill(stage, &stage->request.head));
}

static void assert_span(const struct stage *stage, uint32_t offset, uint32_t length, const char *text)
{
    assert_int_equal(length, strlen(text));
    assert_memory_equal(stage->arena + offset, text, length);
}

#define ASSERT_SPAN(stage, span, text) assert_span(stage, (span).offset, (span).length, text)

static void assert_field(const struct stage *stage, uint32_t index, const char *name, const char *value)
{
    const struct slot_field *field = &stage->record->fields[index];
    assert_span(stage, field->name_offset, field->name_length, name);
    assert_span(stage, field->value_offset, field->value_length, value);
    assert_int_equal(field->id, http_field_id_of(bytes_of_string(name)));
}

static void spans_are_offsets_to_where_the_head_stands(void **state)
{
    struct stage *stage = *state;
    parse(stage, "GET /a%20b?c=d HTTP/1.1\r\nHost: example\r\nX-Empty:\r\nX-Two: 2\r\n\r\n");
    const struct slot_record *record = stage->record;
    ASSERT_SPAN(stage, record->method, "GET");
    ASSERT_SPAN(stage, record->target, "/a%20b?c=d");
    ASSERT_SPAN(stage, record->path, "/a%20b");
    ASSERT_SPAN(stage, record->query, "c=d");
    assert_int_equal(record->field_count, 3);
    assert_field(stage, 0, "host", "example");
    assert_int_equal(record->fields[1].value_length, 0);
    assert_field(stage, 2, "x-two", "2");
    assert_string_equal(record->client, "192.0.2.7");
    assert_int_equal(record->client_port, 5'000);
    assert_string_equal(record->server, "192.0.2.80");
    assert_int_equal(record->server_port, 8'000);
}

static void what_is_absent_is_no_span(void **state)
{
    struct stage *stage = *state;
    parse(stage, "GET / HTTP/1.0\r\n\r\n");
    assert_int_equal(stage->record->query.offset, 0);
    assert_int_equal(stage->record->query.length, 0);
    assert_int_equal(stage->record->field_count, 0);
}

static void the_version_is_that_of_the_head(void **state)
{
    struct stage *stage = *state;
    parse(stage, "GET / HTTP/1.0\r\n\r\n");
    assert_int_equal(stage->record->version, SLOT_HTTP_1_0);
    parse(stage, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(stage->record->version, SLOT_HTTP_1_1);
    stage->request.head.version = HTTP_VERSION_2;
    assert_null(fill(stage, &stage->request.head));
    assert_int_equal(stage->record->version, SLOT_HTTP_2);
}

static void the_kind_of_body_is_told(void **state)
{
    struct stage *stage = *state;
    static const struct {
        const char *head;
        uint8_t flags;
        int64_t length;
    } CASES[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, 0},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", SLOT_BODY, 0},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n", SLOT_BODY, INT64_MAX},
        {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", SLOT_BODY | SLOT_CHUNKED, -1},
        {"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n", SLOT_TE_TRAILERS, 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        parse(stage, CASES[i].head);
        assert_int_equal(stage->record->flags, CASES[i].flags);
        assert_true(stage->record->content_length == CASES[i].length);
    }
}

static void nothing_of_the_record_before_stays(void **state)
{
    struct stage *stage = *state;
    parse(stage, "PUT /?q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n");
    uint64_t id = stage->record->request_id;
    parse(stage, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(stage->record->flags, 0);
    assert_int_equal(stage->record->query.length, 0);
    assert_int_equal(stage->record->field_count, 1);
    assert_true(stage->record->request_id > id);
}

/* httpoxy: HTTP_PROXY in a CGI environment is a setting of the application's own HTTP client. */
static void a_proxy_field_reaches_no_application(void **state)
{
    struct stage *stage = *state;
    parse(stage, "GET / HTTP/1.1\r\nHost: a\r\nProxy: http://evil\r\nX: y\r\n\r\n");
    assert_int_equal(stage->record->field_count, 2);
    assert_field(stage, 1, "x", "y");
}

static void a_name_with_an_underscore_is_dropped_and_counted(void **state)
{
    struct stage *stage = *state;
    parse(stage, "GET / HTTP/1.1\r\nHost: a\r\nX_Real_Ip: 1\r\nScript_Name: /x\r\nX: y\r\n\r\n");
    assert_int_equal(stage->record->field_count, 2);
    assert_field(stage, 1, "x", "y");
    assert_int_equal(metrics_get(&stage->metrics, METRIC_UNDERSCORE_FIELDS_DROPPED), 2);
    stage->core.settings.header_map = HEADER_MAP_DANGEROUS;
    parse(stage, "GET / HTTP/1.1\r\nHost: a\r\nX_Real_Ip: 1\r\n\r\n");
    assert_field(stage, 1, "x_real_ip", "1");
}

static void a_trusted_peer_may_send_the_forwarder_headers(void **state)
{
    struct stage *stage = *state;
    char script_name[] = "SCRIPT_NAME";
    char path_info[] = "PATH_INFO";
    char *names[] = {path_info, script_name};
    stage->core.settings.forwarder_headers = (struct string_list){.items = names, .count = 2};
    for (int trusted = 0; trusted < 2; trusted++) {
        stage->core.forwarded_allow.everyone = trusted != 0;
        parse(stage, "GET / HTTP/1.1\r\nHost: a\r\nScript_Name: /x\r\nScript_Names: /y\r\nScript_Nam: /z\r\n\r\n");
        assert_int_equal(stage->record->field_count, 1 + trusted);
        assert_int_equal(stage->record->flags & SLOT_TRUSTED, trusted ? SLOT_TRUSTED : 0);
    }
    assert_field(stage, 1, "script_name", "/x");
}

static void headers_that_contradict_each_other_are_a_refusal(void **state)
{
    struct stage *stage = *state;
    char ssl[] = "X-FORWARDED-SSL=on";
    char proto[] = "X-FORWARDED-PROTO=https";
    char *schemes[] = {ssl, proto};
    const struct string_list list = {.items = schemes, .count = 2};
    stage->core.forwarded_allow.everyone = true;
    assert_int_equal(secure_schemes_init(&stage->core.secure_schemes, &list), 0);
    parse(stage, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    stage->request.head.fields[1] = (struct http_field){
        .name = BYTES_LITERAL("x-forwarded-ssl"), .value = BYTES_LITERAL("on"), .id = HTTP_FIELD_OTHER};
    stage->request.head.fields[2] = (struct http_field){
        .name = BYTES_LITERAL("x-forwarded-proto"), .value = BYTES_LITERAL("http"), .id = HTTP_FIELD_X_FORWARDED_PROTO};
    stage->request.head.field_count = 3;
    assert_non_null(fill(stage, &stage->request.head));
    secure_schemes_deinit(&stage->core.secure_schemes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_stage, strike_stage)
    const struct CMUnitTest tests[] = {
        TEST(spans_are_offsets_to_where_the_head_stands),
        TEST(what_is_absent_is_no_span),
        TEST(the_version_is_that_of_the_head),
        TEST(the_kind_of_body_is_told),
        TEST(nothing_of_the_record_before_stays),
        TEST(a_proxy_field_reaches_no_application),
        TEST(a_name_with_an_underscore_is_dropped_and_counted),
        TEST(a_trusted_peer_may_send_the_forwarder_headers),
        TEST(headers_that_contradict_each_other_are_a_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
