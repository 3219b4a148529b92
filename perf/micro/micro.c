/*
 * Micro: one operation of the request path, done N times and nothing else.
 *
 *   perf_micro CASE N
 *
 * check.py runs it under callgrind with N and with 2N; the difference is the operation's price in instructions, the
 * same on every run, which a clock on a shared machine never is.
 */
#include "daemon/exchange/doorbell.h"
#include "daemon/exchange/field_block.h"
#include "daemon/exchange/layout.h"
#include "perf/micro/hpack_heads.h"
#include "proto/hpack.h"
#include "proto/http1_request.h"
#include "proto/http1_response.h"
#include "proto/http2_priority.h"
#include "proto/http2_request.h"
#include "proto/http2_response.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIELDS_MAX = 100, SLOTS = 64 };

static const struct http1_limits LIMITS = {.request_line_max = 8'190,
                                           .field_size_max = 8'190,
                                           .field_count_max = FIELDS_MAX,
                                           .head_bytes_max = 65'536,
                                           .method_bytes_max = 32};

static const char WRK_REQUEST[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n";

/* What a browser sends to a site that knows it. */
static const char BROWSER_REQUEST[] =
    "GET /articles/2026/11/how-a-snake-eats-its-tail?utm_source=feed&page=2 HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Referer: https://www.example.com/articles/\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=eyJ1c2VyIjo0Mn0.ZzQ1Ng.dGhlIHNpZ25hdHVyZQ; theme=dark; consent=yes\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Priority: u=0, i\r\n"
    "\r\n";

/* ---- the parser ---- */

/* The parser writes into its input (field names in lower case), so each round gets a fresh copy. */
static void parse(const char *text, size_t length, uint32_t count)
{
    static uint8_t input[4'096];
    static struct http_field fields[FIELDS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        struct http1_request request;
        size_t consumed;
        memcpy(input, text, length);
        http1_request_init(&request, fields, FIELDS_MAX);
        enum http1_progress progress = http1_request_feed(&request, &LIMITS, input, length, &consumed);
        assert(progress == HTTP1_HEAD_READY && consumed == length);
    }
}

static void parse_wrk(uint32_t count)
{
    parse(WRK_REQUEST, sizeof WRK_REQUEST - 1, count);
}

static void parse_browser(uint32_t count)
{
    parse(BROWSER_REQUEST, sizeof BROWSER_REQUEST - 1, count);
}

/* ---- the response ---- */

static void encode(uint32_t count)
{
    const struct http_field fields[] = {
        {.name = BYTES_LITERAL("Content-Type"), .value = BYTES_LITERAL("text/html; charset=utf-8")},
        {.name = BYTES_LITERAL("Content-Length"), .value = BYTES_LITERAL("13")},
        {.name = BYTES_LITERAL("Cache-Control"), .value = BYTES_LITERAL("no-cache")},
    };
    const struct http1_response response = {.status = 200,
                                            .fields = fields,
                                            .field_count = 3,
                                            .date = BYTES_LITERAL("Sun, 22 Nov 2026 17:00:00 GMT"),
                                            .server = BYTES_LITERAL("uroboros"),
                                            .version_minor = 1,
                                            .keep_alive = true,
                                            .body = HTTP1_RESPONSE_LENGTH,
                                            .content_length = 13,
                                            .add_content_length = true};
    uint8_t output[1'024];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bad_field;
        int length = http1_response_encode(&response, output, sizeof output, &bad_field);
        assert(length > 0);
    }
}

static void field_block(uint32_t count)
{
    uint8_t block[256];
    struct http_field fields[4];
    for (uint32_t i = 0; i < count; i++) {
        size_t used = 0;
        bool fits =
            field_block_append(block, sizeof block, &used, BYTES_LITERAL("Content-Type"), BYTES_LITERAL("text/plain"));
        fits &= field_block_append(block, sizeof block, &used, BYTES_LITERAL("Content-Length"), BYTES_LITERAL("13"));
        int read = field_block_read(bytes_of(block, used), fields, 4);
        assert(fits && read == 2);
    }
}

/* ---- HPACK ---- */

static void decode_head(struct hpack_decoder *decoder, struct bytes block, uint32_t field_count)
{
    static uint8_t memory[8'192];
    static struct hpack_field fields[FIELDS_MAX];
    struct hpack_section section = {
        .memory = memory, .memory_bytes = sizeof memory, .fields = fields, .fields_max = FIELDS_MAX};
    size_t consumed;
    hpack_decode_begin(decoder);
    bool good = hpack_decode(decoder, block, &section, &consumed);
    assert(good && consumed == block.length && section.field_count == field_count);
}

/* The first head of a connection `count` times, or of one connection that of a known client. */
static void decode_heads(struct bytes first, struct bytes again, uint32_t field_count, uint32_t count)
{
    static struct hpack_entry memory[HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES) / sizeof(struct hpack_entry)];
    struct hpack_decoder decoder;
    hpack_decoder_init(&decoder, memory);
    decode_head(&decoder, first, field_count);
    for (uint32_t i = 0; i < count; i++) {
        if (again.length == 0)
            hpack_decoder_init(&decoder, memory);
        decode_head(&decoder, again.length > 0 ? again : first, field_count);
    }
}

enum { CHROME_FIELDS = 21, CURL_FIELDS = 6 };

static void hpack_chrome_first(uint32_t count)
{
    decode_heads(bytes_of(CHROME_FIRST, sizeof CHROME_FIRST), (struct bytes){}, CHROME_FIELDS, count);
}

static void hpack_chrome_again(uint32_t count)
{
    decode_heads(bytes_of(CHROME_FIRST, sizeof CHROME_FIRST), bytes_of(CHROME_AGAIN, sizeof CHROME_AGAIN),
                 CHROME_FIELDS, count);
}

static void hpack_curl_first(uint32_t count)
{
    decode_heads(bytes_of(CURL_FIRST, sizeof CURL_FIRST), (struct bytes){}, CURL_FIELDS, count);
}

static void hpack_curl_again(uint32_t count)
{
    decode_heads(bytes_of(CURL_FIRST, sizeof CURL_FIRST), bytes_of(CURL_AGAIN, sizeof CURL_AGAIN), CURL_FIELDS, count);
}

static void hpack_response(uint32_t count)
{
    static const struct http_field fields[] = {
        {{(const uint8_t *)"content-type", 12},
         {(const uint8_t *)"text/html; charset=utf-8", 24},
         HTTP_FIELD_CONTENT_TYPE,
         false},
        {{(const uint8_t *)"cache-control", 13}, {(const uint8_t *)"no-cache", 8}, HTTP_FIELD_CACHE_CONTROL, false},
        {{(const uint8_t *)"date", 4}, {(const uint8_t *)"Sun, 22 Nov 2026 17:00:00 GMT", 29}, HTTP_FIELD_DATE, false},
        {{(const uint8_t *)"server", 6}, {(const uint8_t *)"uroboros", 8}, HTTP_FIELD_SERVER, false},
        {{(const uint8_t *)"content-length", 14}, {(const uint8_t *)"13", 2}, HTTP_FIELD_CONTENT_LENGTH, false},
    };
    static struct hpack_entry memory[HPACK_TABLE_MEMORY(HPACK_ENCODER_BYTES) / sizeof(struct hpack_entry)];
    struct hpack_encoder encoder;
    uint8_t output[1'024];
    hpack_encoder_init(&encoder, memory);
    for (uint32_t i = 0; i < count; i++) {
        size_t used = hpack_encode_status(&encoder, 200, output);
        for (size_t f = 0; f < sizeof fields / sizeof fields[0]; f++)
            used += hpack_encode(&encoder, fields[f].name, fields[f].id, fields[f].value, output + used);
        assert(i == 0 || used == 10);
    }
}

/* ---- HTTP/2 messages ---- */

/* From a decoded field section to a head. */
static void read_request(struct bytes block, uint32_t field_count, uint32_t count)
{
    static const struct http2_request_limits limits = {.request_line_max = 8'190,
                                                       .field_size_max = 8'190,
                                                       .field_count_max = FIELDS_MAX,
                                                       .method_bytes_max = 32,
                                                       .is_secure = true};
    static struct hpack_entry table[HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES) / sizeof(struct hpack_entry)];
    static uint8_t memory[8'192];
    static struct hpack_field decoded[FIELDS_MAX];
    static struct http_field fields[FIELDS_MAX + 1];
    struct hpack_decoder decoder;
    struct hpack_section section = {
        .memory = memory, .memory_bytes = sizeof memory, .fields = decoded, .fields_max = FIELDS_MAX};
    size_t consumed;
    hpack_decoder_init(&decoder, table);
    hpack_decode_begin(&decoder);
    bool good = hpack_decode(&decoder, block, &section, &consumed);
    assert(good && section.field_count == field_count);
    for (uint32_t i = 0; i < count; i++) {
        struct hpack_section again = section;
        struct http2_request request;
        enum http2_request_verdict verdict =
            http2_request_read(&request, &limits, &again, true, fields, FIELDS_MAX + 1);
        assert(verdict == HTTP2_REQUEST_GOOD);
    }
}

static void http2_request_chrome(uint32_t count)
{
    read_request(bytes_of(CHROME_FIRST, sizeof CHROME_FIRST), CHROME_FIELDS, count);
}

static void http2_request_curl(uint32_t count)
{
    read_request(bytes_of(CURL_FIRST, sizeof CURL_FIRST), CURL_FIELDS, count);
}

static void http2_response(uint32_t count)
{
    static const struct http_field fields[] = {
        {{(const uint8_t *)"Content-Type", 12},
         {(const uint8_t *)"text/html; charset=utf-8", 24},
         HTTP_FIELD_OTHER,
         false},
        {{(const uint8_t *)"Content-Length", 14}, {(const uint8_t *)"13", 2}, HTTP_FIELD_OTHER, false},
    };
    static struct hpack_entry memory[HPACK_TABLE_MEMORY(HPACK_ENCODER_BYTES) / sizeof(struct hpack_entry)];
    const struct http2_response response = {.status = 200,
                                            .fields = fields,
                                            .field_count = 2,
                                            .date = BYTES_LITERAL("Sun, 22 Nov 2026 17:00:00 GMT"),
                                            .server = BYTES_LITERAL("uroboros"),
                                            .add_content_length = true,
                                            .content_length = 13};
    struct hpack_encoder encoder;
    uint8_t output[1'024];
    uint32_t bad_field;
    hpack_encoder_init(&encoder, memory);
    for (uint32_t i = 0; i < count; i++) {
        int length = http2_response_encode(&response, &encoder, output, sizeof output, &bad_field);
        assert(length > 0);
    }
}

/* A hundred streams wait; the one that is next is sent whole, leaves, and comes back as a new one. */
static void send_in_turn(bool incremental, uint32_t count)
{
    enum { STREAMS = 100 };
    struct http2_schedule schedule = {};
    struct http2_turn streams[STREAMS] = {};
    uint32_t id = 1;
    for (size_t i = 0; i < STREAMS; i++, id += 2) {
        streams[i] = (struct http2_turn){.id = id, .priority = {HTTP2_URGENCY_DEFAULT, incremental}};
        http2_schedule_add(&schedule, &streams[i]);
    }
    for (uint32_t i = 0; i < count; i++, id += 2) {
        struct http2_turn *next = http2_schedule_next(&schedule);
        http2_schedule_sent(&schedule, next, 1'000);
        http2_schedule_remove(&schedule, next);
        next->id = id;
        http2_schedule_add(&schedule, next);
    }
    assert(schedule.waiting_count == STREAMS);
}

static void http2_schedule_default(uint32_t count)
{
    send_in_turn(false, count);
}

static void http2_schedule_incremental(uint32_t count)
{
    send_in_turn(true, count);
}

/* ---- the exchange ---- */

static const struct exchange_shape SHAPE = {.version = EXCHANGE_VERSION,
                                            .rings = 1,
                                            .apps = 1,
                                            .slots = SLOTS,
                                            .fields_max = FIELDS_MAX,
                                            .request_entries = 256,
                                            .reply_entries = 256,
                                            .recv_buffers = 1,
                                            .upload_buffers = 1,
                                            .outbound_small = 64};

struct exchange {
    struct arena inbound, outbound, pair_memory;
    struct pair_page *pair;
    struct spsc_writer requests, replies;
    struct spsc_reader request_reader, reply_reader;
};

static void exchange_init(struct exchange *exchange)
{
    struct inbound_layout in;
    struct outbound_layout out;
    inbound_layout_compute(&SHAPE, &in);
    outbound_layout_compute(&SHAPE, &out);
    int r = arena_create(&exchange->inbound, "inbound", in.bytes, ARENA_SEAL_WRITER) |
            arena_create(&exchange->outbound, "outbound", out.bytes, ARENA_SEAL_SIZE) |
            arena_create(&exchange->pair_memory, "pair", pair_page_bytes(&SHAPE), ARENA_SEAL_SIZE);
    assert(r == 0);
    exchange->pair = (struct pair_page *)(void *)exchange->pair_memory.base;
    layout_request_writer(&SHAPE, &exchange->inbound, &exchange->outbound, 0, 0, 1, &exchange->requests);
    layout_request_reader(&SHAPE, &exchange->inbound, &exchange->outbound, 0, 0, 1, &exchange->request_reader);
    layout_reply_writer(&SHAPE, &exchange->inbound, &exchange->outbound, 0, 0, 1, &exchange->replies);
    layout_reply_reader(&SHAPE, &exchange->inbound, &exchange->outbound, 0, 0, 1, &exchange->reply_reader);
}

/* One request over and one answer back, both sides' instructions, nobody asleep. */
static void hop(struct exchange *exchange, uint32_t slot, uint32_t generation)
{
    _Atomic uint32_t *claim = &exchange->pair->claims[slot];
    struct message message = {.kind = MESSAGE_REQUEST, .slot = slot, .generation = generation};
    slot_claim_set(claim, generation, SLOT_QUEUED);
    bool pushed = spsc_push(&exchange->requests, &message);
    doorbell_ring(&exchange->pair->app_sleeping, -1);
    int popped = spsc_pop(&exchange->request_reader, &message);
    bool begun = slot_claim_take(claim, message.generation, SLOT_BEGUN);
    message.kind = MESSAGE_RESPONSE;
    message.flags = MESSAGE_END | MESSAGE_WAS_DONE;
    pushed &= spsc_push(&exchange->replies, &message);
    doorbell_ring(&exchange->pair->io_sleeping, -1);
    popped += spsc_pop(&exchange->reply_reader, &message);
    slot_claim_set(claim, generation, SLOT_FREE);
    assert(pushed && begun && popped == 2);
}

static void exchange_hop(uint32_t count)
{
    struct exchange exchange;
    exchange_init(&exchange);
    for (uint32_t i = 0; i < count; i++)
        hop(&exchange, i % SLOTS, i / SLOTS + 1);
    arena_deinit(&exchange.inbound);
    arena_deinit(&exchange.outbound);
    arena_deinit(&exchange.pair_memory);
}

static const struct {
    const char *name;
    void (*run)(uint32_t count);
} CASES[] = {
    {"parse_wrk", parse_wrk},
    {"parse_browser", parse_browser},
    {"response_encode", encode},
    {"field_block", field_block},
    {"exchange_hop", exchange_hop},
    {"hpack_chrome_first", hpack_chrome_first},
    {"hpack_chrome_again", hpack_chrome_again},
    {"hpack_curl_first", hpack_curl_first},
    {"hpack_curl_again", hpack_curl_again},
    {"hpack_response", hpack_response},
    {"http2_request_chrome", http2_request_chrome},
    {"http2_request_curl", http2_request_curl},
    {"http2_response", http2_response},
    {"http2_schedule_default", http2_schedule_default},
    {"http2_schedule_incremental", http2_schedule_incremental},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 3 && i < sizeof CASES / sizeof CASES[0]; i++) {
        if (strcmp(argv[1], CASES[i].name) != 0)
            continue;
        CASES[i].run((uint32_t)strtoul(argv[2], NULL, 10));
        return 0;
    }
    fprintf(stderr, "usage: perf_micro CASE N, with one of:");
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        fprintf(stderr, " %s", CASES[i].name);
    fprintf(stderr, "\n");
    return 2;
}
