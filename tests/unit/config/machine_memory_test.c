#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/machine_memory.h"

static char root[] = "/tmp/machine-memory-XXXXXX";

static void write_limit(const char *group, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s%s/memory.max", root, group);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void make_group(const char *group)
{
    char path[256];
    snprintf(path, sizeof path, "%s%s", root, group);
    assert_int_equal(mkdir(path, 0700), 0);
}

static int make_tree(void **state)
{
    (void)state;
    if (mkdtemp(root) == NULL)
        return -1;
    make_group("/system.slice");
    make_group("/system.slice/app.service");
    return 0;
}

static int remove_tree(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"/system.slice/app.service/memory.max",
                                        "/system.slice/app.service",
                                        "/system.slice/memory.max",
                                        "/system.slice",
                                        "/memory.max",
                                        ""};
    char path[256];
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        snprintf(path, sizeof path, "%s%s", root, NAMES[i]);
        remove(path);
    }
    return 0;
}

static void the_least_limit_on_the_way_up_counts(void **state)
{
    (void)state;
    write_limit("/system.slice/app.service", "max\n");
    write_limit("/system.slice", "134217728\n");
    write_limit("", "268435456\n");
    assert_int_equal(machine_memory_group_limit(root, "0::/system.slice/app.service\n"), 134'217'728);
    write_limit("/system.slice/app.service", "67108864\n");
    assert_int_equal(machine_memory_group_limit(root, "0::/system.slice/app.service\n"), 67'108'864);
    assert_int_equal(machine_memory_group_limit(root, "0::/\n"), 268'435'456);
}

static void lines_of_version_1_are_passed_over(void **state)
{
    (void)state;
    write_limit("", "268435456\n");
    assert_int_equal(machine_memory_group_limit(root, "9:memory:/other\n0::/\n"), 268'435'456);
    assert_int_equal(machine_memory_group_limit(root, "9:memory:/\n"), UINT64_MAX);
}

static void what_cannot_be_read_is_no_limit(void **state)
{
    (void)state;
    assert_int_equal(machine_memory_group_limit("/nonexistent", "0::/system.slice\n"), UINT64_MAX);
    assert_int_equal(machine_memory_group_limit(root, ""), UINT64_MAX);
}

static void there_is_some_memory_here(void **state)
{
    (void)state;
    assert_true(machine_memory_bytes() > 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_limit_on_the_way_up_counts),
        cmocka_unit_test(lines_of_version_1_are_passed_over),
        cmocka_unit_test(what_cannot_be_read_is_no_limit),
        cmocka_unit_test(there_is_some_memory_here),
    };
    return cmocka_run_group_tests(tests, make_tree, remove_tree);
}
