/*
 * Answer: asks a server once, with a blocking socket, and says how long its answer is on the wire.
 *
 * The generator then only counts octets: an answer to the same request has the same length (a Date has too).
 */
#ifndef PERF_LOAD_ANSWER_H
#define PERF_LOAD_ANSWER_H

#include <stddef.h>

/*
 * Sends `request` on the connected socket `fd` and reads one answer by its framing. Octets of head and body as
 * they came, or a negative errno: -EBADMSG for what is no 2xx answer with a Content-Length or chunked coding.
 */
[[nodiscard]] long answer_measure(int fd, const void *request, size_t bytes);

#endif
