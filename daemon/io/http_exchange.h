/*
 * HTTP exchange: one request and its response, between the session that speaks with the client and the dispatcher that
 * speaks with an app process. It outlives either: a client may go while the application still works (the slot counts
 * until the application is done with it), and an application may be done while its response is still being sent.
 *
 * Owns:    its slot, the received octets of its head and body, replies that came before their turn.
 * Threads: the loop.
 * Life:    created by a session with the head, freed when the session has let go (dispatch_let_go()) and no app
 *          process holds the slot.
 *
 *   BUFFERING --> WAITING --> QUEUED ------------> DONE      at the app; begun or not is in the slot's claim word
 *       |            |  ^       | recalled, or app died unbegun
 *       |            |  +-------+
 *       +------------+---------------------------> DONE      answered by the session, or nobody wants it any more
 *       +------------> OURS ---------------------> DONE      answered by the dispatcher: metrics_path
 */
#ifndef DAEMON_IO_HTTP_EXCHANGE_H
#define DAEMON_IO_HTTP_EXCHANGE_H

#include "daemon/io/io_core.h"
#include "daemon/io/reply.h"

enum exchange_state {
    EXCHANGE_BUFFERING, /* the session holds it back: body not complete, or not its turn */
    EXCHANGE_WAITING,   /* in the dispatcher's queue: no app process had room */
    EXCHANGE_QUEUED,    /* published to an app process */
    EXCHANGE_OURS,      /* the dispatcher answers it by itself, at the end of the turn */
    EXCHANGE_DONE,      /* no app process holds it */
};

/* A run of request body in the inbound arena, or with a `run` that is not empty in the file. */
struct body_piece {
    struct loan loan;
    uint32_t offset;
    uint32_t length; /* not consumed */
    struct spool_run run;
    struct body_piece *next;
};

static inline bool body_piece_is_in_file(const struct body_piece *piece)
{
    return piece->run.blocks > 0;
}

struct http_exchange;

/* How many exchanges of one session are alive. It outlives the session while an application still works on one: what a
 * client has called off counts until it is really over. */
struct exchange_tally {
    uint32_t exchanges;
    bool forgotten; /* the session is gone: freed with the last exchange */
};

/* How the dispatcher speaks to whoever made the exchange. Never called after it has let go. */
struct http_exchange_owner {
    /* Takes the reply's blocks: gives each back, or lends it to an output queue. */
    void (*on_reply)(struct http_exchange *exchange, struct reply *reply);
    /* The application took octets of the body, or wants some (0). */
    void (*on_credit)(struct http_exchange *exchange, uint32_t octets);
    /* No response will come; `status` is what a client should be told if it was told nothing yet. */
    void (*on_failure)(struct http_exchange *exchange, uint16_t status, enum close_reason reason);
    /* Octets of the response that the client has not taken yet; UINT64_MAX: more is of no use now. */
    uint64_t (*queued)(const struct http_exchange *exchange);
    /* Whether parts of files may come as references now. NULL: never. */
    bool (*sends_files)(const struct http_exchange *exchange);
    uint32_t file_read_bytes; /* of a file that is read: at most so much at once */
};

struct http_exchange {
    const struct http_exchange_owner *owner; /* NULL: let go */
    void *session;
    struct exchange_tally *tally;                    /* NULL: nobody counts */
    struct http_exchange *next;                      /* in the session, in order of requests */
    struct http_exchange *wait_next, *wait_previous; /* in its lane of the dispatcher's queue, or at an app */
    struct dispatch_lane *lane;                      /* its client's, part of the session */
    enum exchange_state state;
    uint32_t slot;
    uint32_t generation;
    uint32_t app; /* EXCHANGE_QUEUED: index of the link */
    int32_t app_pid;
    struct slot_record *record;
    struct loan head_loan;
    struct loan tls_loan;
    bool redispatched;   /* once: a poison request must not kill the whole set */
    bool touched;        /* the app where it is has spoken of it: whatever its claim word says, no other app gets it */
    bool wants_continue; /* 100 Continue is due when the application reads */
    bool is_safe;        /* GET, HEAD, OPTIONS or TRACE without body: may run beside others of its connection */
    bool is_head;
    bool keep_alive;
    bool is_http_1_0;
    bool te_trailers;

