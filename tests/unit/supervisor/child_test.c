#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/owned.h"
#include "daemon/supervisor/child.h"
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { OUTPUT_BYTES = 4'096 };

struct fixture {
    struct event_loop loop;
    struct child child;
    bool ended;
    int output[2];
    char directory[64];
    char why[CHILD_TEXT_BYTES];
};

static void note_end(struct event_watch *watch)
{
    struct fixture *fixture = watch->owner;
    fixture->ended = true;
    event_loop_unwatch(&fixture->loop, watch);
}

static void ignore(struct event_watch *watch)
{
    struct fixture *fixture = watch->owner;
    child_end_control(&fixture->child, &fixture->loop);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    assert_int_equal(event_loop_init(&fixture->loop), 0);
    assert_int_equal(pipe2(fixture->output, O_CLOEXEC), 0);
    strcpy(fixture->directory, "/tmp/uroboros-child-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    fixture->child.exit = (struct event_watch){.fd = -1, .on_event = note_end, .owner = fixture};
    fixture->child.control = (struct event_watch){.fd = -1, .on_event = ignore, .owner = fixture};
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[128];
    if (child_lives(&fixture->child)) {
        child_kill(&fixture->child, SIGKILL);
        (void)child_bury(&fixture->child, &fixture->loop);
    }
    event_loop_deinit(&fixture->loop);
    fd_drop(&fixture->output[0]);
    fd_drop(&fixture->output[1]);
    snprintf(command, sizeof command, "rm -rf %s", fixture->directory);
    assert_int_equal(system(command), 0);
    free(fixture);
    return 0;
}

static int spawn(struct fixture *fixture, const char *path, const char *script, struct child_launch launch)
{
    char *const argv[] = {(char *)(uintptr_t)path, (char[]){"-c"}, (char *)(uintptr_t)script, NULL};
    char *const envp[] = {(char[]){"PATH=/usr/bin:/bin"}, (char[]){"MARK=yes"}, NULL};
    launch.path = path;
    launch.argv = argv;
    launch.envp = envp;
    launch.output[0] = launch.output[1] = fixture->output[1];
    return child_spawn(&fixture->child, &fixture->loop, &launch, fixture->why);
}

static int run_to_end(struct fixture *fixture)
{
    while (!fixture->ended)
        assert_int_equal(event_loop_turn(&fixture->loop), 0);
    return child_bury(&fixture->child, &fixture->loop);
}

static void read_output(struct fixture *fixture, char text[OUTPUT_BYTES])
{
    size_t used = 0;
    ssize_t length;
    fd_drop(&fixture->output[1]);
    while ((length = read(fixture->output[0], text + used, OUTPUT_BYTES - 1 - used)) > 0)
        used += (size_t)length;
    text[used] = '\0';
}

static void assert_shell_says(struct fixture *fixture, const char *script, struct child_launch launch,
                              const char *expected)
{
    char text[OUTPUT_BYTES];
    assert_int_equal(spawn(fixture, "/bin/sh", script, launch), 0);
    assert_int_equal(run_to_end(fixture), 0);
    read_output(fixture, text);
    assert_string_equal(text, expected);
}

static void a_child_has_four_descriptors_and_no_more(void **state)
{
    int extra = open("/dev/null", O_RDONLY); /* inheritable on purpose */
    assert_true(extra >= 0);
    assert_shell_says(*state, "ls /proc/$$/fd", (struct child_launch){}, "0\n1\n2\n3\n");
    close(extra);
}

static void a_child_may_keep_one_more_under_its_number(void **state)
{
    OWNED_FD null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    OWNED_FD kept = fcntl(null, F_DUPFD_CLOEXEC, 77);
    assert_int_equal(kept, 77);
    assert_shell_says(*state, "ls /proc/$$/fd", (struct child_launch){.kept = kept}, "0\n1\n2\n3\n77\n");
    assert_int_equal(fcntl(kept, F_GETFD), FD_CLOEXEC); /* and the next child does not */
}

static void a_child_has_exactly_the_environment_it_is_given(void **state)
{
    assert_shell_says(*state, "echo $MARK:$HOME:$USER", (struct child_launch){}, "yes::\n");
}

static void a_child_starts_in_its_directory(void **state)
{
    assert_shell_says(*state, "pwd", (struct child_launch){.directory = "/usr"}, "/usr\n");
}

/* HUP, INT and QUIT are 7 of the mask of ignored signals; nothing is blocked. */
static void a_child_ignores_what_a_terminal_sends_and_blocks_nothing(void **state)
{
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &before);
    assert_shell_says(*state, "grep -E 'SigIgn|SigBlk' /proc/self/status", (struct child_launch){},
                      "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000007\n");
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static void an_app_child_gets_a_filter_and_no_new_privileges(void **state)
{
    assert_shell_says(*state, "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status",
                      (struct child_launch){.deny_io_uring = true}, "NoNewPrivs:\t1\nSeccomp:\t2\n");
}

static void a_child_becomes_its_user_with_no_group_of_ours(void **state)
{
    struct sandbox_ids ids;
    if (geteuid() != 0)
        skip();
    assert_int_equal(sandbox_resolve_ids("65534", "65534", false, &ids), 0);
    assert_shell_says(*state, "id -u; id -g; id -G", (struct child_launch){.ids = &ids}, "65534\n65534\n65534\n");
}

static void messages_reach_the_child_on_its_channel(void **state)
{
    struct fixture *fixture = *state;
    char text[OUTPUT_BYTES];
    assert_int_equal(spawn(fixture, "/bin/sh", "head -c 9 <&3 | tail -c 5", (struct child_launch){}), 0);
    child_send(&fixture->child, CONTROL_STOP, "hello", 5, NULL, 0);
    assert_int_equal(run_to_end(fixture), 0);
    read_output(fixture, text);
    assert_string_equal(text, "hello");
}

static void a_child_that_reads_no_messages_is_killed(void **state)
{
    struct fixture *fixture = *state;
    char payload[2048] = "";
    char end[CHILD_TEXT_BYTES];
    assert_int_equal(spawn(fixture, "/bin/sh", "exec sleep 60", (struct child_launch){}), 0);
    for (int i = 0; i < 10'000 && !fixture->child.deaf; i++)
        child_send(&fixture->child, CONTROL_LOG, payload, sizeof payload, NULL, 0);
    int status = run_to_end(fixture);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    child_describe_end(status, end);
    assert_string_equal(end, "was killed by signal 9 (Killed)");
}

static void an_exit_status_is_told_in_words(void **state)
{
    struct fixture *fixture = *state;
    char end[CHILD_TEXT_BYTES];
    assert_int_equal(spawn(fixture, "/bin/sh", "exit 3", (struct child_launch){}), 0);
    child_describe_end(run_to_end(fixture), end);
    assert_string_equal(end, "exited with status 3");
}

/* Why a program cannot be started --------------------------------------------------------------------------- */

static void assert_refused(struct fixture *fixture, const char *path, struct child_launch launch, const char *expected)
{
    assert_int_equal(spawn(fixture, path, "true", launch), -ENOEXEC);
    if (strstr(fixture->why, expected) == NULL)
        fail_msg("'%s' does not say '%s'", fixture->why, expected);
    assert_false(child_lives(&fixture->child));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static const char *path_in(const struct fixture *fixture, const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", fixture->directory, name);
    return path;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    OWNED_FD fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
}

static void a_missing_program_is_said_to_be_missing(void **state)
{
    char path[128];
    assert_refused(*state, path_in(*state, "python", path), (struct child_launch){}, "python is not there");
}

static void a_broken_link_is_named_with_its_target(void **state)
{
    char path[128];
    assert_int_equal(symlink("/removed/python3.9", path_in(*state, "python", path)), 0);
    assert_refused(*state, path, (struct child_launch){},
                   "is a broken link: it leads to /removed/python3.9, which is not there");
}

static void a_script_whose_interpreter_is_gone_is_told_apart(void **state)
{
    char path[128];
    write_file(path_in(*state, "python", path), "#!/removed/interpreter\n", 0755);
    assert_refused(*state, path, (struct child_launch){}, "an interpreter in its first line that is not there");
}

static void a_file_that_may_not_be_executed_is_said_to_be_so(void **state)
{
    char path[128];
    write_file(path_in(*state, "python", path), "#!/bin/sh\n", 0644);
    assert_refused(*state, path, (struct child_launch){}, "is not executable for uid");
}

static void a_program_of_another_machine_is_told_apart(void **state)
{
    char path[128];
    write_file(path_in(*state, "python", path), "\177ELF nothing", 0755);
    assert_refused(*state, path, (struct child_launch){}, "is no program for this machine");
}

static void a_directory_that_the_user_may_not_search_is_named(void **state)
{
    struct fixture *fixture = *state;
    struct sandbox_ids ids;
    char path[128], expected[256];
    if (geteuid() != 0)
        skip();
    assert_int_equal(sandbox_resolve_ids("65534", "65534", false, &ids), 0);
    write_file(path_in(fixture, "python", path), "#!/bin/sh\n", 0755);
    assert_int_equal(chmod(fixture->directory, 0700), 0);
    snprintf(expected, sizeof expected, "uid 65534 may not search the directory %s", fixture->directory);
    assert_refused(fixture, path, (struct child_launch){.ids = &ids}, expected);
}

static void a_directory_to_start_in_that_is_missing_is_reported(void **state)
{
    assert_refused(*state, "/bin/sh", (struct child_launch){.directory = "/nowhere"}, "cannot enter its directory");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_child_has_four_descriptors_and_no_more),
        TEST(a_child_may_keep_one_more_under_its_number),
        TEST(a_child_has_exactly_the_environment_it_is_given),
        TEST(a_child_starts_in_its_directory),
        TEST(a_child_ignores_what_a_terminal_sends_and_blocks_nothing),
        TEST(an_app_child_gets_a_filter_and_no_new_privileges),
        TEST(a_child_becomes_its_user_with_no_group_of_ours),
        TEST(messages_reach_the_child_on_its_channel),
        TEST(a_child_that_reads_no_messages_is_killed),
        TEST(an_exit_status_is_told_in_words),
        TEST(a_missing_program_is_said_to_be_missing),
        TEST(a_broken_link_is_named_with_its_target),
        TEST(a_script_whose_interpreter_is_gone_is_told_apart),
        TEST(a_file_that_may_not_be_executed_is_said_to_be_so),
        TEST(a_program_of_another_machine_is_told_apart),
        TEST(a_directory_that_the_user_may_not_search_is_named),
        TEST(a_directory_to_start_in_that_is_missing_is_reported),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
