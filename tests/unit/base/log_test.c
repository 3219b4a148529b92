#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/base/owned.h"

enum { WATCHDOG_S = 60, OUTPUT_BYTES_MAX = 1 << 20 };

/* Everything the log wrote, read back from a pipe or a file. */
static char output[OUTPUT_BYTES_MAX];

static size_t read_all(int fd)
{
    size_t used = 0;
    ssize_t got;
    while (used < sizeof output - 1 && (got = read(fd, output + used, sizeof output - 1 - used)) > 0)
        used += (size_t)got;
    output[used] = 0;
    return used;
}

struct pipe_ends {
    int reader;
    int writer;
};

/* Only the reading end does not block: they are two open files. */
static struct pipe_ends open_pipe(void)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    return (struct pipe_ends){fds[0], fds[1]};
}

static void close_pipe(struct pipe_ends *ends)
{
    log_set_fd(STDERR_FILENO);
    close(ends->reader);
    close(ends->writer);
}

static struct pipe_ends log_to_pipe(enum log_level level)
{
    struct pipe_ends ends = open_pipe();
    log_init("test", level, ends.writer);
    return ends;
}

/* The message of a line: what follows "] [LEVEL] ". */
static const char *message_of(const char *line, const char *level_word)
{
    char mark[32];
    snprintf(mark, sizeof mark, "] [%s] ", level_word);
    const char *at = strstr(line, mark);
    assert_non_null(at);
    return at + strlen(mark);
}

static void a_line_looks_as_gunicorns(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_INFO);
    log_info("listening at %s (%d)", "http://127.0.0.1:8000", 7);
    read_all(ends.reader);

    int pid = 0;
    int year, month, day, hour, minute, second, zone, used = 0;
    assert_int_equal(sscanf(output, "[%4d-%2d-%2d %2d:%2d:%2d %5d] [%d] [INFO] %n", &year, &month, &day, &hour, &minute,
                            &second, &zone, &pid, &used),
                     8);
    assert_int_equal(pid, getpid());
    assert_string_equal(output + used, "listening at http://127.0.0.1:8000 (7)\n");
    close_pipe(&ends);
}

static void lines_below_the_level_are_silent_and_their_arguments_not_computed(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_WARNING);
    int computed = 0;
    log_debug("%d", ++computed);
    log_info("%d", ++computed);
    assert_int_equal(read_all(ends.reader), 0);
    assert_int_equal(computed, 0);
    log_warning("%d", ++computed);
    log_error("b");
    log_critical("c");
    read_all(ends.reader);
    assert_non_null(strstr(output, "[WARNING] 1\n"));
    assert_non_null(strstr(output, "[ERROR] b\n"));
    assert_non_null(strstr(output, "[CRITICAL] c\n"));
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("d");
    read_all(ends.reader);
    assert_non_null(strstr(output, "[DEBUG] d\n"));
    close_pipe(&ends);
}

static void control_octets_cannot_forge_a_line(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_INFO);
    log_info("a\nb\rc\td\x1b[31m\x7f\xc2\x9b"
             "e caf\xc3\xa9 \xc2\xa0 \\ \xc2");
    read_all(ends.reader);
    assert_string_equal(message_of(output, "INFO"),
                        "a\\x0ab\\x0dc\td\\x1b[31m\\x7f\\xc2\\x9be caf\xc3\xa9 \xc2\xa0 \\ \xc2\n");
    close_pipe(&ends);
}

static void a_long_message_is_cut_at_the_line_bound(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_INFO);
    static char text[3 * LOG_LINE_BYTES_MAX];
    for (int octet = 'x'; octet >= 1; octet -= 'x' - 1) { /* plain octets, then octets that are escaped */
        memset(text, octet, sizeof text - 1);
        log_info("%s", text);
        size_t length = read_all(ends.reader);
        assert_in_range(length, LOG_LINE_BYTES_MAX - 4, LOG_LINE_BYTES_MAX);
        assert_string_equal(output + length - 4, "...\n");
    }
    close_pipe(&ends);
}

static void errno_is_shown_and_survives(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_INFO);
    errno = ENOENT;
    log_error("open: %m");
    assert_int_equal(errno, ENOENT);
    read_all(ends.reader);
    assert_string_equal(message_of(output, "ERROR"), "open: No such file or directory\n");
    close_pipe(&ends);
}

