/*
 * Request heads: whole and cut at places the input chooses, the answer must be the same; what is accepted must keep
 * the promises of http1_request.h; vector code must agree with plain code.
 *
 * Input: one octet for the limits, one for the number of cuts, the cuts, then the head.
 */
#include <assert.h>
#include <stdlib.h>

#include "proto/http1_request.h"
#include "proto/http_octets.h"

enum { FIELDS_CAPACITY = 16, CUTS_MAX = 7 };

static const struct http1_limits limits_of_choice[] = {
    {8190, 8190, 100, 65536, 32, 0, false},
    {24, 8190, 100, 65536, 5, 10, true},
    {8190, 20, 3, 65536, 32, 1000, false},
    {8190, 8190, 100, 60, 32, 0, false},
};

struct outcome {
    enum http1_progress progress;
    size_t consumed;
    uint8_t *input; /* as the parser left it */
    struct http1_request request;
    struct http_field fields[FIELDS_CAPACITY];
};

/* Feeds parts that grow up to `length`; each stands in memory of its own, and of exactly its size. */
static void run(struct outcome *outcome, const struct http1_limits *limits, struct bytes head, struct bytes cuts)
{
    http1_request_init(&outcome->request, outcome->fields, FIELDS_CAPACITY);
    outcome->progress = HTTP1_NEED_MORE;
    outcome->consumed = 0;
    outcome->input = NULL;
    size_t length = 0;
    for (size_t i = 0; i <= cuts.length && outcome->progress == HTTP1_NEED_MORE; i++) {
        size_t piece = i < cuts.length ? cuts.data[i] % 64U : head.length;
        size_t grown = piece < head.length - length ? length + piece : head.length;
        uint8_t *input = malloc(grown + (grown == 0));
        assert(input);
        /* What was parsed already is taken as it was left, or, in every other round, as it was received. */
        memcpy(input, head.data, grown);
        if (i % 2 == 0 && length > 0)
            memcpy(input, outcome->input, length);
        free(outcome->input);
        outcome->input = input;
        length = grown;
        outcome->progress = http1_request_feed(&outcome->request, limits, input, length, &outcome->consumed);
    }
}

static void assert_span(const struct outcome *outcome, struct bytes span)
{
    assert(span.data >= outcome->input);
    assert(span.data + span.length <= outcome->input + outcome->consumed);
}

static void assert_same_span(const struct outcome *a, struct bytes in_a, const struct outcome *b, struct bytes in_b)
{
    assert_span(a, in_a);
    assert_span(b, in_b);
    assert(in_a.data - a->input == in_b.data - b->input);
    assert(in_a.length == in_b.length);
}

static void assert_same_request(const struct outcome *a, const struct outcome *b)
{
    const struct http1_request *x = &a->request, *y = &b->request;
    assert(memcmp(a->input, b->input, a->consumed) == 0);
    assert_same_span(a, x->head.method, b, y->head.method);
    assert_same_span(a, x->head.target, b, y->head.target);
    assert_same_span(a, x->head.path, b, y->head.path);
    assert_same_span(a, x->head.query, b, y->head.query);
    assert_same_span(a, x->authority, b, y->authority);
    assert_same_span(a, x->head.host, b, y->head.host);
    assert(x->target_form == y->target_form && x->head.target_is_https == y->head.target_is_https);
    assert(x->head.version == y->head.version && x->keep_alive == y->keep_alive);
    assert(x->head.expect_continue == y->head.expect_continue && x->upgrade_websocket == y->upgrade_websocket);
    assert(x->head.te_trailers == y->head.te_trailers);
    assert(x->head.body_kind == y->head.body_kind && x->head.content_length == y->head.content_length);
    assert(x->head.field_count == y->head.field_count);
    for (uint32_t i = 0; i < x->head.field_count; i++) {
        assert_same_span(a, a->fields[i].name, b, b->fields[i].name);
        assert_same_span(a, a->fields[i].value, b, b->fields[i].value);
        assert(a->fields[i].id == b->fields[i].id);
        assert(a->fields[i].has_underscore == b->fields[i].has_underscore);
    }
}

