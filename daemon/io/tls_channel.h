/*
 * TLS channel: one connection's TLS as octets in, octets out. BoringSSL stands behind it, and never sees a socket.
 *
 * Ciphertext is offered, and what of it was not used up is kept. BoringSSL is given whole records only: it has nothing
 * half-received inside, so what the client sent is either in our hands or decrypted in the caller's memory.
 *
 *   offer ... (handshake | read)* ... settle_input      a receive
 *   seal, output, output_sent                           a send: sealed octets are copies, the plaintext may go at once
 *
 * Owns:    the SSL object, ciphertext both ways; a reference to its context.
 * Threads: the loop.
 * Life:    from the first octet of a TLS connection to its end. Idle it holds the SSL object (without what only the
 *          handshake needed) and no buffer.
 */
#ifndef DAEMON_IO_TLS_CHANNEL_H
#define DAEMON_IO_TLS_CHANNEL_H

#include "daemon/io/tls_failure.h"
#include "proto/bytes.h"

#include <assert.h>
#include <sys/uio.h>

struct memory_account;
struct ssl_st;
struct tls_context;
struct tls_channel;
struct tls_pair;

enum {
    TLS_RECORD_HEADER_BYTES = 5,
    TLS_RECORD_BYTES_MAX = 16'384,  /* of plaintext */
    TLS_HELLO_BYTES_MAX = 16'384,   /* of ClientHello: TLS-10 */
    TLS_SEAL_MAX = 131'072,         /* plaintext of one send, where memory is not scarce */
    TLS_FIRST_RECORD_BYTES = 1'400, /* fits a segment: the first octets of a page are not kept waiting for others */
    TLS_FIRST_BYTES = 65'536,       /* so sealed after ... */
    TLS_IDLE_MS = 1'000,            /* without sending, when the congestion window may have shrunk */
    TLS_KEY_UPDATES_FREE = 10,      /* and one more for each MiB read: TLS-11 */
    TLS_WARNINGS_MAX = 4,           /* alerts in a row that mean nothing, as BoringSSL has it: TLS-12 */
    TLS_CHANNEL_DIGEST_BYTES = 32,
};

enum tls_progress {
    TLS_HUNGRY,  /* needs more octets of the client */
    TLS_DATA,    /* plaintext was read */
    TLS_READY,   /* the handshake is complete, or far enough for early data */
    TLS_SIGNING, /* waits for a signer, who says the owner's number when it is done */
    TLS_CLOSED,  /* the client will send nothing more: close_notify */
    TLS_FAILED,  /* over; an alert may be in the output */
};

/* What is agreed upon once the handshake is complete. Texts live as long as the channel. */
struct tls_facts {
    uint16_t version; /* TLS's numbers */
    uint16_t cipher;
    bool is_h2;
    bool is_resumed;
    const char *version_text; /* "TLSv1.3" */
    const char *cipher_text;  /* as the standards name it: TLS_AES_128_GCM_SHA256 */
    const char *sni;          /* NULL: the client named nobody */
};

/* Takes a reference to `context`. `owner` is what a signer says when it is done. Ciphertext is charged to `account`,
 * which outlives the channel; NULL: nobody counts. -ENOMEM. */
[[nodiscard]] int tls_channel_create(struct tls_context *context, struct memory_account *account, uint64_t owner,
                                     struct tls_channel **ret_channel);
/* NULL is harmless. */
void tls_channel_destroy(struct tls_channel *channel);

/* Ciphertext at hand, for the calls that follow; valid until tls_channel_settle_input(), which keeps what is left. */
void tls_channel_offer(struct tls_channel *channel, struct bytes ciphertext);
[[nodiscard]] int tls_channel_settle_input(struct tls_channel *channel);

/* HUNGRY, READY, SIGNING or FAILED. */
enum tls_progress tls_channel_handshake(struct tls_channel *channel, uint64_t now_ms);
/* Whether the ClientHello has come and been answered: the costly part is done. */
bool tls_channel_has_hello(const struct tls_channel *channel);

