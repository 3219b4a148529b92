#include "daemon/io/log_text.h"

#include <string.h>

void log_text_put(struct log_text *line, const void *data, size_t length)
{
    size_t room = (size_t)(line->end - line->at);
    if (length > room) {
        length = room;
        line->full = true;
    }
    memcpy(line->at, data, length);
    line->at += length;
    if (line->full)
        line->end = line->at;
}

/* For escapes and UTF-8 sequences, which are never cut in the middle. */
static void put_whole(struct log_text *line, const void *data, size_t length)
{
    if (length <= (size_t)(line->end - line->at)) {
        log_text_put(line, data, length);
        return;
    }
    line->full = true;
    line->end = line->at;
}

void log_text_put_decimal(struct log_text *line, uint64_t value)
{
    char digits[20];
    char *at = digits + sizeof digits;
    do
        *--at = (char)('0' + value % 10);
    while (value /= 10);
    log_text_put(line, at, (size_t)(digits + sizeof digits - at));
}

void log_text_digits(char *to, unsigned value, int count)
{
    for (int i = count - 1; i >= 0; i--, value /= 10)
        to[i] = (char)('0' + value % 10);
}

void log_text_put_seconds(struct log_text *line, uint64_t duration_us)
{
    char fraction[7] = ".";
    log_text_digits(fraction + 1, (unsigned)(duration_us % 1'000'000), 6);
    log_text_put_decimal(line, duration_us / 1'000'000);
    log_text_put(line, fraction, sizeof fraction);
}

/* ---- escaping ---------------------------------------------------------------------------------------------------- */

static const char hex_digits[] = "0123456789abcdef";

static bool is_plain(uint8_t octet)
{
    return octet >= 0x20 && octet < 0x7f && octet != '"' && octet != '\\';
}

static size_t plain_run(const uint8_t *data, size_t length)
{
    size_t run = 0;
    while (run < length && is_plain(data[run]))
        run++;
    return run;
}

size_t log_text_escape_plain(struct log_text *line, const uint8_t *data, size_t length)
{
    (void)length;
    if (*data == '"' || *data == '\\')
        put_whole(line, (char[]){'\\', (char)*data}, 2);
    else
        put_whole(line, (char[]){'\\', 'x', hex_digits[*data >> 4], hex_digits[*data & 15]}, 4);
    return 1;
}

/* Unicode 15, table 3-7: which second octet may follow which first. The others are 80 to BF. */
static const struct utf8_row {
    uint8_t first_min, first_max, second_min, second_max, bytes;
} utf8_rows[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
    {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

static bool utf8_row_fits(const struct utf8_row *row, const uint8_t *data, size_t length)
{
    if (data[0] < row->first_min || data[0] > row->first_max || length < row->bytes)
        return false;
    if (data[1] < row->second_min || data[1] > row->second_max)
        return false;
    for (size_t i = 2; i < row->bytes; i++)
        if ((data[i] & 0xc0) != 0x80)
            return false;
    return true;
}

/* Length of the UTF-8 sequence of two or more octets that stands here; 0 if none does. */
static size_t utf8_sequence(const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < sizeof utf8_rows / sizeof utf8_rows[0]; i++)
        if (utf8_row_fits(&utf8_rows[i], data, length))
            return utf8_rows[i].bytes;
    return 0;
}

static void put_json_code(struct log_text *line, unsigned code)
{
    char escape[6] = "\\u";
    for (int i = 0; i < 4; i++)
        escape[2 + i] = hex_digits[code >> (12 - 4 * i) & 15];
    put_whole(line, escape, sizeof escape);
}

/* Some readers end a line at U+0080 to U+009F (NEL), U+2028 and U+2029 too; JSON allows to escape them. */
static unsigned line_end_code(const uint8_t *data, size_t sequence)
{
    if (sequence == 2 && data[0] == 0xc2 && data[1] < 0xa0)
        return data[1];
    if (sequence == 3 && data[0] == 0xe2 && data[1] == 0x80 && (data[2] == 0xa8 || data[2] == 0xa9))
        return 0x2000U | (data[2] & 0x3f);
    return 0;
}

size_t log_text_escape_json(struct log_text *line, const uint8_t *data, size_t length)
{
    if (*data == '"' || *data == '\\') {
        put_whole(line, (char[]){'\\', (char)*data}, 2);
        return 1;
    }
    if (*data < 0x80) {
        put_json_code(line, *data);
        return 1;
    }
    size_t sequence = utf8_sequence(data, length);
    unsigned code = line_end_code(data, sequence);
    if (code)
        put_json_code(line, code);
    else if (sequence)
        put_whole(line, data, sequence);
    else
        put_whole(line, "\xef\xbf\xbd", 3);
    return sequence ? sequence : 1;
}

void log_text_put_escaped(struct log_text *line, struct bytes value, size_t bytes_max, log_text_escape *escape)
{
    struct log_text part = {.at = line->at, .end = line->end};
    bool bounded = (size_t)(line->end - line->at) > bytes_max;
    if (bounded)
        part.end = part.at + bytes_max;

    size_t at = 0;
    while (at < value.length && !part.full) {
        size_t run = plain_run(value.data + at, value.length - at);
        log_text_put(&part, value.data + at, run);
        at += run;
        if (at < value.length && !part.full)
            at += escape(&part, value.data + at, value.length - at);
    }
    line->at = part.at;
    if (part.full && bounded)
        LOG_TEXT_LITERAL(line, "...");
    else if (part.full)
        *line = part;
}
