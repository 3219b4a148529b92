#include "daemon/supervisor/pid_file.h"

#include "daemon/base/owned.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PID_TEXT_BYTES = 32 };

/* The process id in the file, 0 when it has none. */
static pid_t read_pid(const char *path)
{
    char text[PID_TEXT_BYTES] = "";
    OWNED_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        return 0;
    long pid = strtol(text, NULL, 10);
    return pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

static int write_pid(const char *path)
{
    char text[PID_TEXT_BYTES];
    OWNED_FD fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return -errno;
    int length = snprintf(text, sizeof text, "%d\n", (int)getpid());
    return write(fd, text, (size_t)length) == length ? 0 : -EIO;
}

int pid_file_create(const char *path, pid_t *ret_other)
{
    char fresh[PATH_MAX];
    pid_t other = read_pid(path);

    if (other != 0 && other != getpid() && (kill(other, 0) == 0 || errno == EPERM)) {
        *ret_other = other;
        return -EEXIST;
    }
    /* Written aside and moved: a reader sees a whole number or none. */
    if (snprintf(fresh, sizeof fresh, "%s.%d", path, (int)getpid()) >= (int)sizeof fresh)
        return -ENAMETOOLONG;
    int r = write_pid(fresh);
    if (r == 0 && rename(fresh, path) < 0)
        r = -errno;
    if (r < 0)
        unlink(fresh);
    return r;
}

void pid_file_absolute(const char *path, char absolute[PATH_MAX])
{
    char directory[PATH_MAX] = "";
    absolute[0] = '\0';
    if (path == NULL || (path[0] != '/' && getcwd(directory, sizeof directory) == NULL))
        return;
    int length = path[0] == '/' ? snprintf(absolute, PATH_MAX, "%s", path)
                                : snprintf(absolute, PATH_MAX, "%s/%s", directory, path);
    if (length >= PATH_MAX)
        absolute[0] = '\0';
}

void pid_file_remove(const char *path)
{
    if (read_pid(path) == getpid())
        unlink(path);
}
