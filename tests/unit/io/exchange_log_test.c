#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdlib.h>

#include "daemon/exchange/field_block.h"
#include "daemon/io/exchange_log.h"

enum { FIELDS_MAX = 4 };

static const char ARENA[] = "nothingPOST/a?b=cuser-agentsnake";

struct stage {
    struct io_core core;
    struct connection connection;
    struct connection_listener listener;
    struct http_exchange exchange;
    struct slot_record *record;
    char line[512];
};

static int set_stage(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    if (stage == NULL)
        return -1;
    stage->record = calloc(1, sizeof *stage->record + FIELDS_MAX * sizeof *stage->record->fields);
    stage->exchange.record = stage->record;
    stage->core.inbound.base = (uint8_t *)(uintptr_t)ARENA; /* only read */
    stage->core.now_us = 5'000'000;
    stage->core.now_ms = 5'000;
    stage->connection.listener = &stage->listener;
    stage->connection.peer.ipv4 = (struct sockaddr_in){.sin_family = AF_INET};
    inet_pton(AF_INET, "192.0.2.7", &stage->connection.peer.ipv4.sin_addr);
    *state = stage;
    return stage->record != NULL ? io_scratch_init(&stage->core.scratch, FIELDS_MAX) : -1;
}

static int strike_stage(void **state)
{
    struct stage *stage = *state;
    io_scratch_deinit(&stage->core.scratch);
    access_log_destroy(stage->core.access_log);
    free(stage->exchange.logged_fields);
    free(stage->record);
    free(stage);
    return 0;
}

static void open_log(struct stage *stage, const char *format)
{
    const char *problem = NULL;
    assert_int_equal(access_log_create(format, &stage->core.access_log, &problem), 0);
}

/* What was logged since the last look. */
static const char *logged(struct stage *stage)
{
    struct bytes bytes;
    stage->line[0] = '\0';
    if (!access_log_take(stage->core.access_log, &bytes))
        return stage->line;
    assert_true(bytes.length < sizeof stage->line);
    memcpy(stage->line, bytes.data, bytes.length);
    stage->line[bytes.length] = '\0';
    access_log_written(stage->core.access_log, (int64_t)bytes.length);
    return stage->line;
}

static void fill_record(struct stage *stage, enum slot_version version)
{
    struct slot_record *record = stage->record;
    record->version = (uint8_t)version;
    record->method = (struct arena_span){7, 4};
    record->target = (struct arena_span){11, 6};
    record->path = (struct arena_span){11, 2};
    record->query = (struct arena_span){14, 3};
    record->field_count = 1;
    record->fields[0] = (struct slot_field){17, 27, 5, 10, HTTP_FIELD_USER_AGENT};
    strcpy(record->client, "2001:db8::1");
}

static void an_exchange_is_logged_as_its_record_has_it(void **state)
{
    struct stage *stage = *state;
    open_log(stage, "%(h)s \"%(r)s\" %(U)s %(q)s %(s)s %(B)s %(p)s %(D)s \"%(a)s\"");
    fill_record(stage, SLOT_HTTP_1_1);
    stage->exchange.status = 201;
    stage->exchange.response_bytes = 17;
    stage->exchange.app_pid = 4711;
    stage->exchange.started_us = 3'000'000;
    exchange_log_append(&stage->core, &stage->exchange);
    assert_string_equal(logged(stage), "2001:db8::1 \"POST /a?b=c HTTP/1.1\" /a b=c 201 17 <4711> 2000000 \"snake\"\n");
}

static void each_version_has_its_name(void **state)
{
    struct stage *stage = *state;
    open_log(stage, "%(H)s");
    static const enum slot_version VERSIONS[] = {SLOT_HTTP_1_0, SLOT_HTTP_1_1, SLOT_HTTP_2};
    static const char *const NAMES[] = {"HTTP/1.0\n", "HTTP/1.1\n", "HTTP/2.0\n"};
    for (size_t i = 0; i < 3; i++) {
        fill_record(stage, VERSIONS[i]);
        exchange_log_append(&stage->core, &stage->exchange);
        assert_string_equal(logged(stage), NAMES[i]);
        const struct http_head head = {.version = (uint8_t)VERSIONS[i]};
        exchange_log_refused(&stage->core, &stage->connection, &head, 0, 400);
        assert_string_equal(logged(stage), NAMES[i]);
    }
}

static void a_refused_request_is_logged_as_far_as_it_was_understood(void **state)
{
    struct stage *stage = *state;
    open_log(stage, "%(h)s %(m)s %(U)s %(s)s %(D)s");
    const struct http_head head = {
        .version = HTTP_VERSION_1_1, .method = BYTES_LITERAL("GET"), .path = BYTES_LITERAL("/x")};
    exchange_log_refused(&stage->core, &stage->connection, &head, 4'990, 414);
    assert_string_equal(logged(stage), "192.0.2.7 GET /x 414 10000\n");
    exchange_log_refused(&stage->core, &stage->connection, NULL, 0, 408);
    assert_string_equal(logged(stage), "192.0.2.7   408 0\n");
}

static void response_fields_outlive_the_scratch_they_were_read_into(void **state)
{
    struct stage *stage = *state;
    uint8_t block[128];
    size_t used = 0;
    struct response_head head;
    open_log(stage, "%({x-cache}o)s");
    assert_true(field_block_append(block, sizeof block, &used, BYTES_LITERAL(":reason"), BYTES_LITERAL("Fine")));
    assert_true(field_block_append(block, sizeof block, &used, BYTES_LITERAL("X-Cache"), BYTES_LITERAL("hit")));
    assert_int_equal(response_head_read(&stage->core, bytes_of(block, used), &head), 0);
    exchange_log_keep_fields(&stage->core, &stage->exchange, &head);
    assert_int_equal(stage->exchange.logged_field_count, 1);
    memset(stage->core.scratch.response_head, 0xff, used);
    fill_record(stage, SLOT_HTTP_1_1);
    exchange_log_append(&stage->core, &stage->exchange);
    assert_string_equal(logged(stage), "hit\n");
}

static void response_fields_that_nobody_asks_for_are_not_kept(void **state)
{
    struct stage *stage = *state;
    const struct response_head head = {};
    exchange_log_keep_fields(&stage->core, &stage->exchange, &head); /* no log */
    open_log(stage, "%(s)s");
    exchange_log_keep_fields(&stage->core, &stage->exchange, &head);
    assert_null(stage->exchange.logged_fields);
}

static void without_a_log_nothing_happens(void **state)
{
    struct stage *stage = *state;
    exchange_log_append(&stage->core, &stage->exchange);
    exchange_log_refused(&stage->core, &stage->connection, NULL, 0, 400);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_stage, strike_stage)
    const struct CMUnitTest tests[] = {
        TEST(an_exchange_is_logged_as_its_record_has_it),
        TEST(each_version_has_its_name),
        TEST(a_refused_request_is_logged_as_far_as_it_was_understood),
        TEST(response_fields_outlive_the_scratch_they_were_read_into),
        TEST(response_fields_that_nobody_asks_for_are_not_kept),
        TEST(without_a_log_nothing_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
