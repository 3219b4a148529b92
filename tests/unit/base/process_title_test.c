#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/process_title.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Each attempt runs in a child of its own: a title is for the whole process. 0 means that all was as it should. */
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

static int read_title(char title[512])
{
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    ssize_t length = read(fd, title, 511);
    CHECK(length >= 0);
    title[length] = '\0';
    close(fd);
    return 0;
}

static int take_a_title(void)
{
    char title[512], name[16];
    setenv("TITLE_TEST", "kept", 1);
    process_title_make_room();
    process_title_set("uroboros: %s [%s]", "supervisor", "an application of some length");
    CHECK(read_title(title) == 0);
    CHECK(strcmp(title, "uroboros: supervisor [an application of some length]") == 0);
    CHECK(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "uro supervisor") == 0);
    CHECK(strcmp(getenv("TITLE_TEST"), "kept") == 0);
    CHECK(getenv("PATH") != NULL && getenv("PATH")[0] == '/');
    return 0;
}

static int take_titles_without_room(void)
{
    char title[512];
    process_title_set("app 1");
    CHECK(read_title(title) == 0);
    CHECK(strcmp(title, "app 1") == 0);
    CHECK(getenv("PATH") != NULL && getenv("PATH")[0] == '/');
    return 0;
}

static void a_title_replaces_the_command_line_and_spares_the_environment([[maybe_unused]] void **state)
{
    assert_int_equal(in_child(take_a_title), 0);
    assert_int_equal(in_child(take_titles_without_room), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_title_replaces_the_command_line_and_spares_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
