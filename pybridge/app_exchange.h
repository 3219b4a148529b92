/*
 * App exchange: the app process's side of the exchange. Requests come out, responses go in; no Python policy.
 *
 * Owns:    the outbound arena, the mappings of every I/O process's inbound arena, the table of open requests.
 * Threads: THE LOCK is the interpreter lock (a mutex in free-threaded builds): every function here is called with it
 *          held, except app_exchange_sleep(), which is called without it.
 * Life:    created before the application is imported, destroyed when the process ends.
 *
 * How a request passes through:
 *
 *   app_exchange_pump()   takes every message that waits: new requests go to a list, pieces of body and cancellations
 *                         to the request they are for, returned blocks to the pool; hooks tell who cares
 *   app_exchange_next()   claims the oldest request that nobody has recalled
 *   app_request_*()       read the head and the body, write the response
 *   app_request_done()    after it the request is gone
 *
 * How threads wait (worker_sync, worker_gthread, and any thread that needs more body or room for more response): each
 * brings an app_waiter. One of the waiting threads is the leader and sleeps on the doorbell; the others sleep on their
 * own futex and are woken when what they wait for may have come, or to lead.
 *
 *   with the lock     app_exchange_prepare_wait(waiter, for which request or NULL)
 *   without it        app_exchange_sleep(waiter, timeout)
 *   with it           app_exchange_finish_wait(waiter)     (pumps when this thread led; then look again, in a loop)
 *
 * An event loop instead watches app_exchange_fd() and control_fd, calls app_exchange_arm() before it sleeps (false:
 * something is there, do not sleep) and app_exchange_pump() when it wakes; its hooks wake the coroutines.
 */
#ifndef PYBRIDGE_APP_EXCHANGE_H
#define PYBRIDGE_APP_EXCHANGE_H

#include "daemon/exchange/control.h"
#include "proto/http_fields.h"

struct app_exchange;

/* Why nobody wants the response any more. */
enum app_request_fate { APP_REQUEST_ALIVE, APP_REQUEST_CANCELLED };

enum app_body_state {
    APP_BODY_MORE,   /* the piece at hand (perhaps empty) is not the last */
    APP_BODY_ENDED,  /* what is at hand is the rest */
    APP_BODY_BROKEN, /* the client went away, or broke the framing, before the end: reading raises */
};

struct app_request {
    /* The head; read it through app_request_span(), which checks that the span is inside the arena. `record` is in
     * memory that only the I/O process writes and that stands still until app_request_done(). */
    const struct slot_record *record;
    void *user; /* the adapter's own state */
    enum app_body_state body_state;
    enum app_request_fate fate;
    uint32_t ring;
    uint32_t slot;
    uint32_t generation;
    bool client_ended;   /* the client sends nothing more, and perhaps does not read either: on_cancel told so */
    bool head_sent;      /* app_response_start() succeeded */
    bool end_sent;       /* the last piece went out */
    uint32_t blocks_out; /* large blocks of this response that the I/O process still holds */
    uint64_t body_read;  /* octets of body consumed so far */
};

/* Hooks may be NULL. They run inside app_exchange_pump() (so with the lock) and must not call back into it. */
struct app_exchange_hooks {
    void (*on_body)(struct app_request *request, void *context);   /* a piece, the end, or a broken body arrived */
    void (*on_cancel)(struct app_request *request, void *context); /* the client is gone; fate or client_ended say so */
    void (*on_room)(void *context);                                /* blocks or queue places came back */
    void (*on_drain)(void *context); /* DRAIN: take no new requests, exit when none is open */
    void (*on_stop)(void *context);  /* STOP or the supervisor is gone: exit now */
    void *context;
};

/*
 * Reads SETUP from the control socket (blocking), maps the outbound arena, answers nothing yet. Other control messages
 * are handled by app_exchange_pump() and app_exchange_control(). *ret_settings_fd and *ret_log_fd become the caller's.
 */
[[nodiscard]] int app_exchange_create(int control_fd, struct app_exchange **ret_exchange, int *ret_settings_fd,
                                      int *ret_log_fd);
void app_exchange_destroy(struct app_exchange *exchange);
void app_exchange_set_hooks(struct app_exchange *exchange, const struct app_exchange_hooks *hooks);
const struct control_setup *app_exchange_setup(const struct app_exchange *exchange);

/* The error log stands at the descriptor `fd` from now on, and a reopened one takes that place. */
void app_exchange_put_log(struct app_exchange *exchange, int fd);

