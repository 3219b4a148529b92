#include "daemon/supervisor/handover.h"

#include "daemon/base/owned.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { HANDOVER_MAGIC = 0x55'52'48'4f, FD_TEXT_BYTES = 16 };

/* The underscore: it is no setting, which UROBOROS_* would be. */
static const char variable[] = "_UROBOROS_HANDOVER";

struct handover *handover_create(void)
{
    struct handover *handover = calloc(1, sizeof *handover);
    if (handover == NULL)
        return NULL;
    handover->magic = HANDOVER_MAGIC;
    handover->version = HANDOVER_VERSION;
    handover->bytes = sizeof *handover;
    return handover;
}

void handover_destroy(struct handover *handover)
{
    if (handover != NULL)
        explicit_bzero(handover, sizeof *handover);
    free(handover);
}

static void set_inherited(int fd, bool inherited)
{
    if (fd >= 0)
        fcntl(fd, F_SETFD, inherited ? 0 : FD_CLOEXEC);
}

void handover_set_inherited(const struct handover *handover, bool inherited)
{
    for (uint32_t i = 0; i < handover->listener_count; i++)
        for (uint32_t ring = 0; ring < handover->listeners[i].fd_count; ring++)
            set_inherited(handover->listeners[i].fds[ring], inherited);
    for (uint32_t i = 0; i < handover->child_count; i++) {
        const struct handover_child *child = &handover->children[i];
        set_inherited(child->control, inherited);
        set_inherited(child->output[0], inherited);
        set_inherited(child->output[1], inherited);
    }
}

int handover_publish(const struct handover *handover, int *ret_fd)
{
    char text[FD_TEXT_BYTES];
    OWNED_FD fd = memfd_create("uroboros-handover", 0);
    if (fd < 0)
        return -errno;
    ssize_t written = pwrite(fd, handover, sizeof *handover, 0);
    if (written != (ssize_t)sizeof *handover)
        return written < 0 ? -errno : -EIO;
    snprintf(text, sizeof text, "%d", fd);
    if (setenv(variable, text, 1) < 0)
        return -errno;
    *ret_fd = fd_take(&fd);
    return 0;
}

void handover_unpublish(int fd)
{
    unsetenv(variable);
    close(fd);
}

static bool is_sound(const struct handover *handover)
{
    if (handover->magic != HANDOVER_MAGIC || handover->version != HANDOVER_VERSION ||
        handover->bytes != sizeof *handover)
        return false;
    if (handover->listener_count > LISTENERS_MAX || handover->child_count > HANDOVER_CHILDREN_MAX ||
        handover->activated_count > handover->listener_count || handover->rings > LAYOUT_RINGS_MAX)
        return false;
    for (uint32_t i = 0; i < handover->listener_count; i++)
        if (handover->listeners[i].fd_count > LAYOUT_RINGS_MAX)
            return false;
    return true;
}

static int load(int fd, struct handover *handover)
{
    ssize_t length = pread(fd, handover, sizeof *handover, 0);
    if (length < 0)
        return -errno;
    return length == (ssize_t)sizeof *handover && is_sound(handover) ? 0 : -EPROTO;
}

int handover_take(struct handover **ret_handover)
{
    const char *text = getenv(variable);
    *ret_handover = NULL;
    if (text == NULL)
        return 0;
    /* An execve() makes a process dumpable again, and there are keys in the file. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    OWNED_FD fd = (int)strtol(text, NULL, 10);
    unsetenv(variable);
    struct handover *handover = handover_create();
    int r = handover == NULL ? -ENOMEM : load(fd, handover);
    if (r < 0) {
        handover_destroy(handover);
        return r;
    }
    handover_set_inherited(handover, false);
    *ret_handover = handover;
    return 0;
}

struct handover_listener *handover_find_listener(struct handover *handover, const char *key)
{
    for (uint32_t i = 0; handover != NULL && i < handover->listener_count; i++) {
        struct handover_listener *listener = &handover->listeners[i];
        if (listener->fd_count > 0 && strncmp(listener->key, key, sizeof listener->key) == 0)
            return listener;
    }
    return NULL;
}
