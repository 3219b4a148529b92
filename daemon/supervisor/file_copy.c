#include "daemon/supervisor/file_copy.h"

#include "daemon/base/owned.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

static int check(const struct stat *status)
{
    if (S_ISDIR(status->st_mode))
        return -EISDIR;
    if (status->st_size > FILE_COPY_BYTES_MAX)
        return -EFBIG;
    return status->st_size == 0 && S_ISREG(status->st_mode) ? -ENODATA : 0;
}

/* What a pipe or a file in /proc has to say is found out by reading it. */
static int fill(int memory, int file)
{
    size_t total = 0;
    for (;;) {
        ssize_t moved = sendfile(memory, file, NULL, FILE_COPY_BYTES_MAX + 1 - total);
        if (moved < 0 && errno == EINTR)
            continue;
        if (moved < 0)
            return -errno;
        total += (size_t)moved;
        if (total > FILE_COPY_BYTES_MAX)
            return -EFBIG;
        if (moved == 0)
            return total > 0 ? 0 : -ENODATA;
    }
}

static int seal(int memory)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
    return fcntl(memory, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

int file_copy_take(const char *path, struct file_copy *ret_copy)
{
    struct stat status;
    OWNED_FD file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0 || fstat(file, &status) < 0)
        return -errno;
    int r = check(&status);
    if (r < 0)
        return r;
    OWNED_FD memory = memfd_create("uroboros-file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0)
        return -errno;
    r = fill(memory, file);
    if (r == 0)
        r = seal(memory);
    if (r < 0)
        return r;
    char *copy = strdup(path);
    if (copy == NULL)
        return -ENOMEM;
    *ret_copy = (struct file_copy){.path = copy, .fd = fd_take(&memory), .status = status};
    return 0;
}

void file_copy_deinit(struct file_copy *copy)
{
    if (copy->path == NULL)
        return;
    free(copy->path);
    close(copy->fd);
    *copy = FILE_COPY_NONE;
}

bool file_copy_is_current(const struct file_copy *copy)
{
    const struct stat *then = &copy->status;
    struct stat now;

    if (copy->path == NULL)
        return true;
    if (stat(copy->path, &now) < 0)
        return false;
    return now.st_dev == then->st_dev && now.st_ino == then->st_ino && now.st_size == then->st_size &&
           now.st_ctim.tv_sec == then->st_ctim.tv_sec && now.st_ctim.tv_nsec == then->st_ctim.tv_nsec;
}
