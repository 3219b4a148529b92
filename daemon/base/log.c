#include "daemon/base/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* How to write without waiting depends on what the descriptor is. O_NONBLOCK is no way: it belongs to the open file,
 * which we share with the shell, the container runtime and whoever else inherited it. */
enum sink { SINK_FILE, SINK_PIPE, SINK_TERMINAL, SINK_SOCKET };

struct target {
    int fd;
    enum sink sink;
    bool journal; /* levels as <N>, and no time: the journal has its own */
};

static struct {
    _Atomic uint64_t target; /* packed, so that a line on another thread sees the old one or the new one whole */
    _Atomic int level;
    _Atomic uint64_t drops;        /* of all time */
    _Atomic uint64_t drops_unsaid; /* not yet told to the reader */
    _Atomic bool torn;             /* the last write ended inside a line */
    char title[32];
} state = {.target = STDERR_FILENO, .level = LOG_LEVEL_INFO};

enum { SINK_SHIFT = 32, JOURNAL_SHIFT = 40 };

static uint64_t pack(struct target target)
{
    return (uint32_t)target.fd | (uint64_t)target.sink << SINK_SHIFT | (uint64_t)target.journal << JOURNAL_SHIFT;
}

static struct target unpack(uint64_t word)
{
    return (struct target){(int)(uint32_t)word, (enum sink)(word >> SINK_SHIFT & 0xff), word >> JOURNAL_SHIFT & 1};
}

static const struct {
    const char *word;
    const char *journal_prefix; /* sd-daemon(3) */
} levels[] = {
    [LOG_LEVEL_DEBUG] = {"DEBUG", "<7>"},       [LOG_LEVEL_INFO] = {"INFO", "<6>"},
    [LOG_LEVEL_WARNING] = {"WARNING", "<4>"},   [LOG_LEVEL_ERROR] = {"ERROR", "<3>"},
    [LOG_LEVEL_CRITICAL] = {"CRITICAL", "<2>"},
};

/* Relaxed throughout: each of these words means something by itself and publishes nothing else. */
static struct target target_now(void)
{
    return unpack(atomic_load_explicit(&state.target, memory_order_relaxed));
}

static void count_drops(uint64_t lines)
{
    atomic_fetch_add_explicit(&state.drops, lines, memory_order_relaxed);
    atomic_fetch_add_explicit(&state.drops_unsaid, lines, memory_order_relaxed);
}

uint64_t log_drops(void)
{
    return atomic_load_explicit(&state.drops, memory_order_relaxed);
}

/* The target ----------------------------------------------------------------------------------------------------- */

/* systemd names the stream that it gave us by device and inode: JOURNAL_STREAM=8:12345. */
static bool is_journal(const struct stat *stat)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device;
    unsigned long long inode;
    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && device == stat->st_dev &&
           inode == stat->st_ino;
}

static enum sink sink_of(mode_t mode)
{
    if (S_ISFIFO(mode))
        return SINK_PIPE;
    if (S_ISSOCK(mode))
        return SINK_SOCKET;
    return S_ISCHR(mode) ? SINK_TERMINAL : SINK_FILE;
}

void log_set_fd(int fd)
{
    struct target target = {fd, SINK_FILE, false};
    struct stat stat;
    if (fstat(fd, &stat) == 0) {
        target.sink = sink_of(stat.st_mode);
        target.journal = is_journal(&stat);
    }
    atomic_store_explicit(&state.target, pack(target), memory_order_relaxed);
}

const char *log_journal_prefix(enum log_level level, int fd)
{
    struct stat stat;
    return fstat(fd, &stat) == 0 && is_journal(&stat) ? levels[level].journal_prefix : "";
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&state.level, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&state.level, memory_order_relaxed);
}

void log_init(const char *process_title, enum log_level level, int fd)
{
    snprintf(state.title, sizeof state.title, "%s", process_title);
    tzset(); /* reads the time zone's file now: later there may be no right to open one */
    log_set_level(level);
    log_set_fd(fd);
}

/* Writing without waiting ------------------------------------------------------------------------------------------ */

static ssize_t write_if_ready(int fd, const char *data, size_t length)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    if (poll(&poll_fd, 1, 0) <= 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(fd, data, length);
}

