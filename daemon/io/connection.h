/*
 * Connection: one accepted client socket, from accept to close. The only owner of its descriptor.
 *
 * Owns:    the descriptor, the armed operations on it, one timer, its TLS. What it says and hears is its protocol's
 *          affair.
 *
 * Under TLS a protocol sees plaintext all the same: what comes is decrypted into blocks of the inbound arena, and what
 * is queued is sealed when it is sent. Only while the handshake lasts (see tls_intake.h) are octets handed over as they
 * come. Nothing is ever sent in clear on a connection that has TLS. Ciphertext for which there is no block, or that the
 * protocol does not want yet, waits in the channel, and no more of it is received.
 * Threads: the loop.
 * Life:    created by the acceptor, freed after its last completion has arrived; a generation in each token keeps
 *          late completions away from the next connection in the same place.
 *
 *   OPEN <------> PARKED        idle for CONNECTION_PARK_MS: no receive is armed, one poll is
 *    |              |
 *    +--> LINGERING |           all is sent, our side is shut; reads and discards so that the client gets the answer
 *    |        |     |           and not a reset
 *    +--------+-----+--> CLOSING    operations are being cancelled; when the turn ends the protocol lets go, then the
 *                           |       descriptor is closed
 *                           +--> (freed)
 *
 * Anybody may close a connection at any time, and nothing of it is freed by that: a session that closes its own goes on
 * with all it has until it returns. What is said on it is thrown away from then on. Only connections_turn(), which no
 * session calls, has the protocol let go of requests and streams; the session itself goes after the last completion.
 */
#ifndef DAEMON_IO_CONNECTION_H
#define DAEMON_IO_CONNECTION_H

#include "daemon/io/io_core.h"
#include "daemon/io/own_addresses.h"
#include "daemon/io/tls_remnant.h"

#include <netinet/in.h>

enum connection_state { CONNECTION_OPEN, CONNECTION_PARKED, CONNECTION_LINGERING, CONNECTION_CLOSING };

/*
 * Under TLS, who encrypts and decrypts:
 *
 *   POSSIBLE --> SENDS                  the kernel encrypts: the handshake is complete, and data are to be sent
 *      |  |        ^
 *      |  +--> SWITCHING --> BOTH      and is to decrypt, once what was received has been, up to the end of a record;
 *      |                              BoringSSL's object is gone then, and a remnant is in its place
 *      +-> NONE                           the kernel did not take the keys
 */
enum connection_offload {
    CONNECTION_OFFLOAD_NONE,
    CONNECTION_OFFLOAD_POSSIBLE,
    CONNECTION_OFFLOAD_SENDS,
    CONNECTION_OFFLOAD_SWITCHING,
    CONNECTION_OFFLOAD_BOTH,
};

enum {
    CONNECTION_PARK_MS = 5'000,
    CONNECTION_LINGER_MS = 1'000,
    CONNECTION_LINGER_BYTES = 1 << 20,
};

struct connection;

/* What a protocol does with a connection. */
struct connection_protocol {
    /* Octets came. `loan` is held once for the protocol, which drops it. */
    void (*on_bytes)(struct connection *connection, struct loan loan, uint8_t *data, uint32_t length);
    void (*on_eof)(struct connection *connection);
    /* The send in flight took `bytes`; the queue has been advanced. */
    void (*on_sent)(struct connection *connection, uint32_t bytes);
    void (*on_deadline)(struct connection *connection);
    /* The connection is over: let go of everything but `out`, which may still be in flight. From connections_turn(),
     * never from within another call. */
    void (*on_close)(struct connection *connection);
    /* Nothing is in flight any more: free the session. */
    void (*on_freed)(struct connection *connection);
    /* The server stops; of a connection that has a session. NULL: what it is in the middle of goes on and ends it. */
    void (*on_drain)(struct connection *connection);
    void *context;
};

/* What the send in flight is, where it is one of a file (connection_file.c). */
enum connection_file_send {
    CONNECTION_FILE_NONE,
    CONNECTION_FILE_POLLS, /* for the client to have room */
    CONNECTION_FILE_READS, /* what is sent then, into the page cache */
};

/* The sending half; part of a protocol's session, so that an idle connection has none. */
struct connection_output {
    struct output_queue queue;
    struct iovec parts[OUTPUT_PARTS_MAX];
    struct msghdr message;
    enum connection_file_send file_send;
};

