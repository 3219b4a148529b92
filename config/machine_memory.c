#include "config/machine_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/owned.h"

/* A text file of the kernel; what does not fit is cut. */
static int read_text(const char *path, char *text, size_t bytes)
{
    OWNED_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t length = read(fd, text, bytes - 1);
    if (length < 0)
        return -errno;
    text[length] = '\0';
    return 0;
}

/* "max\n" or a number. */
static uint64_t limit_in(const char *directory)
{
    char path[PATH_MAX], text[32], *end;
    int length = snprintf(path, sizeof path, "%s/memory.max", directory);
    if (length < 0 || (size_t)length >= sizeof path || read_text(path, text, sizeof text) < 0)
        return UINT64_MAX;
    errno = 0;
    unsigned long long limit = strtoull(text, &end, 10);
    return end == text || errno != 0 ? UINT64_MAX : limit;
}

uint64_t machine_memory_group_limit(const char *root, const char *membership)
{
    /* Of version 2 there is one line: "0::/system.slice/uroboros.service". */
    const char *line = strncmp(membership, "0::", 3) == 0 ? membership : strstr(membership, "\n0::");
    if (line == NULL)
        return UINT64_MAX;
    const char *group = strstr(line, "0::") + 3;
    char directory[PATH_MAX];
    int length = snprintf(directory, sizeof directory, "%s%.*s", root, (int)strcspn(group, "\n"), group);
    if (length < 0 || (size_t)length >= sizeof directory)
        return UINT64_MAX;

    uint64_t least = UINT64_MAX;
    for (char *end = directory + length; end != NULL && (size_t)(end - directory) >= strlen(root);
         end = strrchr(directory, '/')) {
        *end = '\0';
        uint64_t limit = limit_in(directory);
        least = limit < least ? limit : least;
    }
    return least;
}

uint64_t machine_memory_bytes(void)
{
    char membership[PATH_MAX];
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    uint64_t machine = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : UINT64_MAX;
    if (read_text("/proc/self/cgroup", membership, sizeof membership) < 0)
        return machine;
    uint64_t group = machine_memory_group_limit("/sys/fs/cgroup", membership);
    return group < machine ? group : machine;
}