/* Tells the supervisor that the application is loaded: from now on requests come. `flags`: enum control_ready_flag. */
[[nodiscard]] int app_exchange_ready(struct app_exchange *exchange, uint32_t places, uint32_t flags);

/* One more turn of the event loop (the watchdog looks at it). */
void app_exchange_heartbeat(struct app_exchange *exchange);

/* The eventfd that an I/O process writes to when app_exchange_arm() said that we sleep; read it empty after a wake. */
int app_exchange_fd(const struct app_exchange *exchange);
int app_exchange_control_fd(const struct app_exchange *exchange);

/* Handles what waits on the control socket (never blocks): peers come and go, DRAIN, STOP. */
void app_exchange_control(struct app_exchange *exchange);
bool app_exchange_draining(const struct app_exchange *exchange);
bool app_exchange_stopping(const struct app_exchange *exchange);
uint32_t app_exchange_open_requests(const struct app_exchange *exchange);

/* In a copy of this process, which the application has forked: all that is shared belongs to the one that was copied.
 * Its requests are cancelled here, what is written goes nowhere, and app_exchange_stopping() says so. */
void app_exchange_let_go(struct app_exchange *exchange);
bool app_exchange_is_let_go(const struct app_exchange *exchange);

/* Takes all messages that wait, from all I/O processes in turn. Returns whether there were any. Never blocks. */
bool app_exchange_pump(struct app_exchange *exchange);

/* The next request, claimed; NULL when there is none. It stays open until app_request_done(). */
struct app_request *app_exchange_next(struct app_exchange *exchange);

/* Rings the doorbell of every I/O process that has something new from us and sleeps. Call it before waiting and
 * before running application code for long; pushes do not ring by themselves. */
void app_exchange_flush(struct app_exchange *exchange);

/* Says "we sleep" to every I/O process, then looks once more: false when something is there (and we do not sleep). */
bool app_exchange_arm(struct app_exchange *exchange);
void app_exchange_disarm(struct app_exchange *exchange);

/* ---- waiting, for threads ---- */

struct app_waiter {
    _Atomic uint32_t word;             /* futex: 0 sleeping, 1 woken */
    const struct app_request *request; /* whose body or cancellation it waits for; NULL: for a new request */
    bool wants_room;
    bool leads;
    bool doorbell_rang; /* what woke a leader */
    bool supervisor_spoke;
    struct app_waiter *next, *previous; /* the exchange's list, while waiting */
};

/* What the leader does before it sleeps: `adapts` as in spin_policy.h. Until it is called, nothing. */
void app_exchange_set_spin(struct app_exchange *exchange, bool spins, bool adapts, uint32_t workers);

/* Lists the waiter, perhaps as the leader. false: there is something already, do not sleep (still finish_wait). */
bool app_exchange_prepare_wait(struct app_exchange *exchange, struct app_waiter *waiter,
                               const struct app_request *request, bool wants_room);
/* WITHOUT the lock: sleeps until woken, or for `timeout_ms` at most (-1: no limit). */
void app_exchange_sleep(struct app_exchange *exchange, struct app_waiter *waiter, int timeout_ms);
void app_exchange_finish_wait(struct app_exchange *exchange, struct app_waiter *waiter);

/* ---- one request ---- */

/* The octets of a span of the record; empty when it points outside the arena. */
struct bytes app_request_span(const struct app_exchange *exchange, const struct app_request *request, uint32_t offset,
                              uint32_t length);

/* The piece of body at hand, in shared memory; empty also where the next octets are in a file. Valid until consumed or
 * the request is done. */
struct bytes app_request_body(const struct app_request *request);

/* `octets` of app_request_body() have been copied out: gives the client credit for more. */
void app_request_consume(struct app_exchange *exchange, struct app_request *request, size_t octets);

/* The octets of body that have arrived and were not taken. */
uint64_t app_request_at_hand(const struct app_request *request);

/* A part of the body that waits in a file of the I/O process. */
struct app_body_part {
    struct ring_memory *memory; /* keeps the descriptor */
    uint64_t offset;
    size_t length;
};

/* Takes up to `most` octets, where the next ones are in a file: app_request_body() is empty then. false: they are not.
 * Every part that was taken must be given back. */
[[nodiscard]] bool app_request_take_part(struct app_exchange *exchange, struct app_request *request, size_t most,
                                         struct app_body_part *ret_part);

/* Reads the octets. Needs no lock: a disk may have to be waited for. -EIO: they are not there. */
[[nodiscard]] int app_body_part_read(const struct app_body_part *part, uint8_t *memory);