static ssize_t write_pipe(int fd, const char *data, size_t length)
{
    struct iovec vector = {(char *)data, length}; /* only read from */
    ssize_t written = pwritev2(fd, &vector, 1, -1, RWF_NOWAIT);
    if (written >= 0 || errno == EAGAIN || errno == EINTR || errno == EPIPE)
        return written;
    /* Linux before 6.4, or a system call filter that does not know this one. Another writer may fill the pipe after
     * the poll; the wait is then for its reader, once. */
    return write_if_ready(fd, data, length);
}

static ssize_t write_some(struct target target, const char *data, size_t length)
{
    switch (target.sink) {
    case SINK_PIPE:
        return write_pipe(target.fd, data, length);
    case SINK_TERMINAL:
        return write_if_ready(target.fd, data, length);
    case SINK_SOCKET:
        return send(target.fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    case SINK_FILE:
        break;
    }
    return write(target.fd, data, length);
}

/* A writable pipe promises room for PIPE_BUF octets and no more, so longer lines go in pieces. */
static size_t piece_bytes(struct target target, size_t length)
{
    bool in_pieces = target.sink == SINK_PIPE || target.sink == SINK_TERMINAL;
    return in_pieces && length > PIPE_BUF ? PIPE_BUF : length;
}

/* How much went out before the first refusal. */
static size_t write_pieces(struct target target, const char *data, size_t length)
{
    size_t done = 0;
    while (done < length) {
        size_t piece = piece_bytes(target, length - done);
        ssize_t written = write_some(target, data + done, piece);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        done += (size_t)written;
        if ((size_t)written < piece)
            break;
    }
    return done;
}

/* A line that was cut off by a full disk or pipe is closed first, or it would swallow the start of this one. */
static bool write_line(struct target target, const char *line, size_t length)
{
    if (atomic_load_explicit(&state.torn, memory_order_relaxed)) {
        if (write_pieces(target, "\n", 1) == 0)
            return false;
        atomic_store_explicit(&state.torn, false, memory_order_relaxed);
    }
    size_t written = write_pieces(target, line, length);
    if (written > 0 && written < length)
        atomic_store_explicit(&state.torn, true, memory_order_relaxed);
    return written == length;
}

/* Lines ------------------------------------------------------------------------------------------------------------ */

enum { CUT_MARK_BYTES = 4 }; /* "..." and the line end */

struct line {
    char *text;
    size_t used;
    size_t capacity;
};

/* Only for text of known small size: the prefix. */
__attribute__((format(printf, 2, 3))) static void put(struct line *line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line->text + line->used, line->capacity - line->used, format, arguments);
    va_end(arguments);
    if (length > 0)
        line->used += (size_t)length;
}

static bool is_control(const unsigned char *octet, const unsigned char *end)
{
    if (*octet < 0x20)
        return *octet != '\t';
    /* DEL, and U+0080 to U+009F in UTF-8, among them a terminal's one-octet CSI. */
    return *octet == 0x7f || (*octet == 0xc2 && octet + 1 < end && octet[1] >= 0x80 && octet[1] < 0xa0);
}

static void put_octet(struct line *line, unsigned char octet, bool escape)
{
    static const char digits[] = "0123456789abcdef";
    char *to = line->text + line->used;
    if (!escape) {
        *to = (char)octet;
        line->used++;
        return;
    }
    memcpy(to, (char[]){'\\', 'x', digits[octet >> 4], digits[octet & 15]}, 4);
    line->used += 4;
}

/* The text with control octets as \xHH, cut where the line is full; room for the cut mark always stays. */
static void put_escaped(struct line *line, const char *text, size_t length, bool cut)
{
    const unsigned char *octet = (const unsigned char *)text;
    const unsigned char *end = octet + length;
    for (bool continuation = false; octet < end; octet++) {
        bool escape = continuation || is_control(octet, end);
        if (line->used + (escape ? 4 : 1) + CUT_MARK_BYTES > line->capacity)
            break;
        continuation = escape && *octet == 0xc2;
        put_octet(line, *octet, escape);
    }
    if (octet < end || cut) {
        memcpy(line->text + line->used, "...", 3);
        line->used += 3;
    }
}

static void put_time(struct line *line)
{
    /* Not time(): where it is a system call, the filter of the I/O process does not know that one. */
    struct timespec now;
    struct tm local;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    line->used += strftime(line->text + line->used, line->capacity - line->used, "[%Y-%m-%d %H:%M:%S %z] ", &local);
}

