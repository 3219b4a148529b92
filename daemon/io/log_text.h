/*
 * Log text: text of bounded length, and what a client sent made harmless in it. Pure.
 *
 * Owns:    nothing.
 * Threads: any.
 *
 * Once something did not fit, nothing more is written, so that a cut line ends where it was cut.
 */
#ifndef DAEMON_IO_LOG_TEXT_H
#define DAEMON_IO_LOG_TEXT_H

#include "proto/bytes.h"

struct log_text {
    char *at;
    char *end;
    bool full;
};

/* As much of it as fits. */
void log_text_put(struct log_text *line, const void *data, size_t length);
#define LOG_TEXT_LITERAL(line, literal) log_text_put((line), (literal), sizeof(literal) - 1)
void log_text_put_decimal(struct log_text *line, uint64_t value);
/* Seconds with six decimals. */
void log_text_put_seconds(struct log_text *line, uint64_t duration_us);

/* The last `count` digits of a number, with zeros in front. */
void log_text_digits(char *to, unsigned value, int count);

/* Writes what stands at `data`, which is not plain, and says how many octets that was. */
typedef size_t log_text_escape(struct log_text *line, const uint8_t *data, size_t length);
log_text_escape log_text_escape_plain; /* \", \\, and \xNN for all that is no printable ASCII */
log_text_escape log_text_escape_json;  /* RFC 8259 7; UTF-8 stays, other octets become U+FFFD */

/* At most `bytes_max` octets and the mark that something is missing, so that no value crowds out the others. */
void log_text_put_escaped(struct log_text *line, struct bytes value, size_t bytes_max, log_text_escape *escape);

#endif