static void assert_promises(const struct outcome *outcome, const struct http1_limits *limits)
{
    const struct http1_request *request = &outcome->request;
    const struct http_head *head = &request->head;
    assert(outcome->consumed <= limits->head_bytes_max);
    assert(memcmp(outcome->input + outcome->consumed - 4, "\r\n\r\n", 4) == 0);
    assert(http_token_valid(head->method) && head->method.length <= limits->method_bytes_max);
    assert(head->path.length > 0 && (head->path.data[0] == '/' || head->path.data[0] == '*'));
    for (size_t i = 0; i < head->target.length; i++)
        assert(head->target.data[i] > ' ' && head->target.data[i] < 0x7f && head->target.data[i] != '#');
    assert(http_host_valid(head->host) && http_host_valid(request->authority));
    assert(head->field_count <= limits->field_count_max);
    unsigned lengths = 0, codings = 0, hosts = 0;
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct http_field *field = &head->fields[i];
        assert(http_token_valid(field->name) && http_field_value_valid(field->value));
        assert(bytes_equal(http_trim(field->value), field->value));
        assert(field->id == http_field_id_of(field->name));
        for (size_t at = 0; at < field->name.length; at++)
            assert(bytes_lower(field->name.data[at]) == field->name.data[at]);
        lengths += field->id == HTTP_FIELD_CONTENT_LENGTH;
        codings += field->id == HTTP_FIELD_TRANSFER_ENCODING;
        hosts += field->id == HTTP_FIELD_HOST;
    }
    assert(hosts <= 1 && (hosts == 1 || head->version == HTTP_VERSION_1_0));
    assert(lengths + codings <= 1);
    assert((head->body_kind == HTTP_BODY_LENGTH) == (lengths == 1));
    assert((head->body_kind == HTTP_BODY_UNKNOWN) == (codings == 1));
    assert(limits->body_bytes_max == 0 || head->content_length <= limits->body_bytes_max);
}

static void assert_scans_agree(struct bytes data)
{
    for (size_t from = 0; from <= data.length && from < 80; from++) {
        size_t found = http_control_find_plain(data.data, from, data.length);
        assert(http_control_find(data.data, from, data.length) == found);
#if HTTP_OCTETS_X86
        assert(http_control_find_sse2(data.data, from, data.length) == found);
        if (http_control_has_avx2())
            assert(http_control_find_avx2(data.data, from, data.length) == found);
#endif
    }
}

static void assert_lowered_alike(struct bytes data)
{
    uint8_t *plain = malloc(data.length + 1), *vector = malloc(data.length + (data.length == 0));
    assert(plain && vector);
    for (size_t length = 0; length <= data.length && length < 40; length++) {
        memcpy(plain, data.data, data.length);
        memcpy(vector, data.data, data.length);
        size_t name_length = http_name_lower_plain(plain, length);
        assert(http_name_lower(vector, length, data.length) == name_length);
        assert(memcmp(plain, vector, data.length) == 0);
    }
    free(plain);
    free(vector);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 + CUTS_MAX)
        return 0;
    const struct http1_limits *limits = &limits_of_choice[data[0] % 4];
    struct bytes cuts = bytes_of(data + 2, data[1] % (CUTS_MAX + 1U));
    struct bytes head = bytes_of(data + 2 + CUTS_MAX, size - 2 - CUTS_MAX);

    struct outcome whole, parts;
    run(&whole, limits, head, (struct bytes){});
    run(&parts, limits, head, cuts);
    assert(whole.progress == parts.progress);
    assert(whole.consumed == parts.consumed);
    if (whole.progress == HTTP1_HEAD_READY) {
        assert_same_request(&whole, &parts);
        assert_promises(&whole, limits);
    }
    if (whole.progress == HTTP1_REJECTED) {
        assert(whole.request.status >= 400 && whole.request.status <= 505);
        assert(whole.request.status == parts.request.status);
        assert(strcmp(whole.request.reason, parts.request.reason) == 0);
    }
    assert_scans_agree(head);
    assert_lowered_alike(head);
    free(whole.input);
    free(parts.input);
    return 0;
}
