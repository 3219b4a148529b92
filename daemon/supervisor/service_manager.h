/*
 * Service manager: what systemd gives a service, and what it wants to hear. Without one all of this does nothing.
 *
 * Owns:    the socket on which notifications leave. Its environment variables are taken out, so that no child believes
 *          they were meant for it.
 * Threads: the supervisor's only one.
 * Life:    init before the process forks itself into the background (LISTEN_PID names this one), deinit at the end.
 */
#ifndef DAEMON_SUPERVISOR_SERVICE_MANAGER_H
#define DAEMON_SUPERVISOR_SERVICE_MANAGER_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { SERVICE_MANAGER_FIRST_FD = 3, SERVICE_MANAGER_FDS_MAX = 64 };

struct service_manager {
    int notify; /* -1: nobody listens */
    struct sockaddr_un address;
    socklen_t address_bytes;
    int listen_count;     /* inherited listening sockets, from SERVICE_MANAGER_FIRST_FD on */
    char *listen_names;   /* of each, with a colon between them (socket_names.h); NULL: they have none */
    uint64_t watchdog_ms; /* how often to call service_manager_alive(); 0: never */
};

void service_manager_init(struct service_manager *ret_manager);
void service_manager_deinit(struct service_manager *manager);

/* Puts the variables back for a program that is executed in place of this one (all but the inherited sockets, which
 * are adopted another way), or takes them out again when it could not be. */
void service_manager_export(const struct service_manager *manager);
void service_manager_unexport(void);

/* Those that a program before this one was given, under the same numbers. Names that are empty are none. */
void service_manager_adopt_sockets(struct service_manager *manager, int count, const char *names);

/* They are kept open, whoever else has copies of them, for a program that is executed in place of this one. */
void service_manager_close_sockets(struct service_manager *manager);

/* `status` is one line of text for `systemctl status`. */
void service_manager_ready(struct service_manager *manager, const char *status);
void service_manager_reloading(struct service_manager *manager);
void service_manager_status(struct service_manager *manager, const char *status);
void service_manager_stopping(struct service_manager *manager, const char *status);
void service_manager_alive(struct service_manager *manager);
/* What is under way, a start or an end, may take so long from now on, whatever its limit is. */
void service_manager_extend(struct service_manager *manager, uint64_t by_ms);

#endif
