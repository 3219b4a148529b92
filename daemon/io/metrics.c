#include "daemon/io/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* One sample. Rows of one family are neighbours, and the first of them has the help text. */
static const struct row {
    enum metric_kind kind;
    const char *family;
    const char *label; /* `key="word"`, or empty */
    const char *help;
} rows[METRIC_COUNT] = {
#define METRIC_ROW(symbol, kind, family, label, help) [METRIC_##symbol] = {METRIC_##kind, family, label, help},
#define CLOSED_ROW(symbol, word, help) \
    [METRIC_CLOSED_##                  \
        symbol] = {METRIC_COUNTER, "connections_closed", "reason=\"" word "\"", "Connections closed, by reason"},
    METRICS(METRIC_ROW) CLOSE_REASONS(CLOSED_ROW)
#undef METRIC_ROW
#undef CLOSED_ROW
};

static const char *const close_reason_words[CLOSE_REASON_COUNT] = {
#define CLOSE_REASON_WORD(symbol, word, help) [CLOSE_##symbol] = word,
    CLOSE_REASONS(CLOSE_REASON_WORD)
#undef CLOSE_REASON_WORD
};

const char *close_reason_word(enum close_reason reason)
{
    assert(reason < CLOSE_REASON_COUNT);
    return close_reason_words[reason];
}

void metrics_count_response(struct metrics *metrics, uint16_t status)
{
    unsigned class = status < 200 ? 1 : status < 600 ? status / 100 : 5;
    metrics_add(metrics, (enum metric)(METRIC_RESPONSES_1XX + class - 1), 1);
}

/* Text exposition; far from any hot path, so plain snprintf. */
struct text {
    char *at;
    size_t left;
    bool overflow;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text->at, text->left, format, arguments);
    va_end(arguments);

    if (length < 0 || (size_t)length >= text->left) {
        text->overflow = true;
        return;
    }
    text->at += length;
    text->left -= (size_t)length;
}

static bool begins_family(size_t i)
{
    return i == 0 || strcmp(rows[i].family, rows[i - 1].family) != 0;
}

static void put_family(struct text *text, const struct row *row)
{
    put(text, "# HELP uroboros_%s %s.\n", row->family, row->help);
    put(text, "# TYPE uroboros_%s %s\n", row->family, row->kind == METRIC_COUNTER ? "counter" : "gauge");
}

static void put_sample(struct text *text, const struct row *row, uint32_t ring, uint64_t value)
{
    const char *suffix = row->kind == METRIC_COUNTER ? "_total" : "";
    const char *comma = row->label[0] ? "," : "";
    put(text, "uroboros_%s%s{ring=\"%" PRIu32 "\"%s%s} %" PRIu64 "\n", row->family, suffix, ring, comma, row->label,
        value);
}

int64_t metrics_expose(const struct metrics_source *sources, size_t source_count, char *output, size_t capacity)
{
    struct text text = {.at = output, .left = capacity};
    for (size_t i = 0; i < METRIC_COUNT && !text.overflow; i++) {
        if (begins_family(i))
            put_family(&text, &rows[i]);
        for (size_t s = 0; s < source_count; s++)
            put_sample(&text, &rows[i], sources[s].ring, metrics_get(sources[s].metrics, (enum metric)i));
    }
    put(&text, "# EOF\n");
    return text.overflow ? -ENOSPC : (int64_t)(text.at - output);
}
