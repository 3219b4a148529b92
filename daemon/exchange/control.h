/*
 * Control: the one channel between the supervisor and each child, a SOCK_SEQPACKET socket with descriptors along.
 *
 * A child is born with standard input, output and error, and this socket as CONTROL_FD; everything else that it may
 * touch arrives here. The first message is always SETUP.
 *
 *   supervisor to child
 *     SETUP      struct control_setup; fds: settings memfd, error log [, app: its doorbell eventfd, outbound arena]
 *                [, io: metrics page, access log (or nothing: see setup.flags), load board] [, hooks: nothing]
 *     LISTENER   io: struct control_listener; fd: the listening socket
 *     PEER_UP    struct control_peer; io gets fds: outbound arena, pair page, app's doorbell, ring's doorbell for it,
 *                its end of the channel for files (file_handover.h)
 *                app gets fds: inbound arena, pair page, ring's doorbell for it, the other end
 *     PEER_GONE  struct control_peer; to io, flags: enum control_gone_flag
 *     PEER_DRAIN io: struct control_peer of an app that takes nothing new; what it has begun goes on
 *     TLS_PAIR   io: struct control_tls_pair; fds: certificate chain, private key [, password file] [, OCSP response]
 *     TLS_TRUST  io: struct control_tls_context; fd: the authorities of client certificates
 *     TLS_TICKETS io: struct control_tls_tickets, for all contexts, before START and at each rotation
 *     TLS_READY  io: struct control_tls_context: all of it has come; build it aside, and use it for new handshakes
 *                only when it is whole and valid; answer TLS_TAKEN or TLS_REFUSED. fd, or nothing: the settings memfd
 *                to build it with, when a reload that is not decided yet tries others than those in use
 *     START      io: every listener and setting is there, create the ring and answer READY
 *     SETTINGS   settings memfd, after a reload; those that apply live
 *     LOG        error log fd [, io: access log fd], after a reopen
 *     DRAIN      io: stop accepting, finish, exit; app: nothing new will come, finish what was begun, exit; hooks: exit
 *     LEAVE      io: stop accepting; connections that are idle may ask once more, and end with that answer
 *     STOP       exit now
 *     FORK       app, a template (setup.flags): make a copy; fds: its control socket [, its stdout, its stderr]
 *     HOOK       hooks: struct control_hook; call it, answer HOOK_DONE, and take the next one then
 *   child to supervisor
 *     HELLO      io: fd: its inbound arena
 *     READY      struct control_ready
 *     TLS_TAKEN  io: struct control_tls_context: new handshakes use it
 *     TLS_REFUSED io: struct control_tls_refusal: it cannot be used, and why; the one before it serves on
 *     STUCK      io: struct control_peer of an app that passed `timeout`
 *     RECYCLE    app: it has served max_requests; it serves on until DRAIN, which follows once another is ready
 *     FORKED     app, a template: struct control_forked, the answer to FORK
 *     HOOK_DONE  hooks: struct control_hook_done
 *     FAILED     io: text for the operator, one message; the exit status says the rest
 *
 * Owns:    nothing; descriptors received become the receiver's.
 */
#ifndef DAEMON_EXCHANGE_CONTROL_H
#define DAEMON_EXCHANGE_CONTROL_H

#include "daemon/exchange/layout.h"

enum {
    CONTROL_FD = 3,
    CONTROL_PAYLOAD_MAX = 4'096,
    CONTROL_FDS_MAX = 8,
    CONTROL_TLS_NAME_BYTES = 192,
    CONTROL_TLS_REASON_BYTES = 1'024,
    CONTROL_TLS_CONTEXTS_MAX = 16,
    CONTROL_TLS_PAIRS_MAX = 64, /* of one context */
    CONTROL_TLS_TICKET_KEYS = 3,
    CONTROL_TLS_TICKET_KEY_BYTES = 80, /* 16 of name, 32 of HMAC-SHA-256 key, 32 of AES-256 key */
};

enum control_kind {
    CONTROL_SETUP = 1,
    CONTROL_LISTENER,
    CONTROL_PEER_UP,
    CONTROL_PEER_GONE,
    CONTROL_PEER_DRAIN,
    CONTROL_START,
    CONTROL_SETTINGS,
    CONTROL_LOG,
    CONTROL_DRAIN,
    CONTROL_STOP,
    CONTROL_HELLO,
    CONTROL_READY,
    CONTROL_STUCK,
    CONTROL_RECYCLE,
    CONTROL_FAILED,
    CONTROL_TLS_PAIR,
    CONTROL_TLS_TRUST,
    CONTROL_TLS_TICKETS,
    CONTROL_TLS_READY,
    CONTROL_TLS_TAKEN,
    CONTROL_TLS_REFUSED,
    CONTROL_FORK,
    CONTROL_FORKED,
    CONTROL_LEAVE,
    CONTROL_HOOK,
    CONTROL_HOOK_DONE,
    CONTROL_KINDS
};

enum control_setup_flag {
    CONTROL_HAS_ACCESS_LOG = 1,
    CONTROL_LIVE_COUNTERS = 2,
    CONTROL_TEMPLATE = 4, /* app: it is there to be copied (preload_app) */
};

struct control_setup {
    struct exchange_shape shape;
    uint32_t index;      /* ring index, or app index */
    uint32_t generation; /* of the child at that index: counts restarts */
    uint32_t flags;      /* enum control_setup_flag */
    int32_t cpu;         /* to pin to, or -1 */
    uint32_t supervisor_pid;
    uint32_t age; /* app: counts the application processes that were started, itself too; 0 in a template */
};

