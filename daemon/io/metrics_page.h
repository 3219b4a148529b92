/*
 * Metrics page: the numbers of all I/O processes as text, for whoever asks for `metrics_path`.
 *
 * Any I/O process answers for all of them. The text is made at most once in METRICS_PAGE_FRESH_MS, and whoever asks in
 * between is lent the same octets: scraping costs little, and asking in a hurry costs nothing more.
 *
 * Owns:    the latest text, in memory that looks like an application's, so that it leaves by the same way.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_METRICS_PAGE_H
#define DAEMON_IO_METRICS_PAGE_H

#include "daemon/io/http_exchange.h"

enum { METRICS_PAGE_FRESH_MS = 100 };

/* A zeroed one is ready. */
struct metrics_page {
    struct app_memory *memory; /* NULL: no text was made yet */
    uint64_t made_ms;
    struct bytes head;
    struct bytes body;
};

void metrics_page_deinit(struct metrics_page *page);

/* Whether the request is GET or HEAD of `metrics_path`. */
bool metrics_page_is_asked_for(const struct io_core *core, const struct http_exchange *exchange);

/* A whole response. -ENOMEM. */
[[nodiscard]] int metrics_page_reply(struct metrics_page *page, const struct io_core *core, struct reply *ret_reply);

#endif
