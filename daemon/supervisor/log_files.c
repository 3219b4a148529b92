#include "daemon/supervisor/log_files.h"

#include "daemon/base/log.h"
#include "daemon/base/owned.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static bool is_stream(const char *path)
{
    return strcmp(path, "-") == 0;
}

/* Above the numbers that children are born with. */
static int duplicate(int stream)
{
    int fd = fcntl(stream, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return fd < 0 ? -errno : fd;
}

/* `stream` stands for "-". The descriptor, or negative errno with the reason. */
static int open_log(const char *name, const char *path, int stream, char *why)
{
    int fd =
        is_stream(path) ? duplicate(stream) : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    int r = fd >= 0 ? fd : (is_stream(path) ? fd : -errno);
    if (r < 0)
        snprintf(why, LOG_FILES_WHY_BYTES, "cannot open %s = %.300s: %s", name, path, strerror(-r));
    return r;
}

int log_files_open(struct log_files *ret_files, const struct settings *settings, char why[LOG_FILES_WHY_BYTES])
{
    OWNED_FD error = open_log("errorlog", settings->errorlog != NULL ? settings->errorlog : "-", STDERR_FILENO, why);
    if (error < 0)
        return error;
    OWNED_FD access = -1;
    if (settings->accesslog != NULL) {
        access = open_log("accesslog", settings->accesslog, STDOUT_FILENO, why);
        if (access < 0)
            return access;
    }
    *ret_files = (struct log_files){.error = fd_take(&error), .access = fd_take(&access)};
    return 0;
}

void log_files_deinit(struct log_files *files)
{
    fd_drop(&files->error);
    fd_drop(&files->access);
}

int log_files_reopen(struct log_files *files, const struct settings *settings, char why[LOG_FILES_WHY_BYTES])
{
    struct log_files fresh = {.error = -1, .access = -1};
    int r = log_files_open(&fresh, settings, why);
    if (r < 0)
        return r;
    /* An access log that a reload turns off goes nowhere: whoever writes it has no other way to hear of it. */
    if (fresh.access < 0 && files->access >= 0)
        fresh.access = open("/dev/null", O_WRONLY | O_CLOEXEC);
    log_set_fd(fresh.error);
    log_files_deinit(files);
    *files = fresh;
    return 0;
}
