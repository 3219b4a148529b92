/*
 * Listener plan: which addresses there are, and which TLS context each of them has.
 *
 * The certificates of `certfile` are the first context, where there are any; each table of `listen` with certificates
 * or protocols of its own is one more. Contexts keep their numbers over reloads: what they come from needs a restart.
 *
 * Owns nothing: texts are in the arena, and in that of the settings.
 */
#ifndef DAEMON_SUPERVISOR_LISTENER_PLAN_H
#define DAEMON_SUPERVISOR_LISTENER_PLAN_H

#include "daemon/supervisor/certificate_set.h"
#include "daemon/supervisor/listeners.h"

struct listener_plan {
    uint32_t context_count;
    struct certificate_plan contexts[CONTROL_TLS_CONTEXTS_MAX];
    struct string_list addresses;        /* of `bind` and then of `listen`; at most LISTENERS_MAX */
    int32_t tls_contexts[LISTENERS_MAX]; /* of each; -1: cleartext */
    enum listen_proxy proxies[LISTENERS_MAX];
    char protocols[CONTROL_TLS_CONTEXTS_MAX][LISTENER_PROTOCOLS_BYTES]; /* of each context: "h2, http/1.1" */
    int32_t tls_context_of_all; /* of those that name none, and of inherited sockets */
};

/* What is made lives in `arena`. `why` has a sentence for the operator on failure. */
[[nodiscard]] int listener_plan_make(const struct settings *settings, struct settings_arena *arena,
                                     struct listener_plan *ret_plan, char why[CERTIFICATE_WHY_BYTES]);

#endif
