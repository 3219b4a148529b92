/*
 * Message: the 64-byte entry of the queues between an I/O process and an app process.
 *
 * It is a wire format: all processes of one server are of one build (EXCHANGE_VERSION is checked at the hand-shake),
 * yet each side treats the other as untrusted. A message is copied out of the queue before it is looked at, so that
 * what was checked is what is used.
 *
 *   I/O to app   REQUEST   a slot's record is complete: begin it (claim word first), body piece along
 *                BODY      more octets of the request's body
 *                CANCEL    nobody waits for this response any more
 *                BLOCKS    outbound blocks given back
 *   app to I/O   RESPONSE  status and fields, body piece along
 *                BODY      more octets of the response's body
 *                INTERIM   a 1xx head (103 Early Hints)
 *                CONSUMED  the application has read octets of the request's body (0: it wants to read, send 100)
 *                DONE      the application is done with the slot; after this neither side names this generation again
 *
 * A REQUEST or BODY to an app with FILE has its piece in the file of the I/O process (daemon/io/spool.h) and not in its
 * arena: body_offset counts blocks of MESSAGE_FILE_BLOCK_BYTES. A descriptor for reading that file went ahead, once, on
 * the channel of file_handover.h. Such a piece stays in place until the slot is done, or all of it was CONSUMED.
 *
 * A RESPONSE or BODY with FILE to an I/O process has no piece: the body goes on with octets of a file, whose descriptor
 * went ahead on a channel of its own (file_handover.h). What is said behind it waits until they are sent.
 *
 * A flag END closes the direction of its message; DONE as a flag on RESPONSE or BODY saves a message of its own, so a
 * small complete exchange is one message each way.
 *
 * Trailers of a response are its last message: BODY with TRAILERS and END, and for a piece the field block of them
 * (field_block.h) instead of body. They follow a RESPONSE, never an END; names may be in any case, and are none that
 * RFC 9110 6.5.1 forbids. Where the client cannot be sent trailers (HTTP/1.0, HTTP/1.1 without `TE: trailers`, a
 * response that is not chunked) the I/O process leaves them out, and the message is an END like any other.
 */
#ifndef DAEMON_EXCHANGE_MESSAGE_H
#define DAEMON_EXCHANGE_MESSAGE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum { EXCHANGE_VERSION = 6 };

enum message_kind {
    MESSAGE_NONE,
    MESSAGE_REQUEST,
    MESSAGE_BODY,
    MESSAGE_CANCEL,
    MESSAGE_BLOCKS,
    MESSAGE_RESPONSE,
    MESSAGE_INTERIM,
    MESSAGE_CONSUMED,
    MESSAGE_DONE,
    MESSAGE_KINDS
};

enum message_flag {
    MESSAGE_END = 1,       /* the body ends with this message (a body of no octets too) */
    MESSAGE_WAS_DONE = 2,  /* the sender is done with the slot */
    MESSAGE_FAILED = 4,    /* app to I/O with END: the response is cut short, the client must see it broken;
                              I/O to app with END: the request body was cut short, reading it raises */
    MESSAGE_TRAILERS = 8,  /* app to I/O, BODY with END: the piece is the field block of the trailers, not body */
    MESSAGE_BUFFERED = 16, /* I/O to app: the whole body follows at once; the client is not waited for */
    MESSAGE_FILE = 32,     /* app to I/O, RESPONSE or BODY: octets of a file take the place of the piece;
                              I/O to app, REQUEST or BODY: the piece is in the I/O process's file */
};

enum { MESSAGE_BLOCKS_MAX = 12, MESSAGE_NO_BLOCK = 0xffffffff, MESSAGE_FILE_BLOCK_BYTES = 65'536 };

struct message {
    uint8_t kind;
    uint8_t flags;
    uint16_t status; /* RESPONSE, INTERIM: status; CANCEL: enum message_cancel */
    uint32_t slot;
    uint32_t generation; /* of the slot */
    uint32_t count;      /* BLOCKS: how many ids; CONSUMED: octets */
    union {
        struct {
            /* The piece of body, in the sender's arena. */
            uint32_t body_offset;
            uint32_t body_length;
            uint32_t body_block; /* app to I/O: the block that holds it, or MESSAGE_NO_BLOCK */
            /* RESPONSE, INTERIM: the field block (slot.h: field_block_*) */
            uint32_t head_offset;
            uint32_t head_length;
            uint32_t head_block; /* may equal body_block: then it is one loan */
            uint32_t reserved;
            int64_t content_length; /* RESPONSE: what the application or bridge knows, or -1 */
        };
        uint32_t blocks[MESSAGE_BLOCKS_MAX];
    };
};
static_assert(sizeof(struct message) == 64, "one entry is one cache line");
static_assert(offsetof(struct message, body_offset) == 16, "pinned: it crosses between processes");

/* ENDED calls nothing off: the client has closed its sending half, and may or may not still read (RFC 9112 9.6). Who
 * waits for its end hears of it; a response still goes out. */
enum message_cancel { MESSAGE_CANCEL_GONE = 1, MESSAGE_CANCEL_TIMEOUT = 2, MESSAGE_CANCEL_ENDED = 3 };

#endif
