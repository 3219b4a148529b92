/*
 * Socket names: which inherited socket has which name, as the service manager says in LISTEN_FDNAMES: "web:admin:web",
 * one for each socket in their order. A name may stand for several sockets, and does where one socket unit has several.
 *
 * Owns nothing: pure.
 */
#ifndef DAEMON_SUPERVISOR_SOCKET_NAMES_H
#define DAEMON_SUPERVISOR_SOCKET_NAMES_H

#include <stddef.h>

/* The next socket with that name, from `index` on, of `count`; -1: none. NULL are names that nobody has given. */
int socket_names_find(const char *names, int count, const char *name, int index);

/* What follows "fd://" for the socket at `index`: its name, or its number where it has none. */
void socket_names_at(const char *names, int count, int index, char *text, size_t bytes);

/* Each of the names once, for a sentence: "web, admin"; "" without any. */
void socket_names_describe(const char *names, int count, char *text, size_t bytes);

#endif
