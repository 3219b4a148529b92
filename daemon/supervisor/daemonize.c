#include "daemon/supervisor/daemonize.h"

#include "daemon/base/owned.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/wait.h>

enum { REPORT_FD_MIN = 16 };

/* A daemon that ends without a word has failed. */
_Noreturn static void launcher_main(int report)
{
    uint8_t status = 1;
    ssize_t length;
    do
        length = read(report, &status, 1);
    while (length < 0 && errno == EINTR);
    _exit(length == 1 ? status : 1);
}

/* Twice: the first child leaves the session, the second can never get a terminal again. */
static int leave_session(void)
{
    if (setsid() < 0)
        return -errno;
    pid_t pid = fork();
    if (pid > 0)
        _exit(0);
    return pid < 0 ? -errno : 0;
}

int daemonize_begin(int *ret_report)
{
    int ends[2] = {-1, -1};
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid < 0) {
        int r = -errno;
        close(ends[0]);
        close(ends[1]);
        return r;
    }
    if (pid > 0) {
        close(ends[1]);
        waitpid(pid, NULL, 0);
        launcher_main(ends[0]);
    }
    close(ends[0]);
    /* Inherited sockets have fixed low numbers; the report keeps out of their way. */
    OWNED_FD report = fcntl(ends[1], F_DUPFD_CLOEXEC, REPORT_FD_MIN);
    close(ends[1]);
    int r = report < 0 ? -errno : leave_session();
    if (r == 0)
        *ret_report = fd_take(&report);
    return r;
}

void daemonize_report(int *report, int status)
{
    if (*report < 0)
        return;
    uint8_t octet = (uint8_t)status;
    ssize_t written = write(*report, &octet, 1);
    (void)written;
    fd_drop(report);
}

int daemonize_leave_terminal(void)
{
    OWNED_FD null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return -errno;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (dup2(null, fd) < 0)
            return -errno;
    return 0;
}
