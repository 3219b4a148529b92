/*
 * File copy: what a file held at one moment, in sealed memory.
 *
 * A certificate or a key is copied when it is read, not kept open: a file that is overwritten in place would change
 * under those who were given it, and an I/O process that is started again later must get what the others have. The
 * octets go from file to memory in the kernel; the supervisor never has a key in its own memory.
 *
 * Owns:    the memory's descriptor and the path.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_FILE_COPY_H
#define DAEMON_SUPERVISOR_FILE_COPY_H

#include <stdbool.h>
#include <sys/stat.h>

enum { FILE_COPY_BYTES_MAX = 1 << 20 };

struct file_copy {
    char *path; /* NULL: no file */
    int fd;
    struct stat status; /* as it was before it was read */
};

#define FILE_COPY_NONE ((struct file_copy){.fd = -1})

/* -errno of whoever failed; -EFBIG for what is too long, -EISDIR for a directory, -ENODATA for an empty file. */
[[nodiscard]] int file_copy_take(const char *path, struct file_copy *ret_copy);
void file_copy_deinit(struct file_copy *copy);

/* Whether the path still leads to the file that was copied, and nobody has written to it since. No file never changes.
 */
bool file_copy_is_current(const struct file_copy *copy);

#endif