    /* Request body: pieces first..last are received; those before `unsent` are with the app, not consumed yet. */
    struct body_piece *first, *last, *unsent;
    uint64_t unconsumed_bytes;
    uint32_t piece_count;
    uint64_t body_bytes;       /* received, decoded */
    uint64_t spooled_bytes;    /* of these went to the file */
    bool body_ended;           /* all received */
    bool body_failed;          /* it will never end */
    bool end_sent;             /* the app knows */
    bool is_early;             /* began before its body was complete (early_start.h) ... */
    uint64_t starved_since_ms; /* ... and waits for its client since then; 0: it does not */
    uint64_t starved_ms;       /* ... and waited so long before */
    uint32_t promised_ms;      /* that its body would take, when it began */
    bool retry;                /* something could not be pushed, the queue to the app was full */
    bool cancel_due;
    bool client_ended;     /* the client's half of the connection is closed */
    bool ended_due;        /* the app does not know that yet */
    struct loan tail_loan; /* the staging block that small pieces are gathered in */
    uint32_t tail_used, tail_capacity;
    uint8_t *tail_memory;

    /* Response, kept by the session. */
    uint16_t local_status;                /* an answer of our own instead of the application's; 0: none */
    uint8_t close_reason;                 /* enum close_reason, for the log when it ends the connection */
    struct reply *replies, *replies_last; /* came before their turn */
    uint32_t reply_count;                 /* how many ever did, and were left where they are; ... */
    uint64_t detached_bytes;              /* ... of the others what they took, ever */
    struct file_source *file;             /* the part of it that is being sent; NULL: none is */
    bool reply_due;                       /* it is this exchange's turn */
    bool head_sent;
    bool response_ended;
    bool response_received; /* its end has come, perhaps before its turn */
    bool broken;            /* what was sent is not the whole response */
    bool floods;            /* the application sends without bounds: what is queued is not worth its memory */
    bool chunked;
    bool no_body;
    uint16_t status;
    int64_t body_left; /* of a response with a stated length; -1: not stated */
    uint64_t response_bytes;
    struct http_field *logged_fields; /* of the response, for a log format that asks for them */
    uint32_t logged_field_count;

    /* Time. */
    struct timer_entry timer;
    uint64_t started_us;
    uint64_t dispatched_ms;
    uint64_t published_ms;  /* when it came to the app where it is now */
    uint64_t begun_seen_ms; /* when we first saw that the app had begun it, or last got output; 0: not yet */
    bool timed_out;
};

/* A new exchange with a claimed slot, in state BUFFERING; NULL when no slot or memory is free. */
struct http_exchange *http_exchange_create(struct io_core *core, uint32_t slot);

/* Appends received octets. Holds the loan, or copies small pieces so that a client that sends single octets does not
 * pin a buffer for each. -ENOBUFS: no staging block is free. */
[[nodiscard]] int http_exchange_body_append(struct io_core *core, struct http_exchange *exchange, struct loan loan,
                                            const uint8_t *data, uint32_t length);

/* Whether octets that come now would find their place. Of a body that is held back there is no use in waiting for one:
 * what it waits for may be held by others that wait as well. An application that reads makes room. */
bool http_exchange_body_has_place(const struct io_core *core, const struct http_exchange *exchange, uint32_t length);

/* Appends received octets that are written to the file. What spool_append() says; then a part may have been appended,
 * and the body is of no use. */
[[nodiscard]] int http_exchange_body_spool(struct io_core *core, struct http_exchange *exchange, struct bytes data);

/* The app consumed `octets`: drops the pieces, those in the file when all of them is consumed. Returns what it really
 * was (never more than was sent). */
uint32_t http_exchange_body_consumed(struct io_core *core, struct http_exchange *exchange, uint32_t octets);

/* Everything goes back; the dispatcher has released the slot already. */
void http_exchange_destroy(struct io_core *core, struct http_exchange *exchange);

/* NULL without memory. */
struct exchange_tally *exchange_tally_create(void);

/* The exchange counts from now on until it is destroyed. */
void exchange_tally_join(struct exchange_tally *tally, struct http_exchange *exchange);

/* Nobody asks any more. */
void exchange_tally_forget(struct exchange_tally *tally);

#endif
