#include "config/file_reader.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/owned.h"
#include "daemon/base/sandbox.h"

/* The program of the child, part of the binary: a daemon that moved still reads its settings. */
__asm__(".pushsection .rodata\n"
        "read_file_script:\n"
        ".incbin \"config/read_file.py\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char read_file_script[];

enum { TABLES_BYTES = 512, READ_BYTES = 64 * 1024, RECORD_STRINGS_MAX = 65'536 };

extern char **environ;

struct reader {
    const struct settings_file *file;
    struct settings_arena *arena;
    struct assignment_list *list;
    struct string_list *environ;
    struct string_list *warnings;
    char *message;
};

struct answer {
    char *octets;
    size_t length;
};

/* One record of the answer; the strings are in the arena. */
struct record {
    char letter;
    struct string_list strings;
};

[[gnu::format(printf, 2, 3)]] static int complain(struct reader *reader, const char *format, ...)
{
    struct assignment_place place = {.source = reader->file->shown};
    char text[SETTINGS_MESSAGE_BYTES];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return place_complain(&place, reader->message, "%s", text);
}

/* Names of the settings that take a table, so that the child does not flatten them. */
static void table_names(char names[TABLES_BYTES])
{
    size_t used = 0;

    names[0] = '\0';
    for (size_t i = 0; i < setting_count(); i++) {
        if (setting_at(i)->type != SETTING_PAIRS)
            continue;
        int length = snprintf(names + used, TABLES_BYTES - used, "%s%s", used > 0 ? "," : "", setting_at(i)->name);
        used += (size_t)length;
        assert(used < TABLES_BYTES);
    }
}

static const char *kind_name(enum settings_file_kind kind)
{
    static const char *const names[] = {"toml", "python", "module"};

    return names[kind];
}

/* Between fork and exec ---------------------------------------------------------------------------------------- */

/* The supervisor's blocked and ignored signals are its own affair. */
static void reset_signals(void)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int number = 1; number < SIGRTMAX; number++)
        sigaction(number, &plain, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * What a file prints goes to standard error, since --print-config promises TOML on the other. The child keeps
 * `answer_fd` under its number: closing on exec is undone for this one descriptor.
 */
static int arrange(const struct settings_file *file, int answer_fd, pid_t parent)
{
    OWNED_FD null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    reset_signals();
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ||
        fcntl(answer_fd, F_SETFD, 0) < 0 || chdir(file->directory) < 0)
        return -errno;
    /* A start that is ended meanwhile leaves nobody behind who has no clock. */
    return sandbox_follow_parent(parent, SIGKILL);
}

static int execute(const struct settings_file *file, int answer_fd)
{
    char number[16], tables[TABLES_BYTES];

    table_names(tables);
    snprintf(number, sizeof(number), "%d", answer_fd);
    /* TOML is not Python: a types.py that lies beside the file, or a PYTHONPATH, has no business there. */
    const char *script_follows = file->kind == SETTINGS_FILE_TOML ? "-ISc" : "-c";
    const char *arguments[] = {file->interpreter, script_follows, read_file_script, kind_name(file->kind),
                               file->name,        number,         tables,           NULL};
    execve(file->interpreter, (char *const *)arguments, environ);
    return -errno;
}

_Noreturn static void become_reader(const struct settings_file *file, int answer_fd, int failure_fd, pid_t parent)
{
    int result = arrange(file, answer_fd, parent);
    if (result == 0)
        result = execute(file, answer_fd);
    /* Nobody listens when the parent is gone. */
    [[maybe_unused]] ssize_t told = write(failure_fd, &result, sizeof(result));
    _exit(EXIT_FAILURE);
}

static int reap(pid_t pid, bool kill_first)
{
    int status = 0;

    if (kill_first)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* Returns when the interpreter runs, or has been found not to. */
static int spawn(const struct settings_file *file, int answer_fd, pid_t *ret_pid)
{
    int ends[2], failure = 0;
    pid_t parent = getpid();

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    OWNED_FD from_child = ends[0];
    OWNED_FD to_parent = ends[1];
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        become_reader(file, answer_fd, to_parent, parent);
    fd_drop(&to_parent);
    while (read(from_child, &failure, sizeof(failure)) < 0 && errno == EINTR)
        ;
    if (failure < 0)
        reap(pid, false);
    else
        *ret_pid = pid;
    return failure;
}

/* The answer ----------------------------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

/* Reads what there is. 0 at the end of the answer, 1 while there may be more. */
static int take_answer(struct answer *answer, int fd)
{
    if (answer->length + READ_BYTES > FILE_READER_BYTES_MAX)
        return -E2BIG;
    ssize_t got = read(fd, answer->octets + answer->length, READ_BYTES);
    if (got < 0)
        return errno == EINTR ? 1 : -errno;
    answer->length += (size_t)got;
    return got > 0;
}

/* Until the answer has ended and the child too: one that closes the descriptor and stays is not waited for longer. */
static int collect(struct answer *answer, int fd, int pid_fd, int timeout_ms)
{
    struct pollfd waits[] = {{.fd = fd, .events = POLLIN}, {.fd = pid_fd, .events = POLLIN}};
    int64_t deadline = now_ms() + timeout_ms;

    while (waits[0].fd >= 0 || waits[1].fd >= 0) {
        int64_t left = deadline - now_ms();
        int ready = left <= 0 ? 0 : poll(waits, 2, (int)left);
        if (ready == 0)
            return -ETIMEDOUT;
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (ready > 0 && waits[0].revents != 0) {
            int more = take_answer(answer, fd);
            if (more < 0)
                return more;
            waits[0].fd = more > 0 ? fd : -1;
        } else if (ready > 0 && waits[1].revents != 0) {
            waits[1].fd = -1;
        }
    }
    return 0;
}

static int explain_failure(struct reader *reader, int result)
{
    switch (result) {
    case -ETIMEDOUT:
        return complain(reader, "not read within %d ms; does it wait for something?", reader->file->timeout_ms);
    case -E2BIG:
        return complain(reader, "its settings are larger than %d KiB", FILE_READER_BYTES_MAX / 1024);
    default:
        return complain(reader, "cannot be read by %s: %s", reader->file->interpreter, strerror(-result));
    }
}

static int explain_status(struct reader *reader, int status)
{
    if (WIFSIGNALED(status))
        return complain(reader, "%s was killed by signal %d while it read the file", reader->file->interpreter,
                        WTERMSIG(status));
    return complain(reader, "%s ended with status %d before it had read the file", reader->file->interpreter,
                    WEXITSTATUS(status));
}

static int run_child(struct reader *reader, struct answer *answer)
{
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return explain_failure(reader, -errno);
    OWNED_FD from_child = ends[0];
    OWNED_FD to_parent = ends[1];
    int result = spawn(reader->file, to_parent, &pid);
    if (result < 0)
        return explain_failure(reader, result);
    fd_drop(&to_parent);
    OWNED_FD pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    result = pid_fd < 0 ? -errno : collect(answer, from_child, pid_fd, reader->file->timeout_ms);
    int status = reap(pid, result < 0);
    if (result < 0)
        return explain_failure(reader, result);
    return status == 0 ? 0 : explain_status(reader, status);
}

static bool take_u32(struct answer *rest, uint32_t *ret_number)
{
    const uint8_t *octets = (const uint8_t *)rest->octets;

    if (rest->length < 4)
        return false;
    *ret_number =
        (uint32_t)octets[0] | (uint32_t)octets[1] << 8 | (uint32_t)octets[2] << 16 | (uint32_t)octets[3] << 24;
    rest->octets += 4;
    rest->length -= 4;
    return true;
}

/* -EBADMSG: not a record. A string with a NUL would end early in C, so the value of it can only be refused. */
static int take_string(struct reader *reader, struct answer *rest, struct string_list *strings)
{
    uint32_t length;

    if (!take_u32(rest, &length) || length > rest->length)
        return -EBADMSG;
    if (memchr(rest->octets, '\0', length) != NULL)
        return -EILSEQ;
    char *copy = settings_arena_copy(reader->arena, rest->octets, length);
    if (copy == NULL)
        return -ENOMEM;
    rest->octets += length;
    rest->length -= length;
    return string_list_add(reader->arena, strings, copy);
}

static int take_record(struct reader *reader, struct answer *rest, struct record *ret_record)
{
    struct record record = {};
    uint32_t count;

    if (rest->length == 0)
        return -ENODATA;
    record.letter = *rest->octets++;
    rest->length--;
    if (!take_u32(rest, &count) || count > RECORD_STRINGS_MAX)
        return -EBADMSG;
    for (uint32_t i = 0; i < count; i++) {
        int result = take_string(reader, rest, &record.strings);
        if (result < 0)
            return result;
    }
    *ret_record = record;
    return 0;
}

static bool raw_kind_of(char letter, enum raw_kind *ret_kind)
{
    static const struct {
        char letter;
        enum raw_kind kind;
    } rows[] = {{'s', RAW_TEXT},  {'n', RAW_NUMBER}, {'b', RAW_BOOL},     {'0', RAW_NONE}, {'l', RAW_LIST},
                {'d', RAW_PAIRS}, {'t', RAW_TABLES}, {'c', RAW_CALLABLE}, {'o', RAW_OTHER}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].letter == letter) {
            *ret_kind = rows[i].kind;
            return true;
        }
    return false;
}

/* A Python file has names of its own, which Gunicorn ignores; only one that nearly is a setting is worth a word. */
static int meet_unknown(struct reader *reader, const struct assignment *assignment)
{
    const char *name = assignment->place.key;
    const struct setting *nearest = setting_nearest(name);
    bool plain = assignment->raw.kind != RAW_CALLABLE && assignment->raw.kind != RAW_OTHER && strlen(name) > 4;

    if (reader->file->kind == SETTINGS_FILE_TOML)
        return place_complain(&assignment->place, reader->message, "unknown setting \"%s\"%s%s%s", name,
                              nearest != NULL ? "; the nearest is \"" : "", nearest != NULL ? nearest->name : "",
                              nearest != NULL ? "\"" : "");
    if (nearest == NULL || !plain)
        return 0;
    char *warning = settings_arena_print(reader->arena, "%s, line %ld: \"%s\" is not a setting; is \"%s\" meant?",
                                         reader->file->shown, (long)assignment->place.line, name, nearest->name);
    return warning == NULL ? -ENOMEM : string_list_add(reader->arena, reader->warnings, warning);
}

/* `config` would name the file itself; in a Python file it is a likely name for something else, and passed over. */
static int take_assignment(struct reader *reader, const struct assignment *assignment)
{
    if (strcmp(assignment->setting->name, "config") != 0)
        return assignment_add(reader->arena, reader->list, assignment);
    if (reader->file->kind != SETTINGS_FILE_TOML)
        return 0;
    return place_complain(&assignment->place, reader->message, "a settings file cannot name another one");
}

static bool has_one_item(enum raw_kind kind)
{
    return kind != RAW_LIST && kind != RAW_PAIRS && kind != RAW_TABLES && kind != RAW_NONE;
}

/* V: name, line, kind, items. The item of a callable is its line. */
static int take_value(struct reader *reader, const struct record *record)
{
    char **strings = record->strings.items;
    struct assignment assignment = {.place.source = reader->file->shown};

    if (record->strings.count < 3 || !raw_kind_of(strings[2][0], &assignment.raw.kind))
        return -EBADMSG;
    assignment.place.key = strings[0];
    assignment.place.line = strtol(strings[1], NULL, 10);
    assignment.setting = setting_find(strings[0]);
    assignment.raw.items = (struct string_list){record->strings.count - 3, strings + 3};
    if (assignment.raw.kind == RAW_CALLABLE)
        assignment.raw.items = (struct string_list){1, strings + 1};
    else if (has_one_item(assignment.raw.kind) && assignment.raw.items.count != 1)
        return -EBADMSG;
    if (assignment.setting == NULL)
        return meet_unknown(reader, &assignment);
    return take_assignment(reader, &assignment);
}

static int take_variable(struct reader *reader, const struct record *record)
{
    const struct string_list *strings = &record->strings;
    char *item;

    if (strings->count != (record->letter == 'S' ? 2 : 1))
        return -EBADMSG;
    item = strings->items[0];
    if (record->letter == 'S')
        item = settings_arena_print(reader->arena, "%s=%s", strings->items[0], strings->items[1]);
    return item == NULL ? -ENOMEM : string_list_add(reader->arena, reader->environ, item);
}

static int take_error(struct reader *reader, const struct record *record)
{
    struct assignment_place place = {.source = reader->file->shown};

    if (record->strings.count != 2)
        return -EBADMSG;
    place.line = strtol(record->strings.items[0], NULL, 10);
    return place_complain(&place, reader->message, "%s", record->strings.items[1]);
}

/* 1: the last record of a good answer. */
static int act_on(struct reader *reader, const struct record *record)
{
    switch (record->letter) {
    case 'V':
        return take_value(reader, record);
    case 'S':
    case 'U':
        return take_variable(reader, record);
    case 'E':
        return take_error(reader, record);
    case '.':
        return 1;
    default:
        return -EBADMSG;
    }
}

static int take_records(struct reader *reader, struct answer rest)
{
    for (;;) {
        struct record record;
        int result = take_record(reader, &rest, &record);
        if (result == 0)
            result = act_on(reader, &record);
        if (result == -EILSEQ)
            return complain(reader, "a value has a NUL character in it");
        if (result == -ENODATA)
            return complain(reader, "the program ended before its settings were read");
        if (result == -EBADMSG)
            return complain(reader, "%s did not answer as it should", reader->file->interpreter);
        if (result != 0)
            return result > 0 ? 0 : result;
    }
}

int file_reader_read(const struct settings_file *file, struct settings_arena *arena, struct assignment_list *ret_list,
                     struct string_list *environ_changes, struct string_list *warnings,
                     char message[SETTINGS_MESSAGE_BYTES])
{
    struct reader reader = {file, arena, ret_list, environ_changes, warnings, message};
    OWNED_MEMORY char *octets = malloc(FILE_READER_BYTES_MAX);
    struct answer answer = {.octets = octets};

    if (octets == NULL)
        return -ENOMEM;
    int result = run_child(&reader, &answer);
    return result < 0 ? result : take_records(&reader, answer);
}