/* `result` of the reading; what could not be read breaks the body. `request` NULL: it is done meanwhile. */
void app_request_give_part_back(struct app_exchange *exchange, struct app_request *request,
                                const struct app_body_part *part, int result);

/* The application wants to read a body that has not arrived: the I/O process sends 100 Continue if it is due.
 * Idempotent. */
void app_request_want_body(struct app_exchange *exchange, struct app_request *request);

/*
 * A response under way. Get one, append fields, perhaps body, then start it. Nothing is visible to the I/O process
 * before app_response_start() or app_response_interim(); app_response_drop() throws it away.
 */
struct app_response {
    struct app_request *request;
    uint8_t *memory; /* of the block */
    uint32_t block;
    uint32_t capacity;
    size_t head_length;
};

/* -ENOBUFS: no block is free now, wait for room. */
[[nodiscard]] int app_response_begin(struct app_exchange *exchange, struct app_request *request,
                                     struct app_response *ret_response);
/* Moves to a large block when the small one is full; -EMSGSIZE when 64 KiB do not suffice, -ENOBUFS as above.
 * The name and value must have been checked (token; no CR, LF, NUL). */
[[nodiscard]] int app_response_field(struct app_exchange *exchange, struct app_response *response, struct bytes name,
                                     struct bytes value);
void app_response_drop(struct app_exchange *exchange, struct app_response *response);

/*
 * Sends the head, and with it as much of `body` as fits behind it in the block: *ret_taken octets, all of it for a
 * small response. `content_length` is what the application stated, or the bridge knows, or -1. `end`: the body ends
 * with `body`, which only holds when all of it was taken; then the message carries END. -EAGAIN: the queue is full,
 * wait for room and call again with the same arguments.
 */
[[nodiscard]] int app_response_start(struct app_exchange *exchange, struct app_response *response, uint16_t status,
                                     int64_t content_length, struct bytes body, bool end, size_t *ret_taken);

/* A 1xx head of its own (103); the block is gone after success. */
[[nodiscard]] int app_response_interim(struct app_exchange *exchange, struct app_response *response, uint16_t status);

/*
 * Sends as much of `body` as there is credit for: *ret_taken octets, in blocks of at most 64 KiB and at most
 * APP_RESPONSE_WINDOW octets not yet taken by the client. With `end` the last taken octet ends the body (an empty
 * body with `end` ends it too). -EAGAIN: nothing could be taken, wait for room. -EPIPE: cancelled.
 */
enum { APP_RESPONSE_WINDOW = 524'288 };
[[nodiscard]] int app_response_body(struct app_exchange *exchange, struct app_request *request, struct bytes body,
                                    bool end, size_t *ret_taken);

/* A part of a regular file. */
struct app_file {
    int fd; /* the caller's */
    uint64_t offset;
    uint64_t length; /* not 0 */
};

/*
 * The body goes on with a part of a file, which the I/O process reads and sends as fast as the client takes it; the
 * descriptor is duplicated, and the octets count as sent. With `head` the response begins with it; NULL: it has begun.
 * What is said behind it follows it. -EAGAIN, -EPIPE as app_response_body(); any other error: the file cannot be
 * handed over, nothing was sent, and the application's side has to read it.
 */
[[nodiscard]] int app_response_file(struct app_exchange *exchange, struct app_request *request,
                                    struct app_response *head, uint16_t status, int64_t content_length,
                                    const struct app_file *file, bool end);

/* Whether this client can be sent trailers at all; where not, the I/O process leaves them out. */
static inline bool app_request_takes_trailers(const struct app_request *request)
{
    const struct slot_record *record = request->record;
    return record->version == SLOT_HTTP_2 ||
           (record->version == SLOT_HTTP_1_1 && (record->flags & SLOT_TE_TRAILERS) != 0);
}

/* Sends the fields of `response` behind the last octet of body, and ends the response with them; the block is gone
 * after success. Their names must have been checked (response_trailer_check). -EAGAIN, -EPIPE as app_response_body().
 */
[[nodiscard]] int app_response_trailers(struct app_exchange *exchange, struct app_response *response);

/* Ends a response that can not be finished properly: the client sees it cut (no head sent: a plain 500). */
[[nodiscard]] int app_response_fail(struct app_exchange *exchange, struct app_request *request);

/* The application is done with the request: everything of it is released. Always succeeds (kept for later when the
 * queue is full). A request whose response has not ended is failed by it. `request` is invalid afterwards. */
void app_request_done(struct app_exchange *exchange, struct app_request *request);

#endif