struct control_listener {
    uint32_t flags;                  /* enum control_listener_flag */
    uint32_t server_port;            /* 0 for unix sockets */
    int32_t tls_context;             /* -1: cleartext */
    uint32_t proxy_protocol;         /* enum listen_proxy */
    char server[SLOT_ADDRESS_BYTES]; /* address or path as text */
};

enum control_listener_flag { CONTROL_LISTENER_UNIX = 1, CONTROL_LISTENER_SHARED = 2 };

/*
 * What comes for a context between two TLS_READY is one set: it replaces the set before it as a whole. Every file is
 * sealed memory that the other I/O processes have as well, so it is read by pread(): the position is shared.
 */
struct control_tls_context {
    uint32_t context;
};

struct control_tls_pair {
    uint32_t context;
    uint32_t flags;                    /* enum control_tls_pair_flag */
    char name[CONTROL_TLS_NAME_BYTES]; /* the certificate file's path, for messages */
};

/* Which of the descriptors after the first two are there, in this order. */
enum control_tls_pair_flag { CONTROL_TLS_HAS_PASSWORD = 1, CONTROL_TLS_HAS_OCSP = 2 };

/* The first key seals new tickets, all of them open tickets. */
struct control_tls_tickets {
    uint32_t count; /* 1 to CONTROL_TLS_TICKET_KEYS */
    uint8_t keys[CONTROL_TLS_TICKET_KEYS][CONTROL_TLS_TICKET_KEY_BYTES];
};

struct control_tls_refusal {
    uint32_t context;
    char text[CONTROL_TLS_REASON_BYTES];
};

/* Of the third descriptor of SETUP: a page for each I/O process, which writes its own and reads all. */
enum { CONTROL_METRICS_PAGE_BYTES = 4'096 };

struct control_peer {
    uint32_t index; /* of the peer: app index when sent to an I/O process, ring index when sent to an app */
    uint32_t generation;
    uint32_t places; /* requests it takes at once (io only) */
    uint32_t flags;  /* io only: enum control_ready_flag, with PEER_GONE enum control_gone_flag */
    int32_t pid;     /* io only, PEER_UP: of the app process, for the access log */
    uint32_t reserved;
};

enum control_gone_flag {
    CONTROL_GONE_TIMED_OUT = 1, /* killed because it passed `timeout`: what it had begun gets 504 instead of 502 */
};

enum control_ready_flag {
    CONTROL_APP_WSGI = 1,       /* its threads must not wait for clients: request and response buffering `auto` */
    CONTROL_APP_EVENT_LOOP = 2, /* `timeout` watches the heartbeat, not single requests */
    CONTROL_APP_SYNC = 4,       /* `timeout` watches the whole request, output or not */
};

struct control_ready {
    uint32_t places;
    uint32_t flags;
};

struct control_forked {
    int32_t pid; /* or a negative errno */
};

/* The hooks of a Python settings file that are the server's, and one that is no function: an app process lives. */
enum control_hook_name {
    CONTROL_HOOK_NWORKERS_CHANGED,
    CONTROL_HOOK_ON_STARTING,
    CONTROL_HOOK_ON_RELOAD,
    CONTROL_HOOK_WHEN_READY,
    CONTROL_HOOK_PRE_FORK,
    CONTROL_HOOK_BORN,
    CONTROL_HOOK_CHILD_EXIT,
    CONTROL_HOOK_PRE_EXEC,
    CONTROL_HOOK_ON_EXIT,
    CONTROL_HOOK_NAMES
};

struct control_hook {
    uint32_t hook;           /* enum control_hook_name */
    int32_t pid;             /* of the app process that it is about; 0: none, or not yet */
    uint32_t age;            /* its setup.age; 0: a process of a program before this one */
    int32_t status;          /* CHILD_EXIT: as waitpid() gave it */
    uint32_t workers;        /* how many are to serve */
    uint32_t workers_before; /* NWORKERS_CHANGED; 0: the server starts */
};

struct control_hook_done {
    uint32_t raised; /* 1: the function has ended by an exception, which is in the log */
};

struct control_message {
    uint32_t kind;
    uint32_t payload_bytes;
    uint32_t fd_count;
    int fds[CONTROL_FDS_MAX];
    _Alignas(8) uint8_t payload[CONTROL_PAYLOAD_MAX];
};

/* A pair of sockets, both close-on-exec, the first non-blocking (the supervisor's end). */
[[nodiscard]] int control_pair(int ret_fds[2]);

/* Sends one message; the descriptors stay the caller's. -EAGAIN when a non-blocking peer does not read, -EPIPE, ... */
[[nodiscard]] int control_send(int fd, enum control_kind kind, const void *payload, size_t bytes, const int *fds,
                               size_t fd_count);

/* Receives one message: 1, 0 when the other end is closed, -EAGAIN, or -EBADMSG for one that was cut or is unknown
 * (its descriptors are closed). Received descriptors are close-on-exec and the caller's. */
[[nodiscard]] int control_receive(int fd, struct control_message *ret_message);

/* Takes the payload as a struct of exactly `bytes`; NULL when the size is another. */
const void *control_payload(const struct control_message *message, size_t bytes);

void control_close_fds(struct control_message *message);

#endif