static void a_full_pipe_costs_lines_not_time_and_the_loss_is_said(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_INFO);
    uint64_t drops_before = log_drops();
    assert_true(fcntl(ends.writer, F_SETPIPE_SZ, 4096) >= 4096);
    for (int i = 0; i < 1000; i++)
        log_info("line %d", i);
    uint64_t drops = log_drops() - drops_before;
    assert_in_range(drops, 800, 999);

    size_t length = read_all(ends.reader);
    assert_int_equal(output[length - 1], '\n');
    log_info("again");
    read_all(ends.reader);
    char expected[128];
    snprintf(expected, sizeof expected, "%d lines dropped: the reader of this log did not keep up\n", (int)drops);
    assert_memory_equal(message_of(output, "WARNING"), expected, strlen(expected));
    assert_string_equal(message_of(output, "INFO"), "again\n");

    log_info("and only once");
    read_all(ends.reader);
    assert_null(strstr(output, "dropped"));
    assert_int_equal(fcntl(ends.writer, F_GETFL) & O_NONBLOCK, 0);
    close_pipe(&ends);
}

/* As a container's filter does, and as a kernel before 6.4 in effect. */
static void deny_pwritev2(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwritev2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        _exit(2);
}

static void a_pipe_is_written_without_pwritev2_too_and_still_never_waited_for(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_INFO);
    assert_true(fcntl(ends.writer, F_SETPIPE_SZ, 4096) >= 4096);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(WATCHDOG_S); /* alarms are not inherited */
        deny_pwritev2();
        uint64_t drops_before = log_drops();
        for (int i = 0; i < 1000; i++)
            log_info("line %d", i);
        uint64_t drops = log_drops() - drops_before;
        _exit(drops >= 800 && drops < 1000 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    read_all(ends.reader);
    assert_non_null(strstr(output, "] [INFO] line 0\n"));
    close_pipe(&ends);
}

static void a_closed_reader_costs_lines_only(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_INFO);
    uint64_t drops_before = log_drops();
    close(ends.reader);
    log_info("nobody reads this");
    assert_int_equal(log_drops() - drops_before, 1);
    ends.reader = -1;
    close_pipe(&ends);

    /* The next reader is told; this also leaves nothing unsaid to the tests after this one. */
    ends = log_to_pipe(LOG_LEVEL_INFO);
    log_info("hello");
    read_all(ends.reader);
    assert_non_null(strstr(output, "1 lines dropped"));
    close_pipe(&ends);
}

static void a_full_terminal_costs_lines_not_time(void **state)
{
    (void)state;
    OWNED_FD master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    OWNED_FD terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal >= 0);

    log_init("test", LOG_LEVEL_INFO, terminal);
    uint64_t drops_before = log_drops();
    log_info("shown");
    assert_int_equal(log_drops(), drops_before);
    read_all(master);
    assert_non_null(strstr(output, "[INFO] shown\r\n"));
    log_set_fd(STDERR_FILENO);
}

static void a_line_torn_by_a_full_disk_does_not_swallow_the_next(void **state)
{
    (void)state;
    char path[] = "/tmp/log_test_XXXXXX";
    OWNED_FD fd = mkostemp(path, O_CLOEXEC | O_APPEND);
    assert_true(fd >= 0);
    unlink(path);
    log_init("test", LOG_LEVEL_INFO, fd);

    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){100, before.rlim_max});
    log_info("first");
    log_info("second, which ends beyond the limit of one hundred octets");
    log_info("third, for which there is no room at all");
    setrlimit(RLIMIT_FSIZE, &before);
    log_info("fourth");

    lseek(fd, 0, SEEK_SET);
    read_all(fd);
    char *first = strtok(output, "\n");
    char *second = strtok(NULL, "\n");
    char *said = strtok(NULL, "\n");
    char *fourth = strtok(NULL, "\n");
    assert_string_equal(message_of(first, "INFO"), "first");
    assert_int_equal(strlen(first) + 1 + strlen(second), 100);
    assert_non_null(strstr(said, "] [WARNING] 2 lines dropped"));
    assert_string_equal(message_of(fourth, "INFO"), "fourth");
    assert_null(strtok(NULL, "\n"));
    log_set_fd(STDERR_FILENO);
}

static void a_full_socket_costs_lines_not_time(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    log_init("test", LOG_LEVEL_INFO, fds[0]);
    uint64_t drops_before = log_drops();
    for (int i = 0; i < 100000 && log_drops() == drops_before; i++)
        log_info("line %d", i);
    assert_int_equal(log_drops() - drops_before, 1);
    assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    read_all(fds[1]);
    log_info("again");
    read_all(fds[1]);
    assert_non_null(strstr(output, "1 lines dropped"));
    log_set_fd(STDERR_FILENO);
    close(fds[0]);
    close(fds[1]);
}