static void put_prefix(struct line *line, struct target target, enum log_level level)
{
    if (target.journal) {
        put(line, "%s%s[%d]: ", levels[level].journal_prefix, state.title, (int)getpid());
        return;
    }
    put_time(line);
    put(line, "[%d] [%s] ", (int)getpid(), levels[level].word);
}

static bool write_message(struct target target, enum log_level level, const char *message, int length)
{
    char text[LOG_LINE_BYTES_MAX];
    struct line line = {.text = text, .capacity = sizeof text};
    bool cut = length >= LOG_LINE_BYTES_MAX;
    put_prefix(&line, target, level);
    put_escaped(&line, message, cut ? LOG_LINE_BYTES_MAX - 1 : (size_t)length, cut);
    text[line.used++] = '\n';
    return write_line(target, text, line.used);
}

/* Tells the reader what it has missed, as soon as it takes anything again. */
static bool say_drops(struct target target)
{
    uint64_t drops = atomic_exchange_explicit(&state.drops_unsaid, 0, memory_order_relaxed);
    if (drops == 0)
        return true;

    char message[128];
    int length = snprintf(message, sizeof message, "%llu lines dropped: the reader of this log did not keep up",
                          (unsigned long long)drops);
    if (write_message(target, LOG_LEVEL_WARNING, message, length))
        return true;
    atomic_fetch_add_explicit(&state.drops_unsaid, drops, memory_order_relaxed);
    return false;
}

void log_write(enum log_level level, const char *format, ...)
{
    int saved_errno = errno; /* for %m, and for the caller that reports before it returns -errno */
    char message[LOG_LINE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);

    struct target target = target_now();
    if (length >= 0 && !(say_drops(target) && write_message(target, level, message, length)))
        count_drops(1);
    errno = saved_errno;
}

void log_raw(const void *data, size_t length)
{
    int saved_errno = errno;
    char text[8 + 4 * LOG_LINES_BYTES_MAX]; /* every octet may have to be escaped */
    struct line line = {.text = text, .capacity = sizeof text};
    bool cut = length > LOG_LINES_BYTES_MAX;

    struct target target = target_now();
    if (target.journal)
        put(&line, "%s", levels[LOG_LEVEL_INFO].journal_prefix);
    put_escaped(&line, data, cut ? LOG_LINES_BYTES_MAX : length, cut);
    text[line.used++] = '\n';
    if (!(say_drops(target) && write_line(target, text, line.used)))
        count_drops(1);
    errno = saved_errno;
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint64_t interval_ms, uint64_t *ret_suppressed)
{
    if (now_ms < limit->next_ms) {
        limit->suppressed++;
        return false;
    }
    *ret_suppressed = limit->suppressed;
    *limit = (struct log_limit){.next_ms = now_ms + interval_ms};
    return true;
}

/* Line assembly ---------------------------------------------------------------------------------------------------- */

/* A full buffer goes out only when there is an octet after it, so a line of exactly the bound stays whole. */
static void append(struct log_lines *lines, const char *data, size_t length, log_lines_receiver *receiver,
                   void *context)
{
    while (length > 0) {
        if (lines->used == LOG_LINES_BYTES_MAX) {
            receiver(context, lines->pending, lines->used);
            lines->used = 0;
        }
        size_t room = LOG_LINES_BYTES_MAX - lines->used;
        size_t count = length < room ? length : room;
        memcpy(lines->pending + lines->used, data, count);
        lines->used += count;
        data += count;
        length -= count;
    }
}

static void end_line(struct log_lines *lines, log_lines_receiver *receiver, void *context)
{
    size_t length = lines->used;
    if (length > 0 && lines->pending[length - 1] == '\r')
        length--;
    receiver(context, lines->pending, length);
    lines->used = 0;
}

void log_lines_feed(struct log_lines *lines, const void *data, size_t length, log_lines_receiver *receiver,
                    void *context)
{
    const char *at = data;
    const char *end = at + length;
    const char *line_end;
    while (at < end && (line_end = memchr(at, '\n', (size_t)(end - at)))) {
        append(lines, at, (size_t)(line_end - at), receiver, context);
        end_line(lines, receiver, context);
        at = line_end + 1;
    }
    append(lines, at, (size_t)(end - at), receiver, context);
}

void log_lines_finish(struct log_lines *lines, log_lines_receiver *receiver, void *context)
{
    if (lines->used > 0)
        end_line(lines, receiver, context);
}

void log_lines_to_log(void *context, const char *line, size_t length)
{
    (void)context;
    log_raw(line, length);
}
