/*
 * File handover: the channel on which an app process hands files to an I/O process, beside the queue of replies.
 *
 * One datagram for each message with MESSAGE_FILE, in the order of those, and sent before: whoever takes the message
 * finds the file. It says for which slot and generation, for each side treats the other as untrusted.
 *
 * In the other direction goes one datagram, all zeros: the file of request bodies (daemon/io/spool.h), for reading.
 *
 * Owns:    nothing; an end of the channel belongs to whoever got it at the pairing.
 * Threads: the app side under its lock; the loop of the I/O process.
 */
#ifndef DAEMON_EXCHANGE_FILE_HANDOVER_H
#define DAEMON_EXCHANGE_FILE_HANDOVER_H

#include <assert.h>
#include <stdint.h>

struct file_handover {
    uint32_t slot;
    uint32_t generation;
    uint64_t offset; /* of the octets to be sent */
    uint64_t length;
};
static_assert(sizeof(struct file_handover) == 24, "pinned: it crosses between processes");

/* Two ends, close-on-exec; neither ever blocks. */
[[nodiscard]] int file_handover_pair(int ret_fds[2]);

/* The descriptor is duplicated. -EAGAIN: the other end has too many to take; or what the kernel says of descriptors in
 * flight. */
[[nodiscard]] int file_handover_send(int channel, const struct file_handover *handover, int fd);

/* The next one; *ret_fd becomes the caller's. -EBADMSG: it is none, -EMFILE: there was no room for its descriptor. */
[[nodiscard]] int file_handover_receive(int channel, struct file_handover *ret_handover, int *ret_fd);

#endif