static void the_journal_gets_a_level_and_no_time(void **state)
{
    (void)state;
    int fds[2];
    struct stat stat;
    char stream[64];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    assert_int_equal(fstat(fds[0], &stat), 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)stat.st_dev, (unsigned long long)stat.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);

    log_init("io 1", LOG_LEVEL_INFO, fds[0]);
    log_error("no such file");
    log_raw("Traceback", 9);
    read_all(fds[1]);
    char expected[128];
    snprintf(expected, sizeof expected, "<3>io 1[%d]: no such file\n<6>Traceback\n", (int)getpid());
    assert_string_equal(output, expected);
    assert_string_equal(log_journal_prefix(LOG_LEVEL_CRITICAL, fds[0]), "<2>");
    assert_string_equal(log_journal_prefix(LOG_LEVEL_CRITICAL, fds[1]), "");

    /* Another descriptor than the one systemd named is no journal. */
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_INFO);
    log_error("plain");
    read_all(ends.reader);
    assert_int_equal(output[0], '[');
    close_pipe(&ends);
    unsetenv("JOURNAL_STREAM");
    close(fds[0]);
    close(fds[1]);
}

static void reopening_sends_later_lines_to_the_new_file(void **state)
{
    (void)state;
    struct pipe_ends old = log_to_pipe(LOG_LEVEL_INFO);
    struct pipe_ends new = open_pipe();
    log_info("one");
    log_set_fd(new.writer);
    log_info("two");
    read_all(old.reader);
    assert_string_equal(message_of(output, "INFO"), "one\n");
    read_all(new.reader);
    assert_string_equal(message_of(output, "INFO"), "two\n");
    close_pipe(&old);
    close_pipe(&new);
}

static void a_forked_child_writes_under_its_own_pid(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_INFO);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        log_info("from the child");
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    read_all(ends.reader);
    char expected[64];
    snprintf(expected, sizeof expected, "] [%d] [INFO] from the child\n", (int)child);
    assert_non_null(strstr(output, expected));
    close_pipe(&ends);
}

enum { THREADS = 4, LINES_PER_THREAD = 200 };

static void *write_many(void *argument)
{
    for (int i = 0; i < LINES_PER_THREAD; i++)
        log_info("thread %d line %d end", *(int *)argument, i);
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_INFO);
    assert_true(fcntl(ends.writer, F_SETPIPE_SZ, 1 << 20) > 0);
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    read_all(ends.reader);
    int lines = 0;
    for (char *line = strtok(output, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        int thread, number, used = 0;
        sscanf(message_of(line, "INFO"), "thread %d line %d end%n", &thread, &number, &used);
        assert_int_equal(strlen(message_of(line, "INFO")), used);
    }
    assert_int_equal(lines, THREADS * LINES_PER_THREAD);
    close_pipe(&ends);
}

static void a_raw_line_is_verbatim_but_for_control_octets(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_CRITICAL);
    static const char line[] = "  File \"a\\b.py\", line 3\t\0\x1b";
    log_raw(line, sizeof line - 1);
    log_raw("", 0);
    read_all(ends.reader);
    assert_string_equal(output, "  File \"a\\b.py\", line 3\t\\x00\\x1b\n\n");
    close_pipe(&ends);
}

static void a_raw_line_of_the_largest_size_arrives_whole(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_INFO);
    static char line[LOG_LINES_BYTES_MAX];
    memset(line, 1, sizeof line);
    log_raw(line, sizeof line);
    assert_int_equal(read_all(ends.reader), 4 * sizeof line + 1);
    memset(line, 'x', sizeof line);
    log_raw(line, sizeof line);
    assert_int_equal(read_all(ends.reader), sizeof line + 1);
    close_pipe(&ends);
}

static void a_limit_lets_one_line_per_interval_pass_and_counts_the_others(void **state)
{
    (void)state;
    struct log_limit limit = {};
    uint64_t suppressed = 99;
    assert_true(log_limit_pass(&limit, 5000, 1000, &suppressed));
    assert_int_equal(suppressed, 0);
    suppressed = 99;
    assert_false(log_limit_pass(&limit, 5001, 1000, &suppressed));
    assert_false(log_limit_pass(&limit, 5999, 1000, &suppressed));
    assert_int_equal(suppressed, 99);
    assert_true(log_limit_pass(&limit, 6000, 1000, &suppressed));
    assert_int_equal(suppressed, 2);
    assert_true(log_limit_pass(&limit, 9000, 1000, &suppressed));
    assert_int_equal(suppressed, 0);
}

/* Lines collected as "<text>", one after the other. */
struct collected {
    size_t used;
    char text[1 << 17];
};

static void collect(void *context, const char *line, size_t length)
{
    struct collected *collected = context;
    assert_true(collected->used + length + 2 < sizeof collected->text);
    collected->text[collected->used++] = '<';
    memcpy(collected->text + collected->used, line, length);
    collected->used += length;
    collected->text[collected->used++] = '>';
    collected->text[collected->used] = 0;
}

