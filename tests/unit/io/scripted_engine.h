/*
 * Scripted engine: stands behind the interface of daemon/io/ring.h in place of io_uring, and does what a test says.
 *
 * It defines every function of ring.h, so a program that has it links no io_uring. Sockets are numbers that no
 * descriptor has; what a client sends, takes, refuses or breaks is written down with the functions below and happens
 * at the next ring_wait().
 */
#ifndef TESTS_UNIT_IO_SCRIPTED_ENGINE_H
#define TESTS_UNIT_IO_SCRIPTED_ENGINE_H

#include "daemon/io/ring.h"
#include "proto/bytes.h"

enum { SCRIPTED_FD_FIRST = 1 << 20, SCRIPTED_SOCKETS_MAX = 256 };

struct scripted_operation {
    bool armed;
    bool cancelled;
    ring_token token;
};

struct scripted_socket {
    bool used;
    bool closed;
    bool shut; /* our side said that nothing more comes */
    bool eof;  /* the client's side did, behind `input` */
    bool send_stalled;
    bool cancels_late; /* octets that are there still come before the receive ends */
    int receive_error; /* negative errno, once */
    int send_error;    /* negative errno, once */
    size_t send_max;   /* octets that one send takes; 0: all */
    size_t receive_max;
    uint32_t group;
    uint32_t receives; /* how often one was armed */
    struct scripted_operation receive, send, poll, writable, close;
    uint32_t file_sends;       /* parts of files that were sent by themselves */
    size_t corked_bytes;       /* of sends that said that more follows */
    const struct iovec *parts; /* of the send */
    struct iovec plain;
    size_t part_count;
    uint8_t *input;
    size_t input_bytes;
    uint8_t *output; /* all that was ever taken */
    size_t output_bytes;
};

/* A socket that a client has just opened. */
int scripted_socket(struct ring *ring);
struct scripted_socket *scripted_at(struct ring *ring, int fd);

void scripted_client_sends(struct ring *ring, int fd, struct bytes data);
void scripted_client_ends(struct ring *ring, int fd);

/* An event of no operation that the engine knows. */
void scripted_event(struct ring *ring, const struct ring_event *event);

/* Files can be sent by themselves; so many octets of each are in the page cache wherever one looks (0: a read comes
 * first). Without this nobody can tell. */
void scripted_files_at_hand(struct ring *ring, size_t bytes);

/* Reads of files take at most so many octets (0: all that is there), or wait until they are let go. */
void scripted_read_max(struct ring *ring, size_t bytes);
void scripted_hold_reads(struct ring *ring, bool hold);
/* Reads that wait. */
uint32_t scripted_reads_held(const struct ring *ring);

/* Free buffers of a group, as the kernel would count them. */
uint32_t scripted_buffers_free(const struct ring *ring, uint16_t group);

/* The kernel filled the next free buffer of a group for somebody that the script does not know. */
void scripted_buffer_taken(struct ring *ring, uint16_t group);

/* The one that was added last and is not taken yet. */
uint16_t scripted_buffer_last(const struct ring *ring, uint16_t group);

/* Sockets on which anything is armed. */
uint32_t scripted_armed(const struct ring *ring);
/* Polls that stay armed were submitted so many times. */
uint32_t scripted_polls(const struct ring *ring);
uint32_t scripted_accepts(const struct ring *ring);

#endif
