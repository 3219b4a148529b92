/*
 * Certificate set: all files of one TLS context, as the I/O processes get them.
 *
 * Owns:    copies of the files.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_CERTIFICATE_SET_H
#define DAEMON_SUPERVISOR_CERTIFICATE_SET_H

#include "config/schema.h"
#include "daemon/exchange/control.h"
#include "daemon/supervisor/file_copy.h"

struct child;

enum { CERTIFICATE_WHY_BYTES = 512, CERTIFICATE_PROTOCOLS_MAX = 2 };

/* What to read; borrowed from settings. */
struct certificate_plan {
    struct string_list certfile;
    struct string_list keyfile;
    struct string_list ocsp_file;
    const char *password_file;
    const char *ca_certs;
    struct string_list http_protocols; /* of this context alone; empty: those of all */
};

struct certificate_files {
    struct file_copy chain;
    struct file_copy key;
    struct file_copy ocsp; /* FILE_COPY_NONE without one */
};

struct certificate_set {
    struct file_copy password; /* FILE_COPY_NONE without one, as is trust */
    struct file_copy trust;
    char *protocols[CERTIFICATE_PROTOCOLS_MAX]; /* of this context alone */
    uint32_t protocol_count;
    uint32_t count;
    struct certificate_files pairs[];
};

/* `why` has a sentence for the operator on failure. */
[[nodiscard]] int certificate_set_create(const struct certificate_plan *plan, struct certificate_set **ret_set,
                                         char why[CERTIFICATE_WHY_BYTES]);
void certificate_set_destroy(struct certificate_set *set);

/* Whether the files are still those that were read. */
bool certificate_set_is_current(const struct certificate_set *set);

/* A warning for each key that others than its owner may read. */
void certificate_set_warn(const struct certificate_set *set);

/* All of it, with the request to use it. `settings` are those it is meant for, `settings_fd` the same; -1: those that
 * the child has already. */
void certificate_set_send(const struct certificate_set *set, uint32_t context, struct child *child,
                          const struct settings *settings, int settings_fd);

#endif
