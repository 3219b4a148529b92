#include "daemon/supervisor/service_manager.h"

#include "daemon/base/owned.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NOTIFY_TEXT_BYTES = 512 };

static bool number_in_environment(const char *name, uint64_t max, uint64_t *ret_number)
{
    const char *text = getenv(name);
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*end != '\0' || errno != 0 || number > max)
        return false;
    *ret_number = number;
    return true;
}

/* A path, or an abstract name that is written with '@' (sd_notify(3)). */
static void find_notify_socket(struct service_manager *manager)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un *address = &manager->address;

    if (path == NULL || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address->sun_path)
        return;
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, strlen(path) + 1);
    if (path[0] == '@')
        address->sun_path[0] = '\0';
    manager->address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    manager->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Twice as often as asked for, as sd_watchdog_enabled(3) recommends. */
static void find_watchdog(struct service_manager *manager)
{
    uint64_t interval_us, pid;
    if (!number_in_environment("WATCHDOG_USEC", UINT64_MAX / 2, &interval_us))
        return;
    if (number_in_environment("WATCHDOG_PID", UINT64_MAX, &pid) && pid != (uint64_t)getpid())
        return;
    manager->watchdog_ms = interval_us / 2'000 > 0 ? interval_us / 2'000 : 1;
}

static void find_listeners(struct service_manager *manager)
{
    uint64_t pid, count;
    if (!number_in_environment("LISTEN_PID", UINT64_MAX, &pid) || pid != (uint64_t)getpid())
        return;
    if (number_in_environment("LISTEN_FDS", SERVICE_MANAGER_FDS_MAX, &count))
        manager->listen_count = (int)count;
    const char *names = getenv("LISTEN_FDNAMES");
    if (names != NULL && manager->listen_count > 0)
        manager->listen_names = strdup(names);
    for (int i = 0; i < manager->listen_count; i++)
        fcntl(SERVICE_MANAGER_FIRST_FD + i, F_SETFD, FD_CLOEXEC);
}

void service_manager_adopt_sockets(struct service_manager *manager, int count, const char *names)
{
    free(manager->listen_names);
    manager->listen_names = names[0] != '\0' ? strdup(names) : NULL;
    manager->listen_count = count;
}

void service_manager_close_sockets(struct service_manager *manager)
{
    while (manager->listen_count > 0)
        close(SERVICE_MANAGER_FIRST_FD + --manager->listen_count);
}

void service_manager_unexport(void)
{
    static const char *const variables[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                            "LISTEN_PID",    "LISTEN_FDS",    "LISTEN_FDNAMES"};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        unsetenv(variables[i]);
}

void service_manager_export(const struct service_manager *manager)
{
    char text[sizeof manager->address.sun_path + 1] = "";

    if (manager->notify >= 0) {
        size_t length = manager->address_bytes - offsetof(struct sockaddr_un, sun_path);
        memcpy(text, manager->address.sun_path, length);
        if (text[0] == '\0')
            text[0] = '@';
        setenv("NOTIFY_SOCKET", text, 1);
    }
    if (manager->watchdog_ms > 0) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)manager->watchdog_ms * 2'000);
        setenv("WATCHDOG_USEC", text, 1);
    }
}

void service_manager_init(struct service_manager *ret_manager)
{
    struct service_manager manager = {.notify = -1};

    find_notify_socket(&manager);
    find_watchdog(&manager);
    find_listeners(&manager);
    service_manager_unexport();
    *ret_manager = manager;
}

void service_manager_deinit(struct service_manager *manager)
{
    fd_drop(&manager->notify);
    free(manager->listen_names);
    manager->listen_names = NULL;
}

/* A notification that finds no room is lost: the service manager's slowness is not ours to wait for. */
static void notify(const struct service_manager *manager, const char *text)
{
    if (manager->notify < 0)
        return;
    ssize_t sent = sendto(manager->notify, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&manager->address,
                          manager->address_bytes);
    (void)sent;
}

void service_manager_ready(struct service_manager *manager, const char *status)
{
    char text[NOTIFY_TEXT_BYTES];
    snprintf(text, sizeof text, "READY=1\nSTATUS=%.400s\nMAINPID=%d", status, (int)getpid());
    notify(manager, text);
}

void service_manager_reloading(struct service_manager *manager)
{
    char text[NOTIFY_TEXT_BYTES];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    /* Type=notify-reload wants to know when it began, to tell this reload's READY from an older one. */
    unsigned long long now_us = (unsigned long long)now.tv_sec * 1'000'000 + (unsigned long long)now.tv_nsec / 1'000;
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reloading", now_us);
    notify(manager, text);
}

void service_manager_status(struct service_manager *manager, const char *status)
{
    char text[NOTIFY_TEXT_BYTES];
    snprintf(text, sizeof text, "STATUS=%.400s", status);
    notify(manager, text);
}

void service_manager_stopping(struct service_manager *manager, const char *status)
{
    char text[NOTIFY_TEXT_BYTES];
    snprintf(text, sizeof text, "STOPPING=1\nSTATUS=%.400s", status);
    notify(manager, text);
}

void service_manager_alive(struct service_manager *manager)
{
    notify(manager, "WATCHDOG=1");
}

void service_manager_extend(struct service_manager *manager, uint64_t by_ms)
{
    char text[NOTIFY_TEXT_BYTES];
    snprintf(text, sizeof text, "EXTEND_TIMEOUT_USEC=%llu", (unsigned long long)by_ms * 1'000);
    notify(manager, text);
}
