/*
 * Access format: how one request looks in the access log. Pure: an entry in, one line out.
 *
 * Owns:    a compiled format; the cached text of the current second.
 * Threads: one.
 * Life:    create to destroy. Create reads the time zone's file, so it comes before the process locks itself in.
 *
 * Quotes, backslashes and octets that are no printable ASCII are escaped (in JSON: what JSON wants escaped, and octets
 * that are no UTF-8 become U+FFFD), so one request is one line whatever a client sends.
 */
#ifndef DAEMON_IO_ACCESS_FORMAT_H
#define DAEMON_IO_ACCESS_FORMAT_H

#include "daemon/io/access_entry.h"

enum { ACCESS_FORMAT_OPS_MAX = 128 }; /* atoms and pieces of text in one format */

/* Gunicorn's default format; the word "json" in its place gives one JSON object per line. */
#define ACCESS_FORMAT_DEFAULT "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\""

struct access_format;

/* -EINVAL with a sentence in *ret_problem (static, set only then) for a text that cannot be read; -ENOMEM. */
[[nodiscard]] int access_format_create(const char *text, struct access_format **ret_format, const char **ret_problem);
void access_format_destroy(struct access_format *format);

/* Whether the format asks for response fields; if not, the entry may leave them out. */
bool access_format_wants_response_fields(const struct access_format *format);

/* The line with its line end, at most ACCESS_LINE_BYTES_MAX octets. Returns its length; 0 if it does not fit,
 * which cannot happen in an output of that size. */
[[nodiscard]] size_t access_format_render(struct access_format *format, const struct access_entry *entry, char *output,
                                          size_t capacity);

#endif
