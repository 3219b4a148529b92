/*
 * Kernel TLS: what this kernel can encrypt and decrypt by itself, and the calls that make it do so.
 *
 * A socket is told at its birth that it may come to that (ktls_attach), serves its handshake as a plain one, and gets
 * its keys when that is complete. From then on what is sent is application data in records of the kernel's; anything
 * else goes by ktls_send_record(). Until TLS_TX is set such a socket sends what it is given as it is: who fails to set
 * it has to seal in user space, or close.
 *
 * Owns:    nothing; one object per process says what was found at start.
 * Threads: the loop; ktls_probe() before the sandbox closes, for it opens sockets.
 */
#ifndef DAEMON_IO_KTLS_H
#define DAEMON_IO_KTLS_H

#include "config/schema.h"
#include "proto/bytes.h"

#include <linux/tls.h>
#include <sys/socket.h>

enum ktls_cipher { KTLS_AES_128_GCM, KTLS_AES_256_GCM, KTLS_CHACHA20_POLY1305, KTLS_CIPHERS };

enum ktls_direction { KTLS_SEND = TLS_TX, KTLS_RECEIVE = TLS_RX };

enum {
    KTLS_RECORD_ALERT = 21,
    KTLS_RECORD_HANDSHAKE = 22,
    KTLS_RECORD_DATA = 23,
    KTLS_ALERT_CLOSE_NOTIFY = 0,
    /* RFC 8446 5.5: 2^24.5 records under one key of AES-GCM; nobody in the kernel counts. */
    KTLS_RECORDS_MAX = 1 << 24,
    KTLS_RECORD_BYTES = 16'384,
    /* What a client may have sent by TCP beyond its data: a handshake, and some six thousand records that are empty.
     * For each octet of data another record, and some padding. */
    KTLS_HOLLOW_FREE_BYTES = 131'072,
    KTLS_HOLLOW_FACTOR = 32,
};

/* As the kernel wants them; to be wiped by who has them. */
struct ktls_keys {
    enum ktls_cipher cipher;
    socklen_t bytes; /* of `info` */
    union {
        struct tls_crypto_info head;
        struct tls12_crypto_info_aes_gcm_128 aes_128_gcm;
        struct tls12_crypto_info_aes_gcm_256 aes_256_gcm;
        struct tls12_crypto_info_chacha20_poly1305 chacha20_poly1305;
    } info;
};

/* The kernel, or a test's. */
struct ktls_calls {
    int (*set_option)(int fd, int level, int name, const void *value, socklen_t bytes);
    ssize_t (*send_message)(int fd, const struct msghdr *message, int flags);
    ssize_t (*receive_message)(int fd, struct msghdr *message, int flags);
    uint64_t (*received)(int fd);
};

struct ktls_kernel {
    const struct ktls_calls *calls; /* NULL: all is done in user space */
    bool ciphers[KTLS_CIPHERS];
    bool rekeys;   /* takes new keys on a connection that has some */
    bool receives; /* decrypting is wanted too */
    int error;     /* why there is none: negative errno; 0: it was not asked for */
};

/* Finds out, once, by sockets of its own. */
void ktls_probe(struct ktls_kernel *kernel, enum ktls use);
/* A sentence for the operator. */
void ktls_explain(const struct ktls_kernel *kernel, char *text, size_t capacity);

/* Before the handshake. -ENOTCONN: the client has said its end. -ENOENT: there is no kernel TLS. */
[[nodiscard]] int ktls_attach(const struct ktls_kernel *kernel, int fd);
/* Whether connections of this cipher are for the kernel. */
static inline bool ktls_has(const struct ktls_kernel *kernel, enum ktls_cipher cipher)
{
    return kernel->calls != NULL && kernel->ciphers[cipher];
}
[[nodiscard]] int ktls_set_keys(const struct ktls_kernel *kernel, int fd, enum ktls_direction direction,
                                const struct ktls_keys *keys);

/* A whole record at once or not at all: -EAGAIN. */
[[nodiscard]] int ktls_send_record(const struct ktls_kernel *kernel, int fd, uint8_t type, struct bytes data);
/* The record that a plain receive stopped at with EIO. Returns its octets, or -EAGAIN, or what is wrong with it; 0 and
 * the type of data at the end of the connection. */
[[nodiscard]] ssize_t ktls_receive_record(const struct ktls_kernel *kernel, int fd, uint8_t *memory, size_t capacity,
                                          uint8_t *ret_type);
/* Octets that have come by TCP; 0 where that cannot be known. */
static inline uint64_t ktls_received(const struct ktls_kernel *kernel, int fd)
{
    return kernel->calls->received(fd);
}
/* For a send of the ring's; they live for ever. */
const struct msghdr *ktls_close_notify(void);
const struct msghdr *ktls_key_update(void);

#endif
