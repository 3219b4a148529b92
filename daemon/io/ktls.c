#include "daemon/io/ktls.h"

#include "daemon/base/owned.h"

#include <assert.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

/* ---- the kernel ------------------------------------------------------------------------------------------------- */

static int set_option(int fd, int level, int name, const void *value, socklen_t bytes)
{
    return setsockopt(fd, level, name, value, bytes) < 0 ? -errno : 0;
}

static ssize_t send_message(int fd, const struct msghdr *message, int flags)
{
    ssize_t sent = sendmsg(fd, message, flags);
    return sent < 0 ? -errno : sent;
}

static ssize_t receive_message(int fd, struct msghdr *message, int flags)
{
    ssize_t received = recvmsg(fd, message, flags);
    return received < 0 ? -errno : received;
}

static uint64_t received(int fd)
{
    struct tcp_info info = {};
    socklen_t length = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 ? 0 : info.tcpi_bytes_received;
}

static const struct ktls_calls KERNEL = {set_option, send_message, receive_message, received};

int ktls_attach(const struct ktls_kernel *kernel, int fd)
{
    return kernel->calls->set_option(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls" - 1);
}

/* Without it the kernel of TLS 1.3 decrypts into memory of its own and copies: a record might end in padding, whose
 * length only the last octet says. With it a record that is padded all the same is decrypted twice, and arrives.
 * Kernels before 6.0 have no such option. */
static void expect_no_padding(const struct ktls_kernel *kernel, int fd)
{
    const int yes = 1;
    (void)kernel->calls->set_option(fd, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &yes, sizeof yes);
}

int ktls_set_keys(const struct ktls_kernel *kernel, int fd, enum ktls_direction direction, const struct ktls_keys *keys)
{
    int r = kernel->calls->set_option(fd, SOL_TLS, (int)direction, &keys->info, keys->bytes);
    if (r == 0 && direction == KTLS_RECEIVE && keys->info.head.version == TLS_1_3_VERSION)
        expect_no_padding(kernel, fd);
    return r;
}

/* ---- records that are not data ---------------------------------------------------------------------------------- */

union control {
    struct cmsghdr head;
    uint8_t memory[CMSG_SPACE(sizeof(uint8_t))];
};

static void say_type(union control *control, uint8_t type)
{
    control->head =
        (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof type), .cmsg_level = SOL_TLS, .cmsg_type = TLS_SET_RECORD_TYPE};
    *CMSG_DATA(&control->head) = type;
}

int ktls_send_record(const struct ktls_kernel *kernel, int fd, uint8_t type, struct bytes data)
{
    union control control = {};
    struct iovec part = {(void *)(uintptr_t)data.data, data.length};
    say_type(&control, type);
    const struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_LEN(sizeof type)};
    ssize_t sent = kernel->calls->send_message(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return (int)sent;
    return sent == (ssize_t)data.length ? 0 : -EIO;
}

ssize_t ktls_receive_record(const struct ktls_kernel *kernel, int fd, uint8_t *memory, size_t capacity,
                            uint8_t *ret_type)
{
    union control control = {};
    struct iovec part = {memory, capacity};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t received = kernel->calls->receive_message(fd, &message, MSG_DONTWAIT);
    if (received < 0)
        return received;
    const bool has_type = message.msg_controllen >= CMSG_LEN(sizeof(uint8_t)) && control.head.cmsg_level == SOL_TLS &&
                          control.head.cmsg_type == TLS_GET_RECORD_TYPE;
    *ret_type = has_type ? *CMSG_DATA(&control.head) : KTLS_RECORD_DATA;
    return received;
}

/* What a struct cmsghdr and its octet of data are, in a form that may stand inside another struct. */
struct record_control {
    size_t length;
    int level;
    int kind;
    _Alignas(size_t) uint8_t record_type;
};
static_assert(offsetof(struct record_control, level) == offsetof(struct cmsghdr, cmsg_level) &&
                  offsetof(struct record_control, kind) == offsetof(struct cmsghdr, cmsg_type) &&
                  offsetof(struct record_control, record_type) == CMSG_LEN(0),
              "the kernel reads it as a cmsghdr");

/* A record that is always the same: a send under way reads it long after the call that began it. */
struct fixed_record {
    struct msghdr message;
    struct iovec part;
    struct record_control control;
    uint8_t data[8];
};

#define FIXED_RECORD(name, record_type, ...)                                               \
    static struct fixed_record name = {                                                    \
        .message = {.msg_iov = &name.part,                                                 \
                    .msg_iovlen = 1,                                                       \
                    .msg_control = &name.control,                                          \
                    .msg_controllen = CMSG_LEN(sizeof(uint8_t))},                          \
        .part = {name.data, sizeof((uint8_t[]){__VA_ARGS__})},                             \
        .control = {CMSG_LEN(sizeof(uint8_t)), SOL_TLS, TLS_SET_RECORD_TYPE, record_type}, \
        .data = {__VA_ARGS__},                                                             \
    }

