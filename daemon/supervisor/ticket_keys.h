/*
 * Ticket keys: what sessions are resumed with, the same in every I/O process.
 *
 * Without a file they are random and rotate: the next key becomes the current one, the current one the previous, and
 * the previous is forgotten. The next one is known everywhere before it is used, so no I/O process meets a ticket that
 * it cannot open. With a file, which servers of a fleet share, whoever writes it rotates.
 *
 * Owns:    the keys; wiped at the end.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_TICKET_KEYS_H
#define DAEMON_SUPERVISOR_TICKET_KEYS_H

#include "daemon/exchange/control.h"
#include "daemon/supervisor/file_copy.h"

enum { TICKET_KEYS_WHY_BYTES = 512 };

struct ticket_keys {
    struct control_tls_tickets keys; /* current, previous, next; count 0: none yet */
    struct file_copy file;           /* they are of; FILE_COPY_NONE: ours */
};

/* From the file at `path`, or made when that is NULL. Unchanged on failure, and `why` has a sentence. */
[[nodiscard]] int ticket_keys_load(struct ticket_keys *keys, const char *path, char why[TICKET_KEYS_WHY_BYTES]);

/* Only for keys that are ours. */
[[nodiscard]] int ticket_keys_rotate(struct ticket_keys *keys);

void ticket_keys_deinit(struct ticket_keys *keys);

#endif
