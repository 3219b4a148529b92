#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/sandbox.h"
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Each attempt runs in a child of its own: what a sandbox takes never comes back. 0 means that all was as it should. */
static int in_child(int (*attempt)(void))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(attempt());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return 1000 + WTERMSIG(status);
    return WEXITSTATUS(status);
}

/* The line of the check that failed; an exit status has eight bits, and these files are longer only in theory. */
#define CHECK(condition)               \
    do {                               \
        if (!(condition))              \
            return __LINE__ % 255 + 1; \
    } while (0)

static bool denied(long result)
{
    return result == -1 && errno == EPERM;
}

/* App processes ---------------------------------------------------------------------------------------------- */

static int make_ring_as_app(void)
{
    struct io_uring_params params = {};
    CHECK(sandbox_lock_app() == 0);
    CHECK(denied(syscall(SYS_io_uring_setup, 8, &params)));
    CHECK(denied(syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0)));
    CHECK(denied(syscall(SYS_io_uring_register, -1, 0, NULL, 0)));
    return 0;
}

static int live_as_app(void)
{
    CHECK(sandbox_lock_app() == 0);
    CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/true", "true", NULL);
        _exit(1);
    }
    int status = 1;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    return 0;
}

#if defined(__x86_64__)
/* The same calls by their x32 numbers. */
static int make_ring_through_x32(void)
{
    CHECK(sandbox_lock_app() == 0);
    CHECK(denied(syscall(SYS_io_uring_setup | 0x40000000, 8, NULL)));
    return 0;
}
#endif

/* As systemd starts the daemon: not root, and able to bind low ports over every execve(). */
static int hand_on_a_capability(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    CHECK(syscall(SYS_capget, &header, sets) == 0);
    sets[0].inheritable = 1U << CAP_NET_BIND_SERVICE;
    CHECK(syscall(SYS_capset, &header, sets) == 0);
    CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) == 0);
    CHECK(sandbox_lock_app() == 0);
    CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0) == 0);
    return 0;
}

static void an_app_process_inherits_no_capability([[maybe_unused]] void **state)
{
    if (prctl(PR_CAPBSET_READ, CAP_NET_BIND_SERVICE) != 1 || geteuid() != 0)
        skip();
    assert_int_equal(in_child(hand_on_a_capability), 0);
}

static void an_app_process_gets_no_ring([[maybe_unused]] void **state)
{
    assert_int_equal(in_child(make_ring_as_app), 0);
#if defined(__x86_64__)
    assert_int_equal(in_child(make_ring_through_x32), 0);
#endif
}

static void an_app_process_may_do_all_else([[maybe_unused]] void **state)
{
    assert_int_equal(in_child(live_as_app), 0);
}

/* I/O processes ---------------------------------------------------------------------------------------------- */

static int reach_out_as_io(void)
{
    CHECK(sandbox_lock_io() == 0);
    CHECK(denied(open("/dev/null", O_RDONLY | O_CLOEXEC)));
    CHECK(denied(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY)));
    CHECK(denied(socket(AF_INET, SOCK_STREAM, 0)));
    CHECK(denied(connect(0, NULL, 0)));
    CHECK(denied(execl("/bin/true", "true", NULL)));
    CHECK(denied(fork()));
    CHECK(denied(unlink("/tmp/nothing")));
    CHECK(denied(kill(getppid(), 0)));
    CHECK(denied(syscall(SYS_ptrace, 0, 0, 0, 0)));
    CHECK(denied(syscall(SYS_io_uring_setup, 8, NULL)));
    CHECK(denied(setuid(0)));
    CHECK(denied(memfd_create("x", 0)));
    return 0;
}

static int look_at_locks_of_io(void)
{
    CHECK(sandbox_lock_io() == 0);
    /* prctl() itself is off the list; /proc was opened before. */
    CHECK(denied(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)));
    return 0;
}