const struct msghdr *ktls_close_notify(void)
{
    enum { WARNING = 1 };
    FIXED_RECORD(record, KTLS_RECORD_ALERT, WARNING, KTLS_ALERT_CLOSE_NOTIFY);
    return &record.message;
}

const struct msghdr *ktls_key_update(void)
{
    enum { KEY_UPDATE = 24, UPDATE_NOT_REQUESTED = 0 };
    FIXED_RECORD(record, KTLS_RECORD_HANDSHAKE, KEY_UPDATE, 0, 0, 1, UPDATE_NOT_REQUESTED);
    return &record.message;
}

/* ---- what there is ---------------------------------------------------------------------------------------------- */

/* Both ends of a TCP connection: a socket that has none takes no TLS. */
static int connect_pair(int *ret_client, int *ret_server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    OWNED_FD listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    OWNED_FD client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || client < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
        listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
        connect(client, (struct sockaddr *)&address, length) < 0)
        return -errno;
    int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (server < 0)
        return -errno;
    *ret_client = fd_take(&client);
    *ret_server = server;
    return 0;
}

static struct ktls_keys blank_keys(enum ktls_cipher cipher)
{
    static const struct {
        uint16_t type;
        socklen_t bytes;
    } KINDS[KTLS_CIPHERS] = {
        [KTLS_AES_128_GCM] = {TLS_CIPHER_AES_GCM_128, sizeof(struct tls12_crypto_info_aes_gcm_128)},
        [KTLS_AES_256_GCM] = {TLS_CIPHER_AES_GCM_256, sizeof(struct tls12_crypto_info_aes_gcm_256)},
        [KTLS_CHACHA20_POLY1305] = {TLS_CIPHER_CHACHA20_POLY1305, sizeof(struct tls12_crypto_info_chacha20_poly1305)},
    };
    return (struct ktls_keys){
        .cipher = cipher,
        .bytes = KINDS[cipher].bytes,
        .info.head = {.version = TLS_1_3_VERSION, .cipher_type = KINDS[cipher].type},
    };
}

static int probe_cipher(struct ktls_kernel *kernel, enum ktls_cipher cipher)
{
    int ends[2] = {-1, -1};
    int r = connect_pair(&ends[0], &ends[1]);
    if (r < 0)
        return r;
    OWNED_FD client = ends[0], server = ends[1];
    (void)client; /* it is only to be there */
    const struct ktls_keys keys = blank_keys(cipher);
    r = ktls_attach(kernel, server);
    if (r == 0)
        r = ktls_set_keys(kernel, server, KTLS_SEND, &keys);
    if (r == 0)
        r = ktls_set_keys(kernel, server, KTLS_RECEIVE, &keys);
    if (r < 0)
        return r;
    kernel->ciphers[cipher] = true;
    /* EBUSY where the kernel cannot: 6.1 and 6.12. */
    kernel->rekeys = ktls_set_keys(kernel, server, KTLS_RECEIVE, &keys) == 0;
    return 0;
}

static bool any_cipher(const struct ktls_kernel *kernel)
{
    for (int i = 0; i < KTLS_CIPHERS; i++)
        if (kernel->ciphers[i])
            return true;
    return false;
}

void ktls_probe(struct ktls_kernel *kernel, enum ktls use)
{
    *kernel = (struct ktls_kernel){};
    if (use == KTLS_USE_OFF)
        return;
    kernel->calls = &KERNEL;
    for (int i = 0; i < KTLS_CIPHERS; i++) {
        int r = probe_cipher(kernel, (enum ktls_cipher)i);
        kernel->error = r < 0 ? r : kernel->error;
    }
    kernel->receives = use == KTLS_USE_BOTH || (use == KTLS_USE_AUTO && kernel->rekeys);
    if (!any_cipher(kernel))
        kernel->calls = NULL;
}

void ktls_explain(const struct ktls_kernel *kernel, char *text, size_t capacity)
{
    static const char *const NAMES[KTLS_CIPHERS] = {"AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305"};
    if (kernel->calls == NULL) {
        const char *why = kernel->error == 0         ? "it is switched off"
                          : kernel->error == -ENOENT ? "the kernel has none (where it is a module: modprobe tls)"
                                                     : strerror(-kernel->error);
        snprintf(text, capacity, "kernel TLS is not used: %s", why);
        return;
    }
    size_t at = (size_t)snprintf(text, capacity, "kernel TLS encrypts%s:", kernel->receives ? " and decrypts" : "");
    for (int i = 0; i < KTLS_CIPHERS; i++)
        if (kernel->ciphers[i] && at < capacity)
            at += (size_t)snprintf(text + at, capacity - at, " %s", NAMES[i]);
}
