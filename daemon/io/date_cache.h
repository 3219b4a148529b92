/*
 * Date cache: the text of the Date field, RFC 9110 5.6.7, made once a second. Pure: time is an argument.
 *
 * Owns:    its 29 octets.
 * Threads: one.
 */
#ifndef DAEMON_IO_DATE_CACHE_H
#define DAEMON_IO_DATE_CACHE_H

#include "proto/bytes.h"
#include <time.h>

enum { DATE_CACHE_BYTES = 29 };

struct date_cache {
    time_t second;
    char text[DATE_CACHE_BYTES + 1]; /* empty until the first use; a zeroed cache is ready */
};

/* "Sun, 22 Nov 2026 17:00:00 GMT"; valid until the next call. Years outside 0 to 9999 are shown as the nearest. */
struct bytes date_cache_at(struct date_cache *cache, time_t now);

#endif