static int work_as_io(void)
{
    struct timespec now;
    int pair[2];
    char octet = 'x';
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    int file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    CHECK(sandbox_lock_io() == 0);
    CHECK(write(pair[0], &octet, 1) == 1);
    CHECK(read(pair[1], &octet, 1) == 1);
    struct iovec part = {&octet, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    CHECK(sendmsg(pair[0], &message, MSG_NOSIGNAL) == 1);
    CHECK(recvmsg(pair[1], &message, 0) == 1);
    void *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(madvise(memory, 1 << 20, MADV_DONTNEED) == 0);
    CHECK(munmap(memory, 1 << 20) == 0);
    void *block = malloc(4 << 20);
    CHECK(block != NULL);
    free(block);
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    CHECK(file < 0 || (fallocate(file, 0, 0, 4096) == 0 && pwrite(file, &octet, 1, 0) == 1));
    CHECK(shutdown(pair[0], SHUT_WR) == 0);
    CHECK(close(pair[0]) == 0);
    errno = 0;
    CHECK(getsockname(pair[1], NULL, NULL) < 0 && errno != EPERM);
    return 0;
}

static int abort_as_io(void)
{
    struct rlimit none = {};
    setrlimit(RLIMIT_CORE, &none);
    CHECK(sandbox_lock_io() == 0);
    abort();
}

static void an_io_process_opens_starts_and_connects_nothing([[maybe_unused]] void **state)
{
    if (!sandbox_filters())
        skip();
    assert_int_equal(in_child(reach_out_as_io), 0);
    assert_int_equal(in_child(look_at_locks_of_io), 0);
}

static void an_io_process_goes_on_with_its_work([[maybe_unused]] void **state)
{
    assert_int_equal(in_child(work_as_io), 0);
}

static void a_failed_assertion_of_an_io_process_still_aborts([[maybe_unused]] void **state)
{
    if (!sandbox_filters())
        skip();
    assert_int_equal(in_child(abort_as_io), 1000 + SIGABRT);
}

static int compute_as_signer(void)
{
    int pair[2];
    char octet = 'x';
    CHECK(pipe2(pair, O_CLOEXEC) == 0);
    CHECK(sandbox_lock_signer() == 0);
    CHECK(write(pair[1], &octet, 1) == 1);
    void *block = malloc(4 << 20);
    CHECK(block != NULL);
    free(block);
    CHECK(denied(read(pair[0], &octet, 1)));
    CHECK(denied(open("/dev/null", O_RDONLY | O_CLOEXEC)));
    CHECK(denied(socket(AF_INET, SOCK_STREAM, 0)));
    CHECK(denied(sendto(0, &octet, 1, 0, NULL, 0)));
    CHECK(denied(syscall(SYS_io_uring_enter, 0, 0, 0, 0, NULL)));
    return 0;
}

static void a_signer_computes_and_rings_a_bell([[maybe_unused]] void **state)
{
    if (!sandbox_filters())
        skip();
    assert_int_equal(in_child(compute_as_signer), 0);
}

/* Users ------------------------------------------------------------------------------------------------------ */

static int become_nobody(void)
{
    gid_t groups[4];
    CHECK(sandbox_drop_ids("nobody", NULL, false) == 0);
    CHECK(getuid() == 65534 && geteuid() == 65534);
    CHECK(getgroups(4, groups) == 1 && groups[0] == getgid());
    CHECK(setuid(0) < 0);
    return 0;
}

static int ask_for_root_as_nobody(void)
{
    struct sandbox_ids ids;
    CHECK(sandbox_drop_ids("nobody", NULL, true) == 0);
    CHECK(sandbox_resolve_ids("root", NULL, false, &ids) == -EPERM);
    CHECK(sandbox_resolve_ids("nobody", NULL, false, &ids) == 0 && !ids.changes);
    CHECK(sandbox_become(&ids) == 0);
    return 0;
}

static void dropping_to_a_user_leaves_no_way_back([[maybe_unused]] void **state)
{
    if (geteuid() != 0)
        skip();
    assert_int_equal(in_child(become_nobody), 0);
    assert_int_equal(in_child(ask_for_root_as_nobody), 0);
}

static void names_and_numbers_are_looked_up([[maybe_unused]] void **state)
{
    struct sandbox_ids ids;
    assert_int_equal(sandbox_resolve_ids("no-such-user", NULL, false, &ids), -ENOENT);
    assert_int_equal(sandbox_resolve_ids(NULL, "no-such-group", false, &ids), -ESRCH);
    assert_int_equal(sandbox_resolve_ids(NULL, NULL, false, &ids), 0);
    assert_false(ids.changes);
    if (geteuid() != 0)
        skip();
    assert_int_equal(sandbox_resolve_ids("12345", "23456", false, &ids), 0);
    assert_int_equal(ids.uid, 12345);
    assert_int_equal(ids.gid, 23456);
    assert_string_equal(ids.user, "");
    /* -1 would mean "leave it" to the kernel, and a sign is no number. */
    assert_int_equal(sandbox_resolve_ids("4294967295", NULL, false, &ids), -ENOENT);
    assert_int_equal(sandbox_resolve_ids("-1", NULL, false, &ids), -ENOENT);
}

/* Parents ---------------------------------------------------------------------------------------------------- */

static int orphan_report;

/* The grandchild waits for the signal that its parent's death sends it, and says so. */
static int leave_an_orphan(void)
{
    int ready[2];
    sigset_t set;
    CHECK(pipe(ready) == 0);
    pid_t parent = getpid();
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (fork() == 0) {
        char answer = sandbox_follow_parent(parent, SIGTERM) == 0 ? 'f' : 'x';
        CHECK(write(ready[1], &answer, 1) == 1);
        int number = 0;
        sigwait(&set, &number);
        answer = number == SIGTERM ? 'y' : 'n';
        CHECK(write(orphan_report, &answer, 1) == 1);
        _exit(0);
    }
    char answer = 0;
    CHECK(read(ready[0], &answer, 1) == 1 && answer == 'f');
    return 0;
}

static void a_child_hears_of_its_parents_death([[maybe_unused]] void **state)
{
    int report[2];
    char answer = 0;
    assert_int_equal(pipe(report), 0);
    orphan_report = report[1];
    assert_int_equal(in_child(leave_an_orphan), 0);
    close(report[1]);
    assert_int_equal(read(report[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    close(report[0]);
}

static int follow_a_stranger(void)
{
    CHECK(sandbox_follow_parent(1 + getppid(), SIGTERM) == -ESRCH);
    return 0;
}

static void a_parent_that_is_gone_already_is_noticed([[maybe_unused]] void **state)
{
    assert_int_equal(in_child(follow_a_stranger), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_app_process_gets_no_ring),
        cmocka_unit_test(an_app_process_inherits_no_capability),
        cmocka_unit_test(an_app_process_may_do_all_else),
        cmocka_unit_test(an_io_process_opens_starts_and_connects_nothing),
        cmocka_unit_test(an_io_process_goes_on_with_its_work),
        cmocka_unit_test(a_failed_assertion_of_an_io_process_still_aborts),
        cmocka_unit_test(a_signer_computes_and_rings_a_bell),
        cmocka_unit_test(dropping_to_a_user_leaves_no_way_back),
        cmocka_unit_test(names_and_numbers_are_looked_up),
        cmocka_unit_test(a_child_hears_of_its_parents_death),
        cmocka_unit_test(a_parent_that_is_gone_already_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
