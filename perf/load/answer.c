#include "perf/load/answer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_BYTES_MAX = 1 << 20 };

static int send_all(int fd, const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t sent = send(fd, data, bytes, MSG_NOSIGNAL);
        if (sent < 0)
            return -errno;
        data += sent;
        bytes -= (size_t)sent;
    }
    return 0;
}

static const char *field_value(const char *head, const char *name)
{
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, strlen(name)) == 0)
            return line + 2 + strlen(name);
    return NULL;
}

/* The length of the whole answer whose first `have` octets these are, or 0 when more are needed. */
static long whole_length(char *data, size_t have)
{
    data[have] = '\0';
    char *end = strstr(data, "\r\n\r\n");
    if (end == NULL)
        return 0;
    const long head = end + 4 - data;
    if (strncmp(data, "HTTP/1.", 7) != 0 || have < 12 || data[9] != '2')
        return -EBADMSG;
    end[2] = '\0'; /* the fields end here; put back below */
    const char *length = field_value(data, "content-length:");
    bool chunked = field_value(data, "transfer-encoding:") != NULL;
    long body = length != NULL ? atol(length) : 0;
    end[2] = '\r';
    if (length != NULL)
        return head + body;
    if (!chunked)
        return -EBADMSG;
    /* The last chunk; bodies of benchmarks do not contain its look-alike. */
    const char *last = memmem(data + head - 2, have - (size_t)head + 2, "\r\n0\r\n\r\n", 7);
    return last != NULL ? last + 7 - data : 0;
}

static long read_answer(int fd, char *buffer)
{
    size_t have = 0;
    for (;;) {
        long length = whole_length(buffer, have);
        if (length < 0 || (length > 0 && (size_t)length <= have))
            return length;
        if (length > ANSWER_BYTES_MAX || have == ANSWER_BYTES_MAX)
            return -EMSGSIZE;
        ssize_t received = recv(fd, buffer + have, ANSWER_BYTES_MAX - have, 0);
        if (received <= 0)
            return received < 0 ? -errno : -ECONNRESET;
        have += (size_t)received;
    }
}

long answer_measure(int fd, const void *request, size_t bytes)
{
    int r = send_all(fd, request, bytes);
    if (r < 0)
        return r;
    char *buffer = malloc(ANSWER_BYTES_MAX + 1);
    if (buffer == NULL)
        return -ENOMEM;
    long length = read_answer(fd, buffer);
    free(buffer);
    return length;
}
