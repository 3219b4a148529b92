/*
 * Certificate keeper: which certificates serve, and how new ones take their place.
 *
 *   STEADY --> SETTLING --> TRYING --> STEADY      a file changed; the change is over; one I/O process took it
 *     ^            |           |
 *     +------------+-----------+                   unreadable or refused: one line in the log, the old ones serve on
 *
 * Only BoringSSL can say whether a certificate is good, and it lives in the I/O processes. So one of them tries a new
 * set; when it takes it all get it, and when it does not nobody ever sees it. A reload goes the same way, with its new
 * settings along, and is decided by the answer. An I/O process that is started again gets what the others have.
 *
 * Files are looked at once a second, when the supervisor wakes anyway, by their path: so a renamed file, an exchanged
 * link anywhere on the way (certbot, Kubernetes), a file written in place and a network file system are all the same.
 *
 * Owns:    the copies of all files, and the ticket keys.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_CERTIFICATE_KEEPER_H
#define DAEMON_SUPERVISOR_CERTIFICATE_KEEPER_H

#include "daemon/supervisor/certificate_set.h"
#include "daemon/supervisor/event_loop.h"
#include "daemon/supervisor/ticket_keys.h"

struct supervisor;
struct io_child;
struct listener_plan;

enum keeper_state { KEEPER_STEADY, KEEPER_SETTLING, KEEPER_TRYING, KEEPER_TAKEN };

/* One TLS context. */
struct kept_context {
    enum keeper_state state;                /* TAKEN: by the one that tries, in a reload that is not decided */
    struct certificate_set *current;        /* serves */
    struct certificate_set *candidate;      /* in SETTLING and later */
    struct certificate_set *refused;        /* what was tried last, in vain; NULL: nothing */
    uint32_t tries;                         /* of this candidate */
    char unreadable[CERTIFICATE_WHY_BYTES]; /* why, as it was said; empty: they can be read */
};

struct certificate_keeper {
    uint32_t count;
    struct kept_context contexts[CONTROL_TLS_CONTEXTS_MAX];
    bool reloading; /* candidates are those of a reload */
    uint32_t trier; /* the I/O process that tries; it has to stay the one it was */
    uint32_t generation;
    struct ticket_keys keys;
    char keys_unreadable[TICKET_KEYS_WHY_BYTES]; /* as above */
    struct event_alarm rotation;
};

/* At start: reads everything. -errno after one line in `why`. */
[[nodiscard]] int certificate_keeper_init(struct supervisor *supervisor, const struct listener_plan *plan,
                                          char why[CERTIFICATE_WHY_BYTES]);
void certificate_keeper_deinit(struct supervisor *supervisor);

/* The loop runs: keys that are ours rotate from now on. */
void certificate_keeper_start(struct supervisor *supervisor);

/* All that an I/O process needs before its listeners. */
void certificate_keeper_greet(struct supervisor *supervisor, struct io_child *io);
void certificate_keeper_on_taken(struct io_child *io, struct control_message *message);
void certificate_keeper_on_refused(struct io_child *io, struct control_message *message);
/* It has died, whatever it was about to say. */
void certificate_keeper_ring_gone(struct supervisor *supervisor, const struct io_child *io);

/* Once a second: files. */
void certificate_keeper_check(struct supervisor *supervisor);

/*
 * A reload: prepare reads the files that the fresh settings name (-errno, and `why`); agree is asked until it says that
 * they can be used, and fails the reload when they cannot; then commit, or at any time abandon.
 */
[[nodiscard]] int certificate_keeper_prepare(struct supervisor *supervisor, char why[CERTIFICATE_WHY_BYTES]);
bool certificate_keeper_agrees(struct supervisor *supervisor);
void certificate_keeper_commit(struct supervisor *supervisor);
void certificate_keeper_abandon(struct supervisor *supervisor);

#endif
