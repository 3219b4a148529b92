#include "daemon/supervisor/handover.h"

#include "daemon/base/owned.h"

#include "daemon/supervisor/service_manager.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { HANDOVER_MAGIC = 0x55'52'48'4f, FD_TEXT_BYTES = 16, FORMAT_TEXT_BYTES = 32 };

/* The underscore: it is no setting, which UROBOROS_* would be. */
static const char variable[] = "_UROBOROS_HANDOVER";
static const char format_variable[] = "_UROBOROS_HANDOVER_FORMAT";

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

struct handover *handover_copy(const struct handover *handover)
{
    struct handover *copy = handover_create();
    if (copy != NULL)
        *copy = *handover;
    return copy;
}

/* The size as well: two builds may differ in a bound and agree on the version. */
static void describe_format(char text[FORMAT_TEXT_BYTES])
{
    snprintf(text, FORMAT_TEXT_BYTES, "%d.%zu", HANDOVER_VERSION, sizeof(struct handover));
}

void handover_announce_format(void)
{
    char text[FORMAT_TEXT_BYTES];
    describe_format(text);
    setenv(format_variable, text, 1);
}

void handover_unannounce_format(void)
{
    unsetenv(format_variable);
}

int handover_check_format(void)
{
    char ours[FORMAT_TEXT_BYTES];
    const char *theirs = getenv(format_variable);
    describe_format(ours);
    int r = theirs == NULL || strcmp(theirs, ours) == 0 ? 0 : -EPROTO;
    unsetenv(format_variable);
    return r;
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
    for (uint32_t i = 0; i < handover->inherited_count; i++)
        set_inherited(SERVICE_MANAGER_FIRST_FD + (int)i, inherited);
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
    OWNED_FD file = memfd_create("uroboros-handover", MFD_CLOEXEC);
    OWNED_FD fd = file < 0 ? -1 : fcntl(file, F_DUPFD, CONTROL_FD + 1);
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

static bool is_sound_listener(const struct handover_listener *listener)
{
    return listener->fd_count <= LAYOUT_RINGS_MAX && memchr(listener->key, '\0', sizeof listener->key) != NULL &&
           memchr(listener->path, '\0', sizeof listener->path) != NULL;
}

/* A pid of 1 or less would mean somebody else, or everybody, to kill(2). */
static bool is_sound_child(const struct handover_child *child)
{
    return child->pid > 1 && child->control > STDERR_FILENO && child->is_app <= 1 &&
           child->index < (child->is_app != 0 ? (uint32_t)LAYOUT_APPS_MAX : (uint32_t)LAYOUT_RINGS_MAX);
}

static bool is_sound(const struct handover *handover)
{
    if (handover->magic != HANDOVER_MAGIC || handover->version != HANDOVER_VERSION ||
        handover->bytes != sizeof *handover)
        return false;
    if (handover->listener_count > LISTENERS_MAX || handover->child_count > HANDOVER_CHILDREN_MAX ||
        handover->inherited_count > SERVICE_MANAGER_FDS_MAX || handover->is_trial > 1 ||
        handover->rings > LAYOUT_RINGS_MAX || handover->tickets.count > CONTROL_TLS_TICKET_KEYS)
        return false;
    if (memchr(handover->inherited_names, '\0', sizeof handover->inherited_names) == NULL ||
        memchr(handover->pid_file, '\0', sizeof handover->pid_file) == NULL)
        return false;
    for (uint32_t i = 0; i < handover->listener_count; i++)
        if (!is_sound_listener(&handover->listeners[i]))
            return false;
    for (uint32_t i = 0; i < handover->child_count; i++)
        if (!is_sound_child(&handover->children[i]))
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

/* -1: it is none, or one of the standard streams, which are not ours to close. */
static int descriptor_of(const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);
    return end != text && *end == '\0' && number > STDERR_FILENO && number <= INT_MAX ? (int)number : -1;
}

int handover_take(struct handover **ret_handover)
{
    const char *text = getenv(variable);
    *ret_handover = NULL;
    if (text == NULL)
        return 0;
    /* An execve() makes a process dumpable again, and there are keys in the file. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    OWNED_FD fd = descriptor_of(text);
    unsetenv(variable);
    struct handover *handover = handover_create();
    int r = handover == NULL ? -ENOMEM : load(fd, handover);
    if (r < 0) {
        handover_destroy(handover);
        return r;
    }
    if (handover->is_trial == 0)
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
