/*
 * Connection state: what the files of a connection share and nobody else may call. From the top; nobody calls upwards:
 *
 *   connection_loop    what the loop says of one, and what is done once a turn
 *   connection_tls     ciphertext becomes plaintext; faults of TLS
 *   connection_send    what is queued goes out, and after the last of it the end
 *   connection_file    parts of files, which the kernel sends by itself
 *   connection_read    whether octets are wanted, and whether there are buffers for them
 *   connection_ktls    the kernel takes over from TLS in user space
 *   connection_close   the end, by the client or by us
 *   connection         which connections there are, what each has, and which of them wait for what
 *
 * Owns:    nothing; see connection.h.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_CONNECTION_STATE_H
#define DAEMON_IO_CONNECTION_STATE_H

#include "daemon/io/connection.h"

#include <errno.h>

/* ---- connection.c ---- */

ring_token connection_token_of(const struct connection *connection, enum ring_kind kind);

/* Among those that wait for a buffer or to be decrypted, the last. */
void connection_link_waiting(struct connection **first, struct connection **last, struct connection *connection);
void connection_unlink_waiting(struct connections *connections, struct connection *connection);
void connection_put_among_undecrypted(struct connections *connections, struct connection *connection);
/* Looked at when this turn ends: for what it has to send, or to be closed. */
void connection_put_on_turn(struct connections *connections, struct connection *connection);
/* Its channel, if it has one, goes. */
void connection_drop_tls(struct connections *connections, struct connection *connection);

/* ---- connection_close.c ---- */

/* Nothing more comes. */
void connection_on_end(struct connections *connections, struct connection *connection);
/* The client sends nothing more: the protocol hears so, once. */
void connection_tell_end(struct connections *connections, struct connection *connection);

void connection_cancel_receive(struct connections *connections, struct connection *connection);
void connection_begin_close(struct connections *connections, struct connection *connection, enum close_reason reason);
/* The same, and the client sees a reset. */
void connection_reset(struct connections *connections, struct connection *connection, enum close_reason reason);
void connection_try_close(struct connections *connections, struct connection *connection);

/* ---- connection_read.c ---- */

void connection_arm_receive(struct connections *connections, struct connection *connection);
void connection_arm_poll(struct connections *connections, struct connection *connection);
/* All is sent: what the client still says is thrown away for a while. */
void connection_linger(struct connections *connections, struct connection *connection);
/* A receive found no buffer. */
void connection_starve(struct connections *connections, struct connection *connection);
/* Buffers have come back. */
void connections_feed_starved(struct connections *connections);

/* ---- connection_send.c ---- */

void connection_start_send(struct connections *connections, struct connection *connection);

/* ---- connection_file.c ---- */

/* A part of a file is first in the queue, and begun. */
void connection_start_file(struct connections *connections, struct connection *connection);
/* Something of that has completed, with `*result`, which becomes what a send of the part would have said; -ENODATA: the
 * file cannot be sent as it was stated. False: it is still under way. */
bool connection_continue_file(struct connections *connections, struct connection *connection, int32_t *result);

/* ---- connection_tls.c ---- */

void connection_on_ciphertext(struct connections *connections, struct connection *connection, struct loan *loan,
                              struct bytes data);

/* ---- connection_ktls.c ---- */

/* Whether what the queue holds should leave by the kernel's TLS, which has not begun yet. */
bool connection_wants_offload(const struct connection *connection);
/* Everything that BoringSSL has said is sent. Sending is the kernel's from here on, or stays in user space for good. */
void connection_offload(struct connections *connections, struct connection *connection);
enum connection_keys {
    CONNECTION_KEYS_GOOD,
    CONNECTION_KEYS_CHANGE,  /* BoringSSL has new ones: a KeyUpdate is to be sent, and then nothing before they are set
                              */
    CONNECTION_KEYS_EXPIRED, /* nothing may be sent any more */
};
/* Before the kernel's TLS sends anything. */
enum connection_keys connection_judge_keys(struct connections *connections, struct connection *connection);
/* The KeyUpdate is sent. */
[[nodiscard]] int connection_change_keys(struct connections *connections, struct connection *connection);
enum connection_switch {
    CONNECTION_SWITCH_DONE,  /* the kernel decrypts, or never will */
    CONNECTION_SWITCH_POLLS, /* the rest of a record has not come: again once something has */
    CONNECTION_SWITCH_WAITS, /* for who decrypts, or it is over */
};
/* Before a receive is armed. */
enum connection_switch connection_offload_receive(struct connections *connections, struct connection *connection);
/* A record has come that is not data. */
void connection_on_record(struct connections *connections, struct connection *connection);
/* By the kernel's TLS; nothing is said where that cannot be done at once. */
void connection_say_alert(struct connections *connections, const struct connection *connection, uint8_t alert);

/* Octets of data are on their way, to be encrypted by the kernel. */
void connection_note_sent(struct connection *connection, uint64_t bytes);
/* Octets of data came, decrypted by the kernel. */
void connection_note_received(struct connection *connection, uint32_t bytes);

/* Whether an operation that ended so is to be tried again. */
static inline bool connection_is_transient(int error)
{
    return error == -ECANCELED || error == -EINTR || error == -EAGAIN;
}

/* Whether a whole record waits to be decrypted here. */
static inline bool connection_has_plaintext(const struct connection *connection)
{
    return connection->tls_open && connection->tls != NULL && tls_channel_pending(connection->tls) > 0;
}

/* Whether the last that TLS has to say has been, or will be, said. */
static inline bool connection_has_said_end(const struct connection *connection)
{
    if (connection->remnant != NULL)
        return connection->remnant->said_close;
    return connection->tls != NULL && tls_channel_has_ended(connection->tls);
}

/* Whether what is sent has to be sealed first. */
static inline bool connection_seals(const struct connection *connection)
{
    return connection->tls != NULL && connection->offload < CONNECTION_OFFLOAD_SENDS;
}

#endif
