/*
 * TLS dialogue: a server's channel over a context of its own, and a client that speaks with it; what one says the other
 * hears, in memory. The server reads all it can and keeps it.
 */
#ifndef TESTS_UNIT_IO_TLS_DIALOGUE_H
#define TESTS_UNIT_IO_TLS_DIALOGUE_H

#include "daemon/io/memory_account.h"
#include "daemon/io/tls_channel.h"
#include "tests/unit/io/tls_peer.h"

enum {
    NOW_MS = 1'000'000, /* when the server starts */
    PLAIN_MAX = 1 << 20,
    OWNER = 42, /* of its signatures */
};

struct tls_dialogue {
    struct tls_files files[4];
    uint32_t file_count;
    struct tls_options options;
    struct bytes trust;
    struct tls_tickets tickets;
    struct tls_signers *signers;
    struct tls_context *context;
    struct memory_account memory;
    struct tls_channel *channel;
    struct tls_peer peer;
    uint64_t now_ms;
    enum tls_progress progress; /* of the last step of the server's handshake */
    uint32_t cut;               /* octets of one offer; 0: all at once */
    uint8_t plain[PLAIN_MAX];   /* what the server has read */
    uint32_t plain_bytes;
    bool closed;
    char why[512];
};

/* Both ends by hand: options and certificates first, then the build. */
void tls_dialogue_init(struct tls_dialogue *dialogue);
void tls_dialogue_add(struct tls_dialogue *dialogue, bool is_rsa, const char *names);
/* What the context says to them; negative, with a reason in `why`. */
int tls_dialogue_try(struct tls_dialogue *dialogue);
void tls_dialogue_build(struct tls_dialogue *dialogue);
/* Another connection of the same server. */
void tls_dialogue_reconnect(struct tls_dialogue *dialogue, const char *sni, SSL_SESSION *session);

/* One certificate, and a client that names `sni`. It is ended, not freed. */
struct tls_dialogue *tls_dialogue_default(const char *sni);
void tls_dialogue_end(struct tls_dialogue *dialogue);

/* A signature is made; `context` is a bool that says so. */
void on_signed(uint64_t owner, void *context);

/* One direction each, of what there is; a server that has spoken says so. */
void deliver_to_server(struct tls_dialogue *dialogue, struct bytes data);
bool server_speaks(struct tls_dialogue *dialogue);

/* Until nobody has anything to say. */
void talk(struct tls_dialogue *dialogue);
void handshake(struct tls_dialogue *dialogue);

/* The server says it; it is not sent yet. */
void seal(struct tls_dialogue *dialogue, struct bytes data);
/* One answer from the server: tickets travel with it. */
void answer(struct tls_dialogue *dialogue);

/* The handshake fails, and that is why. */
void expect_failure(struct tls_dialogue *dialogue, enum tls_failure failure);
/* The pair that the client was shown, by its place. */
uint32_t shown(const struct tls_dialogue *dialogue);

#endif
