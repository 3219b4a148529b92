/*
 * TLS agreed: all that may be asked of a connection's TLS once BoringSSL's object of it is gone.
 *
 * Connections that agree in all of it (version, cipher, name, certificates of both sides) share one, so that of ten
 * thousand clients without certificates each costs a pointer.
 *
 * Owns:    a reference to its context; the texts.
 * Threads: the loop.
 * Life:    counted; one that is shared stands among the agreements until its last connection drops it.
 */
#ifndef DAEMON_IO_TLS_AGREED_H
#define DAEMON_IO_TLS_AGREED_H

#include "daemon/exchange/tls_record.h"
#include "daemon/io/tls_channel.h"

struct tls_context;

enum { TLS_AGREEMENTS_LISTS = 256 };

struct tls_agreed {
    struct tls_agreed *next, **link; /* of its list; NULL: it stands in none */
    struct tls_context *context;
    const struct tls_pair *pair; /* the context's */
    uint32_t references;
    uint32_t ends[TLS_RECORD_TEXTS]; /* of `texts`, one behind the other; without those that the others imply */
    uint16_t version;                /* TLS's numbers */
    uint16_t cipher;
    bool is_resumed;
    uint8_t digest[TLS_CHANNEL_DIGEST_BYTES];
    char texts[];
};

/* Those that are shared. */
struct tls_agreements {
    struct tls_agreed *lists[TLS_AGREEMENTS_LISTS];
};

/* Of a channel whose handshake is complete; not shared. -ENOMEM. */
[[nodiscard]] int tls_agreed_create(struct tls_channel *channel, struct tls_agreed **ret_agreed);
/* The one that the channel's connection shares with others, or a new one for them. -ENOMEM. */
[[nodiscard]] int tls_agreements_find(struct tls_agreements *agreements, struct tls_channel *channel,
                                      struct tls_agreed **ret_agreed);
/* NULL is harmless. */
void tls_agreed_drop(struct tls_agreed *agreed);

/* Points into `agreed`, but for the name of the cipher; without our own certificate, which is the pair's. */
void tls_agreed_record(const struct tls_agreed *agreed, struct tls_record *ret_record);
/* As tls_channel_covers(). */
bool tls_agreed_covers(const struct tls_agreed *agreed, struct bytes host);

#endif
