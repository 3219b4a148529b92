/*
 * ASGI file: bodies that are files (http.response.pathsend and http.response.zerocopysend). What is large is handed
 * over by its descriptor, what is small and at hand is read here (docs/files.md).
 *
 * Owns:    nothing; descriptors are the outgoing message's.
 * Threads: the loop's thread, with the interpreter lock held.
 */
#ifndef PYBRIDGE_ASGI_ASGI_FILE_H
#define PYBRIDGE_ASGI_ASGI_FILE_H

#include "pybridge/asgi/asgi_outgoing.h"

enum asgi_progress asgi_file_send_path(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing);
enum asgi_progress asgi_file_send_zero_copy(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing);

#endif