struct connection_listener {
    int fd;
    bool is_unix;
    bool is_wildcard;
    bool is_shared; /* others accept from it too */
    bool armed;
    uint16_t port;
    int32_t tls_context;     /* -1: cleartext */
    uint32_t proxy_protocol; /* enum listen_proxy */
    char server[SLOT_ADDRESS_BYTES];
};

/* What a PROXY header said: the ends of the connection that the client made. */
struct connection_proxied {
    char client[IP_TEXT_MAX];
    char server[IP_TEXT_MAX];
    uint16_t client_port;
    uint16_t server_port;
};

struct connection {
    const struct connection_protocol *protocol;
    void *session;                 /* the protocol's; NULL while idle */
    struct connection_output *out; /* inside the session; NULL with it */
    const struct connection_listener *listener;
    const char *server;                 /* text of our own address, or the path of a unix socket */
    struct connection_proxied *proxied; /* NULL: no PROXY header named a client */
    struct tls_channel *tls;            /* NULL: cleartext, or the kernel does all of it */
    struct tls_remnant *remnant;        /* of TLS that the kernel does */
    struct connection *dirty_next;      /* has output to start sending */
    struct connection *starved_next;    /* among those without a buffer, or those with ciphertext to decrypt */
    struct connection *idle_next, *idle_previous; /* between requests, longest idle first */
    struct timer_entry timer;
    uint64_t deadline_ms;   /* the real one; the timer may be armed for an earlier time. 0: none */
    uint64_t idle_until_ms; /* the protocol's: when an idle connection ends; 0: never */
    int fd;
    uint32_t index;
    uint32_t generation;
    uint32_t lingered_bytes;
    uint32_t requests;
    uint8_t state; /* enum connection_state */
    uint8_t close_reason;
    uint8_t group; /* enum loan_kind: which buffers receives should fill */
    uint8_t armed_group;
    uint8_t offload; /* enum connection_offload */
    bool receive_armed : 1;
    bool receive_cancelling : 1;
    bool poll_armed : 1;
    bool send_in_flight : 1;
    bool close_submitted : 1;
    bool wants_read : 1;
    bool dirty : 1;
    bool starved : 1;
    bool eof : 1;
    bool close_when_sent : 1;
    bool reset_when_sent : 1;
    bool is_slow : 1; /* the last send was not taken whole */
    bool idle : 1;
    bool tls_open : 1;   /* the protocol sees plaintext */
    bool tls_waits : 1;  /* has ciphertext to decrypt: among `undecrypted` */
    bool decrypting : 1; /* right now */
    bool tls_ended : 1;  /* close_notify has come */
    bool eof_told : 1;
    bool record_in_flight : 1;     /* what is being sent is none of the queue */
    bool key_update_in_flight : 1; /* namely this */
    union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
    } peer;
};
static_assert(sizeof(struct connection) <= 192, "an idle connection costs this and little more");

/* All connections of an I/O process. */
struct connections {
    struct io_core *core;
    const struct connection_protocol *protocol;
    struct connection **by_index;
    uint32_t *free_indices;
    uint32_t free_count;
    uint32_t capacity;
    uint32_t allocated; /* indices that were ever used: by_index grows with them */
    struct slab records;
    struct slab proxied; /* struct connection_proxied */
    struct own_addresses own_addresses;
    struct tls_agreements agreements;
    struct connection *dirty_first;
    struct connection *starved_first, *starved_last;
    struct connection *undecrypted_first, *undecrypted_last;
    struct connection *idle_first, *idle_last;
    uint32_t idle_count;
    uint32_t live;
};

[[nodiscard]] int connections_init(struct connections *connections, struct io_core *core,
                                   const struct connection_protocol *protocol, uint32_t capacity);
void connections_deinit(struct connections *connections);

/* Takes `fd`. NULL without room or memory; then it is closed. */
struct connection *connection_create(struct connections *connections, int fd,
                                     const struct connection_listener *listener);

/* Whether what is said on it is encrypted: then its requests came by https. */
static inline bool connection_is_secure(const struct connection *connection)
{
    return connection->tls != NULL || connection->remnant != NULL;
}

/* Whether what is received has to be decrypted first. */
static inline bool connection_decrypts(const struct connection *connection)
{
    return connection->tls != NULL;
}

/* Whether parts of files may be queued by reference: nothing has to be done here to the octets that leave. So it stays
 * once it is so. */
static inline bool connection_sends_files(const struct connection *connection)
{
    return connection->tls == NULL || connection->offload >= CONNECTION_OFFLOAD_SENDS;
}