/* Room that the next tls_channel_read() needs; 0: no whole record is here. */
uint32_t tls_channel_pending(struct tls_channel *channel);
/* Octets that the record is short of that has begun; 0: it is whole, or none has. */
uint32_t tls_channel_missing(const struct tls_channel *channel);
/* As many records as are whole and fit. HUNGRY, DATA, CLOSED or FAILED. */
enum tls_progress tls_channel_read(struct tls_channel *channel, uint64_t now_ms, uint8_t *memory, uint32_t capacity,
                                   uint32_t *ret_length);

/* Seals some octets of `parts`: about TLS_SEAL_MAX, a record's worth where the account says SCARCE, a segment's where
 * it says EXHAUSTED. -ENOMEM, -EPROTO. */
[[nodiscard]] int tls_channel_seal(struct tls_channel *channel, const struct iovec *parts, uint32_t count,
                                   uint64_t now_ms, size_t *ret_plain);
/* Puts session tickets into the output, which otherwise travel with the first octets sealed. */
void tls_channel_send_tickets(struct tls_channel *channel);
/* Appends close_notify, or leaves it to the caller once muted; false when it has been said, or there is nobody to say
 * it to. */
bool tls_channel_close_notify(struct tls_channel *channel);
/* Whether nothing more will be said: close_notify or an alert is the last. */
bool tls_channel_has_ended(const struct tls_channel *channel);

/* Whether another may seal from here on: the handshake is complete, and all that was said is on its way. */
bool tls_channel_can_be_muted(const struct tls_channel *channel);
/* The kernel seals: what BoringSSL says is nobody's from now on, for its numbers of records are no longer right. */
void tls_channel_mute(struct tls_channel *channel);
/* Once muted. The last alert that BoringSSL wanted to say. */
uint8_t tls_channel_alert(const struct tls_channel *channel);
/* Whether the client has asked for new keys; BoringSSL has changed its own already, and its next record is number 0. */
bool tls_channel_take_key_request(struct tls_channel *channel);
/* Changes the keys of what is sent. False: this version of TLS has no way to do so. */
bool tls_channel_change_keys(struct tls_channel *channel);

/* Records that the kernel has sent under its key, about: it counts nothing itself. */
uint32_t *tls_channel_records_sent(struct tls_channel *channel);
/* Octets of plaintext that came. */
uint64_t tls_channel_received(const struct tls_channel *channel);

/* What has to be sent: stays where it is until tls_channel_output_sent(). */
bool tls_channel_has_output(const struct tls_channel *channel);
struct bytes tls_channel_output(struct tls_channel *channel);
/* Returns how many octets of plaintext that stands for. */
uint32_t tls_channel_output_sent(struct tls_channel *channel, size_t octets);
/* Whether what tls_channel_output() said has not been sent whole. */
bool tls_channel_is_sending(const struct tls_channel *channel);

/* Since the last call: key updates and tiny records that came. */
struct tls_counts {
    uint32_t key_updates;
    uint32_t tiny_records;
};
struct tls_counts tls_channel_take_counts(struct tls_channel *channel);

/* What is read now came before the client has proved that it is no replay. */
bool tls_channel_is_early(const struct tls_channel *channel);

void tls_channel_facts(const struct tls_channel *channel, struct tls_facts *ret_facts);
/* Whether a request for `host` (without port) may be answered on this connection: RFC 9110 15.5.20. */
bool tls_channel_covers(const struct tls_channel *channel, struct bytes host);

/* Of all that applications may learn of it: the same for connections that agree. Once the handshake is complete. */
const uint8_t *tls_channel_digest(struct tls_channel *channel);

/* For tls_agreed.c and tls_keys.c. */
struct ssl_st *tls_channel_ssl(const struct tls_channel *channel);
struct tls_context *tls_channel_context(const struct tls_channel *channel);
const struct tls_pair *tls_channel_pair(const struct tls_channel *channel);

enum tls_failure tls_channel_failure(const struct tls_channel *channel);
/* A few words of BoringSSL's, for the log; "" for none. */
const char *tls_channel_reason(const struct tls_channel *channel);

#endif
