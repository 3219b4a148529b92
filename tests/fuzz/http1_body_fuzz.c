/*
 * Request bodies: whole and cut at places the input chooses, the same octets must come out and the same answer.
 *
 * Input: one octet for the kind and limits, one for the number of cuts, the cuts, then the body.
 */
#include <assert.h>
#include <stdlib.h>

#include "proto/http1_body.h"

enum { CUTS_MAX = 7 };

static const struct http1_body_limits limits_of_choice[] = {
    {0, 16384, 50, 256, 16384},
    {20, 16384, 50, 5, 10},
    {0, 12, 2, 256, 16384},
};

struct outcome {
    enum http1_body_progress progress;
    size_t consumed;
    uint8_t *decoded;
    size_t decoded_length;
    struct http1_body body;
};

static void feed(struct outcome *outcome, const struct http1_body_limits *limits, struct bytes piece)
{
    uint8_t *input = malloc(piece.length + (piece.length == 0));
    assert(input);
    if (piece.length > 0)
        memcpy(input, piece.data, piece.length);
    size_t consumed, offset, decoded;
    outcome->progress = http1_body_feed(&outcome->body, limits, input, piece.length, &consumed, &offset, &decoded);
    assert(consumed <= piece.length && offset + decoded <= consumed);
    assert(outcome->progress != HTTP1_BODY_NEED_MORE || consumed == piece.length);
    /* What was not taken must not have been touched. */
    assert(consumed == piece.length || memcmp(input + consumed, piece.data + consumed, piece.length - consumed) == 0);
    if (decoded > 0)
        memcpy(outcome->decoded + outcome->decoded_length, input + offset, decoded);
    outcome->decoded_length += decoded;
    outcome->consumed += consumed;
    free(input);
}

static void run(struct outcome *outcome, const struct http1_body_limits *limits, enum http_body_kind kind,
                struct bytes body, struct bytes cuts)
{
    *outcome = (struct outcome){.progress = HTTP1_BODY_NEED_MORE, .decoded = malloc(body.length + 1)};
    assert(outcome->decoded);
    http1_body_init(&outcome->body, kind, cuts.length * 10);
    for (size_t i = 0; i <= cuts.length && outcome->progress == HTTP1_BODY_NEED_MORE; i++) {
        size_t piece = i < cuts.length ? cuts.data[i] % 64U : body.length;
        if (piece > body.length)
            piece = body.length;
        feed(outcome, limits, bytes_of(body.data, piece));
        body = bytes_skip(body, piece);
    }
    assert(outcome->body.received == outcome->decoded_length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 + CUTS_MAX)
        return 0;
    const struct http1_body_limits *limits = &limits_of_choice[data[0] % 3];
    enum http_body_kind kind = data[0] < 224 ? HTTP_BODY_UNKNOWN : HTTP_BODY_LENGTH;
    struct bytes cuts = bytes_of(data + 2, data[1] % (CUTS_MAX + 1U));
    struct bytes body = bytes_of(data + 2 + CUTS_MAX, size - 2 - CUTS_MAX);
    /* One long first piece makes the whole, with as many cuts as the other, since they also say the length. */
    static const uint8_t no_cuts[CUTS_MAX] = {};

    struct outcome whole, parts;
    run(&whole, limits, kind, body, bytes_of(no_cuts, cuts.length));
    run(&parts, limits, kind, body, cuts);
    assert(whole.progress == parts.progress);
    assert(whole.consumed == parts.consumed);
    assert(whole.decoded_length == parts.decoded_length);
    assert(memcmp(whole.decoded, parts.decoded, whole.decoded_length) == 0);
    assert(whole.body.status == parts.body.status);
    assert(limits->body_bytes_max == 0 || kind == HTTP_BODY_LENGTH || whole.decoded_length <= limits->body_bytes_max);
    if (whole.progress == HTTP1_BODY_REJECTED)
        assert(strcmp(whole.body.reason, parts.body.reason) == 0);
    free(whole.decoded);
    free(parts.decoded);
    return 0;
}
