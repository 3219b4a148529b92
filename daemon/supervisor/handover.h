/*
 * Handover: what a supervisor leaves to the program that is executed in its place (upgrade.h).
 *
 * It is a memory file whose number travels in an environment variable; descriptors keep their numbers, pids are the
 * same. The format is versioned: one that is not ours is not understood, and then the start fails. A program that is
 * only tried (--check-config beside the running one) is told the same, without descriptors, children and keys.
 *
 * Owns:    after handover_take() the descriptors, until whoever needs them has taken them out.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_HANDOVER_H
#define DAEMON_SUPERVISOR_HANDOVER_H

#include "config/bind_address.h"
#include "daemon/exchange/control.h"
#include "daemon/supervisor/listeners.h"

#include <limits.h>

enum {
    HANDOVER_VERSION = 2,
    HANDOVER_NAMES_BYTES = 16'384,
    HANDOVER_CHILDREN_MAX = LAYOUT_RINGS_MAX + LAYOUT_APPS_MAX
};

struct handover_listener {
    char key[BIND_ADDRESS_TEXT_BYTES]; /* the address as it was asked for */
    char path[BIND_ADDRESS_PATH_BYTES];
    uint32_t flags; /* enum control_listener_flag */
    uint64_t device;
    uint64_t inode;
    uint32_t fd_count; /* 0: taken */
    int32_t fds[LAYOUT_RINGS_MAX];
};

struct handover_child {
    int32_t pid;
    int32_t control;
    int32_t output[2]; /* -1: none */
    uint32_t is_app;
    uint32_t index;
    uint32_t generation;
};

struct handover {
    uint32_t magic;
    uint32_t version;
    uint32_t bytes;
    uint32_t rings;
    uint32_t inherited_count; /* sockets of socket activation, which keep their numbers */
    uint32_t is_trial;        /* 1: for a program that only tries: descriptors are named, and none of them is there */
    uint32_t listener_count;
    uint32_t child_count;
    struct control_tls_tickets tickets; /* count 0: none, or those of a file */
    struct handover_listener listeners[LISTENERS_MAX];
    struct handover_child children[HANDOVER_CHILDREN_MAX];
    char inherited_names[HANDOVER_NAMES_BYTES]; /* as in socket_names.h; "": they have none */
    char pid_file[PATH_MAX];                    /* absolute; "": there is none */
};

/* A new one to be filled; NULL: no memory. handover_destroy() wipes the keys. */
struct handover *handover_create(void);
void handover_destroy(struct handover *handover);

/* Lets every descriptor in it survive execve(), or not. */
void handover_set_inherited(const struct handover *handover, bool inherited);

/* Writes it to a memory file that survives execve(), above CONTROL_FD, and names that in the environment. */
[[nodiscard]] int handover_publish(const struct handover *handover, int *ret_fd);
void handover_unpublish(int fd);

/* What this program was left: *ret_handover is NULL when it was started like any other. Its descriptors do not reach
 * a child from here on. */
[[nodiscard]] int handover_take(struct handover **ret_handover);

/* Which formats the running program leaves is told to the one that is tried before it is executed. */
void handover_announce_format(void);
void handover_unannounce_format(void);

/* 0: this program was told of none, or understands it. -EPROTO: it must not be executed in place of the running one. */
[[nodiscard]] int handover_check_format(void);

/* For whoever takes sockets out of it and may have to give up: the descriptors are the same. NULL: no memory. */
struct handover *handover_copy(const struct handover *handover);

/* The sockets of one address that nobody has taken yet, or NULL. */
struct handover_listener *handover_find_listener(struct handover *handover, const char *key);

#endif