/* Where the kernel decrypts, now and then: ends a connection that sends records without data. */
void connection_look_for_hollow(struct connections *connections, struct connection *connection);

/* Of what kind the octets are that a session gets, and is to look at for how scarce they are. */
static inline enum loan_kind connection_loan_kind(const struct connection *connection)
{
    return connection_decrypts(connection) ? LOAN_STAGING : LOAN_RECEIVE;
}

/* Whether what it reads now may be a replay (TLS early data): only what changes nothing may be done for it. */
static inline bool connection_is_early(const struct connection *connection)
{
    return connection->tls != NULL && tls_channel_is_early(connection->tls);
}

/* Nothing is read as a request any more, and nothing but what is queued goes out. */
static inline bool connection_is_over(const struct connection *connection)
{
    return connection->state >= CONNECTION_LINGERING || connection->close_when_sent;
}

/* A number for it, by which it is found again as long as it lives. */
ring_token connection_token(const struct connection *connection);

struct connection *connection_find(const struct connections *connections, ring_token token);

/* ---- for protocols ---- */

/* Whether octets are wanted; receiving follows. `group`: LOAN_RECEIVE, or LOAN_UPLOAD while a long body comes. */
void connection_want(struct connections *connections, struct connection *connection, bool wants_read,
                     enum loan_kind group);

/* There is something in the output queue: it is sent at the end of this turn. */
void connection_flush(struct connections *connections, struct connection *connection);

/* Before its first octet of TLS: the kernel may take over once the handshake is complete. */
void connection_attach_ktls(struct connections *connections, struct connection *connection);
/* Takes `channel`: from now on nothing is sent in clear, and the protocol does the handshake. */
void connection_start_tls(struct connections *connections, struct connection *connection, struct tls_channel *channel);
/* The handshake is complete: the protocol, another one by now, sees plaintext, also of what the channel still has. */
void connection_open_tls(struct connections *connections, struct connection *connection);
/* TLS is over by a fault: what the channel has to say (an alert) is said if that can be done at once. */
void connection_fail_tls(struct connections *connections, struct connection *connection, enum close_reason reason);

/* A PROXY header has named the client: to be filled in by the caller; freed with the connection. NULL without memory.
 */
struct connection_proxied *connection_set_proxied(struct connections *connections, struct connection *connection);

/* 0: none. */
void connection_set_deadline(struct connections *connections, struct connection *connection, uint64_t deadline_ms);

/* When all is sent: says so to the client, lingers, closes. Nothing more is read as requests. */
void connection_close_when_sent(struct connections *connections, struct connection *connection,
                                enum close_reason reason);

/* When all is sent: the client sees a reset, where an orderly end would pass for the end of a response. */
void connection_reset_when_sent(struct connections *connections, struct connection *connection,
                                enum close_reason reason);

/* Now; what is queued is lost. With `reset` the client sees a reset and not an orderly end. */
void connection_abort(struct connections *connections, struct connection *connection, enum close_reason reason,
                      bool reset);

/* The protocol says when a connection that has served a request waits for the next one, and when it no longer does. */
void connection_set_idle(struct connections *connections, struct connection *connection, bool idle);

/* Idle, without a session: trades the armed receive (about 800 octets of kernel memory) for a poll (250). */
void connection_park(struct connections *connections, struct connection *connection);

/* ---- for the loop ---- */

void connection_on_receive(struct connections *connections, struct connection *connection,
                           const struct ring_event *event);
void connection_on_send(struct connections *connections, struct connection *connection, const struct ring_event *event);
void connection_on_poll(struct connections *connections, struct connection *connection, const struct ring_event *event);
void connection_on_closed(struct connections *connections, struct connection *connection);
void connection_on_timer(struct connections *connections, struct connection *connection);

/* The server stops: protocols that have something to say about it hear so. */
void connections_drain(struct connections *connections);

/* Starts the sends of this turn; gives starved connections another try where buffers came back. */
void connections_turn(struct connections *connections);

/* Decrypts what had to wait. Returns whether more could be done at once. */
bool connections_decrypt(struct connections *connections);

/* Text of the client's address, "" for unix sockets; its port. As the PROXY header says, where there was one. */
void connection_client_text(const struct connection *connection, char text[IP_TEXT_MAX], uint16_t *ret_port);

/* Closes the connection that has been idle longest; false when none is. */
bool connections_evict_idle(struct connections *connections, enum close_reason reason);

#endif
