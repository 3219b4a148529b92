#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/io/tls_signers.h"
#include <cmocka.h>

#include <dirent.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static cpu_set_t only(int cpu)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET((unsigned)cpu, &cpus);
    return cpus;
}

static int usable_cpu(const cpu_set_t *cpus, int which)
{
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((unsigned)cpu, cpus) && which-- == 0)
            return cpu;
    return -1;
}

/* Whether every thread of this process but the calling one may use `wanted` and nothing else. */
static bool other_threads_have(const cpu_set_t *wanted)
{
    uint32_t right = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL)
        return false;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        cpu_set_t cpus;
        pid_t thread = (pid_t)atoi(entry->d_name);
        if (thread > 0 && thread != gettid() && sched_getaffinity(thread, sizeof cpus, &cpus) == 0)
            right += CPU_EQUAL(&cpus, wanted) != 0;
    }
    closedir(tasks);
    return right >= TLS_SIGNERS;
}

/* In the part of an I/O process, which is a child: pinned to `own`, of a supervisor that has `wanted`. */
static int play_io_process(const cpu_set_t *own, const cpu_set_t *wanted)
{
    struct tls_signers *signers;
    if (sched_setaffinity(0, sizeof *own, own) < 0 || tls_signers_create(&signers) < 0)
        return 2;
    bool right = other_threads_have(wanted);
    tls_signers_destroy(signers);
    return right ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void assert_signers_get(const cpu_set_t *own, const cpu_set_t *wanted)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(play_io_process(own, wanted));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_SUCCESS);
}

static void signers_leave_the_cpu_that_their_loop_is_pinned_to([[maybe_unused]] void **state)
{
    cpu_set_t given;
    assert_int_equal(sched_getaffinity(0, sizeof given, &given), 0);
    const cpu_set_t own = only(usable_cpu(&given, 0));
    assert_signers_get(&own, &given);
}

static void signers_stay_on_the_cpus_that_the_server_was_given([[maybe_unused]] void **state)
{
    cpu_set_t before;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    const cpu_set_t given = only(usable_cpu(&before, 0));
    assert_int_equal(sched_setaffinity(0, sizeof given, &given), 0);
    assert_signers_get(&given, &given);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signers_leave_the_cpu_that_their_loop_is_pinned_to),
        cmocka_unit_test(signers_stay_on_the_cpus_that_the_server_was_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