static struct collected *assembled_in_pieces_of(const char *data, size_t length, size_t piece)
{
    struct collected *collected = calloc(1, sizeof *collected);
    struct log_lines *lines = calloc(1, sizeof *lines);
    assert_non_null(collected);
    assert_non_null(lines);
    for (size_t at = 0; at < length; at += piece)
        log_lines_feed(lines, data + at, piece < length - at ? piece : length - at, collect, collected);
    log_lines_finish(lines, collect, collected);
    free(lines);
    return collected;
}

static void lines_are_assembled_however_the_pipe_cuts_them(void **state)
{
    (void)state;
    static const char data[] = "one\ntwo\r\n\n\nthr\ree\nlast";
    for (size_t piece = 1; piece < sizeof data; piece++) {
        struct collected *collected = assembled_in_pieces_of(data, sizeof data - 1, piece);
        assert_string_equal(collected->text, "<one><two><><><thr\ree><last>");
        free(collected);
    }
}

static void a_stream_that_ends_with_a_line_end_has_no_empty_last_line(void **state)
{
    (void)state;
    struct collected *collected = assembled_in_pieces_of("a\n", 2, 2);
    assert_string_equal(collected->text, "<a>");
    free(collected);
}

static void a_line_of_exactly_the_bound_is_whole_and_a_longer_one_is_split(void **state)
{
    (void)state;
    enum { BOUND = LOG_LINES_BYTES_MAX, LENGTH = BOUND + 1 + 2 * BOUND + 5 + 1 };
    char *data = malloc(LENGTH);
    assert_non_null(data);
    memset(data, 'x', LENGTH);
    data[BOUND] = '\n';
    data[LENGTH - 1] = '\n';
    static const size_t pieces[] = {1, 7, 4096, BOUND, BOUND + 1, LENGTH};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct collected *collected = assembled_in_pieces_of(data, LENGTH, pieces[i]);
        static const size_t expected[] = {BOUND, BOUND, BOUND, 5};
        const char *at = collected->text;
        for (size_t line = 0; line < 4; line++) {
            assert_int_equal(*at, '<');
            assert_int_equal(strspn(at + 1, "x"), expected[line]);
            at += expected[line] + 2;
        }
        assert_int_equal(*at, 0);
        free(collected);
    }
    free(data);
}

static void assembled_lines_reach_the_log(void **state)
{
    (void)state;
    struct pipe_ends ends = log_to_pipe(LOG_LEVEL_INFO);
    struct log_lines *lines = calloc(1, sizeof *lines);
    assert_non_null(lines);
    log_lines_feed(lines, "Trace", 5, log_lines_to_log, NULL);
    log_lines_feed(lines, "back\nTypeError\n", 15, log_lines_to_log, NULL);
    read_all(ends.reader);
    assert_string_equal(output, "Traceback\nTypeError\n");
    free(lines);
    close_pipe(&ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_looks_as_gunicorns),
        cmocka_unit_test(lines_below_the_level_are_silent_and_their_arguments_not_computed),
        cmocka_unit_test(control_octets_cannot_forge_a_line),
        cmocka_unit_test(a_long_message_is_cut_at_the_line_bound),
        cmocka_unit_test(errno_is_shown_and_survives),
        cmocka_unit_test(a_full_pipe_costs_lines_not_time_and_the_loss_is_said),
        cmocka_unit_test(a_pipe_is_written_without_pwritev2_too_and_still_never_waited_for),
        cmocka_unit_test(a_closed_reader_costs_lines_only),
        cmocka_unit_test(a_full_terminal_costs_lines_not_time),
        cmocka_unit_test(a_line_torn_by_a_full_disk_does_not_swallow_the_next),
        cmocka_unit_test(a_full_socket_costs_lines_not_time),
        cmocka_unit_test(the_journal_gets_a_level_and_no_time),
        cmocka_unit_test(reopening_sends_later_lines_to_the_new_file),
        cmocka_unit_test(a_forked_child_writes_under_its_own_pid),
        cmocka_unit_test(lines_of_several_threads_do_not_mix),
        cmocka_unit_test(a_raw_line_is_verbatim_but_for_control_octets),
        cmocka_unit_test(a_raw_line_of_the_largest_size_arrives_whole),
        cmocka_unit_test(a_limit_lets_one_line_per_interval_pass_and_counts_the_others),
        cmocka_unit_test(lines_are_assembled_however_the_pipe_cuts_them),
        cmocka_unit_test(a_stream_that_ends_with_a_line_end_has_no_empty_last_line),
        cmocka_unit_test(a_line_of_exactly_the_bound_is_whole_and_a_longer_one_is_split),
        cmocka_unit_test(assembled_lines_reach_the_log),
    };
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    alarm(WATCHDOG_S); /* a log that waits ends here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
