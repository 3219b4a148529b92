#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/io/access_format.h"

#define FIELD(field_name, field_value, known)                                             \
    {                                                                                     \
        .name = BYTES_LITERAL(field_name), .value = field_value, .id = HTTP_FIELD_##known \
    }

static const struct http_field request_fields[] = {
    FIELD("host", BYTES_LITERAL("example.com:8000"), HOST),
    FIELD("user-agent", BYTES_LITERAL("curl/8.5"), USER_AGENT),
    FIELD("referer", BYTES_LITERAL("https://a.example/"), REFERER),
    FIELD("authorization", BYTES_LITERAL("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), AUTHORIZATION),
    FIELD("x-twice", BYTES_LITERAL("one"), OTHER),
    FIELD("x-twice", BYTES_LITERAL("two"), OTHER),
    FIELD("x-empty", {}, OTHER),
};

static const struct http_field response_fields[] = {
    FIELD("Content-Type", BYTES_LITERAL("text/plain"), OTHER),
    FIELD("X-Request-ID", BYTES_LITERAL("r-1"), OTHER),
};

enum { REQUEST_FIELDS = sizeof request_fields / sizeof request_fields[0] };

static struct access_entry usual_entry(void)
{
    return (struct access_entry){
        .time_us = 1'795'366'800'000'042,
        .duration_us = 2'045'678,
        .remote_address = BYTES_LITERAL("192.0.2.7"),
        .method = BYTES_LITERAL("GET"),
        .target = BYTES_LITERAL("/a/b?x=1&y"),
        .path = BYTES_LITERAL("/a/b"),
        .query = BYTES_LITERAL("x=1&y"),
        .scheme = BYTES_LITERAL("http"),
        .version_major = 1,
        .version_minor = 1,
        .status = 200,
        .app_pid = 4711,
        .body_bytes = 1234,
        .request_fields = request_fields,
        .request_field_count = REQUEST_FIELDS,
        .response_fields = response_fields,
        .response_field_count = 2,
    };
}

static struct access_format *compiled(const char *text)
{
    struct access_format *format = NULL;
    const char *problem = NULL;
    assert_int_equal(access_format_create(text, &format, &problem), 0);
    assert_null(problem);
    return format;
}

/* The line without its line end, in static memory. */
static const char *rendered(const char *text, const struct access_entry *entry)
{
    static char line[ACCESS_LINE_BYTES_MAX + 1];
    struct access_format *format = compiled(text);
    size_t length = access_format_render(format, entry, line, ACCESS_LINE_BYTES_MAX);
    assert_in_range(length, 1, ACCESS_LINE_BYTES_MAX);
    assert_int_equal(line[length - 1], '\n');
    line[length - 1] = 0;
    access_format_destroy(format);
    return line;
}

static void assert_line(const char *format, const char *expected)
{
    struct access_entry entry = usual_entry();
    assert_string_equal(rendered(format, &entry), expected);
}

static void the_default_format_is_gunicorns(void **state)
{
    (void)state;
    assert_line(ACCESS_FORMAT_DEFAULT,
                "192.0.2.7 - Aladdin [22/Nov/2026:17:00:00 +0000] \"GET /a/b?x=1&y HTTP/1.1\" 200 "
                "1234 \"https://a.example/\" \"curl/8.5\"");
}

static void every_atom_has_its_value(void **state)
{
    (void)state;
    assert_line("%(h)s|%(l)s|%(u)s|%(m)s|%(U)s|%(q)s|%(H)s|%(s)s", "192.0.2.7|-|Aladdin|GET|/a/b|x=1&y|HTTP/1.1|200");
    assert_line("%(B)d|%(b)s|%(f)s|%(a)s|%(p)s", "1234|1234|https://a.example/|curl/8.5|<4711>");
    assert_line("%(T)s|%(M)s|%(D)s|%(L)s", "2|2045|2045678|2.045678");
    assert_line("100%% (%(s)s)", "100% (200)");
    assert_line("", "");
}

static void named_atoms_find_fields_without_regard_to_case(void **state)
{
    (void)state;
    assert_line("%({Host}i)s %({X-TWICE}i)s %({x-empty}i)s.%({x-none}i)s", "example.com:8000 two .-");
    assert_line("%({content-TYPE}o)s %({x-request-id}o)s %({x-none}o)s", "text/plain r-1 -");
    assert_line("%({REQUEST_METHOD}e)s %({RAW_URI}e)s %({wsgi.url_scheme}e)s %({HTTP_X_TWICE}e)s %({no.such}e)s",
                "GET /a/b?x=1&y http two -");
    assert_line("%({CONTENT_LENGTH}e)s %({HTTP_HOST}e)s %({HTTP_}e)s", "- example.com:8000 -");
}

static void an_unknown_atom_is_a_dash(void **state)
{
    (void)state;
    assert_line("%(z)s %(hh)s %()s %({}i)s %({x}y)s %({x)s", "- - - - - -");
}

static void what_is_absent_is_a_dash_where_gunicorn_has_one(void **state)
{
    (void)state;
    struct access_entry entry = {.version_major = 1, .status = 400};
    assert_string_equal(rendered("%(h)s %(u)s \"%(r)s\" %(s)s %(b)s %(f)s %(a)s %(p)s %(q)s.", &entry),
                        "- - \"  HTTP/1.0\" 400 0 - - - .");
}

static void a_format_that_cannot_be_read_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const texts[] = {"%", "%h", "a %(h", "%(h)", "%(h)x", "100%", "%(h)s %"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct access_format *format = NULL;
        const char *problem = NULL;
        assert_int_equal(access_format_create(texts[i], &format, &problem), -EINVAL);
        assert_non_null(problem);
        assert_null(format);
    }
}

static void a_format_may_have_128_pieces_and_no_more(void **state)
{
    (void)state;
    char text[5 * (ACCESS_FORMAT_OPS_MAX + 1) + 1] = "";
    for (int i = 0; i < ACCESS_FORMAT_OPS_MAX; i++)
        strcat(text, "%(s)s");
    access_format_destroy(compiled(text));
    struct access_format *format = NULL;
    const char *problem = NULL;
    assert_int_equal(access_format_create(strcat(text, "%(s)s"), &format, &problem), -EINVAL);
}

static void only_response_atoms_want_response_fields(void **state)
{
    (void)state;
    struct access_format *with = compiled("%(h)s %({x}o)s");
    struct access_format *without = compiled("%(h)s %({x}i)s");
    assert_true(access_format_wants_response_fields(with));
    assert_false(access_format_wants_response_fields(without));
    access_format_destroy(with);
    access_format_destroy(without);
}

static void assert_user(const char *authorization, const char *expected)
{
    struct http_field field = FIELD("authorization", bytes_of_string(authorization), AUTHORIZATION);
    struct access_entry entry = {.request_fields = &field, .request_field_count = 1};
    assert_string_equal(rendered("%(u)s", &entry), expected);
}

static void the_user_is_what_stands_before_the_colon(void **state)
{
    (void)state;
    assert_user("Basic dTpw", "u");         /* u:p */
    assert_user("bAsIc   dTpw  ", "u");     /* the scheme has no case */
    assert_user("Basic OnA=", "-");         /* :p */
    assert_user("Basic bm9jb2xvbg==", "-"); /* nocolon: it may be a password */
    assert_user("Basic d!pw", "-");
    assert_user("Basic", "-");
    assert_user("Basic ", "-");
    assert_user("Bearer dTpw", "-");
    assert_user("Basic YQoiYjpw", "a\\x0a\\\"b"); /* a LF " b : p */
    char lone[1024] = "Basic ";
    memset(lone + 6, 'A', sizeof lone - 7);
    assert_user(lone, "-");
}

static void no_octet_of_a_client_can_forge_a_line(void **state)
{
    (void)state;
    struct access_entry entry = usual_entry();
    entry.target = BYTES_LITERAL("/\r\n1.2.3.4 - - \"x\" \\ \x7f\x1b[2J \xe9 caf\xc3\xa9\x00");
    assert_string_equal(rendered("%(r)s", &entry), "GET /\\x0d\\x0a1.2.3.4 - - \\\"x\\\" \\\\ \\x7f\\x1b[2J \\xe9 "
                                                   "caf\\xc3\\xa9\\x00 HTTP/1.1");
}

static void json_has_opentelemetrys_names(void **state)
{
    (void)state;
    assert_line("json",
                "{\"timestamp\":\"2026-11-22T17:00:00.000042Z\",\"client.address\":\"192.0.2.7\","
                "\"http.request.method\":\"GET\",\"url.scheme\":\"http\",\"url.path\":\"/a/b\","
                "\"url.query\":\"x=1&y\",\"network.protocol.version\":\"1.1\",\"http.response.status_code\":200,"
                "\"http.response.body.size\":1234,\"http.server.request.duration\":2.045678,\"process.pid\":4711,"
                "\"server.address\":\"example.com:8000\",\"user_agent.original\":\"curl/8.5\","
                "\"http.request.header.referer\":[\"https://a.example/\"],\"user.name\":\"Aladdin\"}");
}

static void json_leaves_out_what_is_absent(void **state)
{
    (void)state;
    struct access_entry entry = {.version_major = 1, .status = 400};
    assert_string_equal(rendered("json", &entry),
                        "{\"timestamp\":\"1970-01-01T00:00:00.000000Z\",\"network.protocol.version\":\"1.0\","
                        "\"http.response.status_code\":400,\"http.response.body.size\":0,"
                        "\"http.server.request.duration\":0.000000}");
}

static void assert_json_path(struct bytes path, const char *expected)
{
    struct access_entry entry = {.path = path};
    const char *line = strstr(rendered("json", &entry), "\"url.path\":\"");
    assert_non_null(line);
    line += strlen("\"url.path\":\"");
    assert_memory_equal(line, expected, strlen(expected));
    assert_memory_equal(line + strlen(expected), "\",\"network", 10);
}

static void json_strings_are_escaped_and_always_utf8(void **state)
{
    (void)state;
    assert_json_path(BYTES_LITERAL("\"\\\n\t\x01\x7f/"), "\\\"\\\\\\u000a\\u0009\\u0001\\u007f/");
    assert_json_path(BYTES_LITERAL("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x8d"),
                     "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x8d");
    assert_json_path(BYTES_LITERAL("\xc2\x85 \xe2\x80\xa8 \xe2\x80\xa9 \xe2\x80\xaa"),
                     "\\u0085 \\u2028 \\u2029 \xe2\x80\xaa");
#define BAD "\xef\xbf\xbd"
    assert_json_path(BYTES_LITERAL("\xe9/"), BAD "/");
    assert_json_path(BYTES_LITERAL("\xc0\x80"), BAD BAD);                 /* overlong */
    assert_json_path(BYTES_LITERAL("\xed\xa0\x80"), BAD BAD BAD);         /* surrogate */
    assert_json_path(BYTES_LITERAL("\xf4\x90\x80\x80"), BAD BAD BAD BAD); /* beyond U+10FFFF */
    assert_json_path(BYTES_LITERAL("\xe2\x82"), BAD BAD);                 /* cut */
    assert_json_path(BYTES_LITERAL("\xff\xfe"), BAD BAD);
#undef BAD
}

static struct bytes repeated(uint8_t octet, size_t length)
{
    static uint8_t memory[100'000];
    assert_true(length <= sizeof memory);
    memset(memory, octet, length);
    return bytes_of(memory, length);
}

static void a_long_value_is_cut_and_says_so(void **state)
{
    (void)state;
    enum { MAX = ACCESS_VALUE_BYTES_MAX };
    struct access_entry entry = {.path = repeated('p', MAX)};
    assert_int_equal(strlen(rendered("%(U)s", &entry)), MAX);
    entry.path = repeated('p', MAX + 1);
    const char *line = rendered("%(U)s", &entry);
    assert_int_equal(strlen(line), MAX + 3);
    assert_string_equal(line + MAX, "...");
    entry.path = repeated('\n', MAX);
    line = rendered("%(U)s.", &entry);
    assert_string_equal(line + MAX - 4, "\\x0a....");
}

static void a_long_line_is_cut_and_says_so(void **state)
{
    (void)state;
    struct access_entry entry = {.path = repeated('p', 8192)};
    const char *line = rendered("%(U)s%(U)s%(U)s%(U)s%(U)s%(U)s%(U)s%(U)s", &entry);
    assert_int_equal(strlen(line), ACCESS_LINE_BYTES_MAX - 1);
    assert_string_equal(line + strlen(line) - 4, "p...");
}

static void the_worst_json_line_is_still_an_object(void **state)
{
    (void)state;
    struct bytes worst = repeated(1, 90'000);
    struct http_field fields[] = {FIELD("host", worst, HOST), FIELD("user-agent", worst, USER_AGENT),
                                  FIELD("referer", worst, REFERER),
                                  FIELD("authorization", BYTES_LITERAL("Basic dTpw"), AUTHORIZATION)};
    struct access_entry entry = {.time_us = UINT64_MAX,
                                 .duration_us = UINT64_MAX,
                                 .remote_address = worst,
                                 .method = worst,
                                 .path = worst,
                                 .query = worst,
                                 .scheme = worst,
                                 .version_major = 255,
                                 .version_minor = 255,
                                 .status = UINT16_MAX,
                                 .app_pid = INT32_MAX,
                                 .body_bytes = UINT64_MAX,
                                 .request_fields = fields,
                                 .request_field_count = 4};
    const char *line = rendered("json", &entry);
    assert_true(strlen(line) > 5 * (size_t)ACCESS_VALUE_BYTES_MAX);
    assert_string_equal(line + strlen(line) - 17, ",\"user.name\":\"u\"}");
}

static void a_line_that_does_not_fit_is_not_begun(void **state)
{
    (void)state;
    struct access_entry entry = usual_entry();
    struct access_format *format = compiled("%(h)s %(r)s");
    char whole[256];
    size_t length = access_format_render(format, &entry, whole, sizeof whole);
    assert_int_equal(length, strlen("192.0.2.7 GET /a/b?x=1&y HTTP/1.1\n"));
    for (size_t capacity = 0; capacity < length; capacity++) {
        char *exact = malloc(capacity + 1); /* its own block, so that an overrun is seen */
        assert_non_null(exact);
        assert_int_equal(access_format_render(format, &entry, exact, capacity), 0);
        free(exact);
    }
    assert_int_equal(access_format_render(format, &entry, whole, length + 3), length);
    access_format_destroy(format);
}

static void the_time_follows_the_clock_also_backwards(void **state)
{
    (void)state;
    struct access_format *format = compiled("%(t)s");
    struct access_entry entry = usual_entry();
    char line[64] = "";
    static const uint64_t seconds[] = {59, 60, 60, 59};
    static const char *const expected[] = {":00:59 ", ":01:00 ", ":01:00 ", ":00:59 "};
    for (size_t i = 0; i < 4; i++) {
        entry.time_us = seconds[i] * 1'000'000;
        assert_true(access_format_render(format, &entry, line, sizeof line) > 0);
        assert_non_null(strstr(line, expected[i]));
    }
    access_format_destroy(format);
}

static void the_time_is_local_time(void **state)
{
    (void)state;
    setenv("TZ", "XXX-05:30", 1);
    assert_line("%(t)s", "[22/Nov/2026:22:30:00 +0530]");
    setenv("TZ", "UTC0", 1);
}

/* Random octets in every span and random room: one line, printable, whatever came. */
enum { ROUNDS = 20'000, SPAN_MAX = 64 };

static struct bytes random_span(uint8_t *memory)
{
    size_t length = (size_t)rand() % SPAN_MAX;
    bool wild = rand() % 2;
    for (size_t i = 0; i < length; i++)
        memory[i] = (uint8_t)(wild ? rand() : "\"\\\n a\xc2\x85\xe2\x80\xa8"[rand() % 10]);
    return bytes_of(memory, length);
}

static struct access_entry random_entry(uint8_t memory[8][SPAN_MAX], struct http_field fields[2])
{
    fields[0] = (struct http_field)FIELD("user-agent", random_span(memory[0]), USER_AGENT);
    fields[1] = (struct http_field)FIELD("referer", random_span(memory[1]), REFERER);
    return (struct access_entry){.remote_address = random_span(memory[2]),
                                 .method = random_span(memory[3]),
                                 .target = random_span(memory[4]),
                                 .path = random_span(memory[5]),
                                 .query = random_span(memory[6]),
                                 .scheme = random_span(memory[7]),
                                 .request_fields = fields,
                                 .request_field_count = 2};
}

static void assert_text_is_one_printable_line(const char *line, size_t length)
{
    for (size_t i = 0; i + 1 < length; i++)
        assert_in_range(line[i], 0x20, 0x7e);
    assert_int_equal(line[length - 1], '\n');
}

/* Enough of a reader to see where strings end: the object must close exactly at the end of the line. */
static void assert_json_is_one_object(const char *line, size_t length)
{
    bool in_string = false;
    for (size_t i = 0; i + 1 < length; i++) {
        assert_true((uint8_t)line[i] >= 0x20 && line[i] != 0x7f);
        if (in_string && line[i] == '\\')
            i++;
        else if (line[i] == '"')
            in_string = !in_string;
        else if (line[i] == '}' && !in_string)
            assert_int_equal(i, length - 2);
    }
    assert_false(in_string);
    assert_memory_equal(line + length - 2, "}\n", 2);
}

static void random_octets_make_one_line_each(void **state)
{
    (void)state;
    struct access_format *text = compiled(ACCESS_FORMAT_DEFAULT " %(U)s %(q)s %({referer}i)s %({wsgi.url_scheme}e)s");
    struct access_format *json = compiled("json");
    uint8_t memory[8][SPAN_MAX];
    struct http_field fields[2];
    srand(1);
    for (int i = 0; i < ROUNDS; i++) {
        struct access_entry entry = random_entry(memory, fields);
        char line[4096];
        size_t capacity = (size_t)rand() % sizeof line;
        size_t length = access_format_render(text, &entry, line, capacity);
        assert_true(length <= capacity);
        if (length)
            assert_text_is_one_printable_line(line, length);
        length = access_format_render(json, &entry, line, capacity);
        assert_true(length <= capacity);
        if (length)
            assert_json_is_one_object(line, length);
    }
    access_format_destroy(text);
    access_format_destroy(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_format_is_gunicorns),
        cmocka_unit_test(every_atom_has_its_value),
        cmocka_unit_test(named_atoms_find_fields_without_regard_to_case),
        cmocka_unit_test(an_unknown_atom_is_a_dash),
        cmocka_unit_test(what_is_absent_is_a_dash_where_gunicorn_has_one),
        cmocka_unit_test(a_format_that_cannot_be_read_is_refused_with_a_reason),
        cmocka_unit_test(a_format_may_have_128_pieces_and_no_more),
        cmocka_unit_test(only_response_atoms_want_response_fields),
        cmocka_unit_test(the_user_is_what_stands_before_the_colon),
        cmocka_unit_test(no_octet_of_a_client_can_forge_a_line),
        cmocka_unit_test(json_has_opentelemetrys_names),
        cmocka_unit_test(json_leaves_out_what_is_absent),
        cmocka_unit_test(json_strings_are_escaped_and_always_utf8),
        cmocka_unit_test(a_long_value_is_cut_and_says_so),
        cmocka_unit_test(a_long_line_is_cut_and_says_so),
        cmocka_unit_test(the_worst_json_line_is_still_an_object),
        cmocka_unit_test(a_line_that_does_not_fit_is_not_begun),
        cmocka_unit_test(the_time_follows_the_clock_also_backwards),
        cmocka_unit_test(the_time_is_local_time),
        cmocka_unit_test(random_octets_make_one_line_each),
    };
    setenv("TZ", "UTC0", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
