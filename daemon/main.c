/*
 * Entry of the daemon. One program is both the supervisor and, started again by it with "@io", an I/O process.
 */
#include "config/settings_loader.h"
#include "daemon/base/log.h"
#include "daemon/base/process_title.h"
#include "daemon/io/io_process.h"
#include "daemon/supervisor/handover.h"
#include "daemon/supervisor/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_BAD_SETTINGS = 2 };

/* Settings that do not hold end a start. Where another program's processes serve, they go on without it. */
static int fail_settings(const struct settings_outcome *outcome, struct handover *handed, int argc, char **argv)
{
    fprintf(stderr, "%s%s\n", log_journal_prefix(LOG_LEVEL_CRITICAL, STDERR_FILENO), outcome->message);
    if (handed != NULL && handed->is_trial == 0)
        return supervisor_keep(handed, argc, argv);
    handover_destroy(handed);
    return EXIT_BAD_SETTINGS;
}

static int run_supervisor(struct handover *handed, int argc, char **argv)
{
    struct settings settings = {};
    struct settings_outcome outcome = {};
    int status = EXIT_SUCCESS;

    switch (settings_load(argc, argv, &settings, &outcome)) {
    case SETTINGS_RUN:
        status = supervisor_run(&settings, &outcome, handed, argc, argv);
        break;
    case SETTINGS_PRINTED:
        handover_destroy(handed);
        break;
    case SETTINGS_FAILED:
        status = fail_settings(&outcome, handed, argc, argv);
        break;
    }
    settings_outcome_deinit(&outcome);
    return status;
}

/* Before anything else: what a program before this one left open is nothing for the processes that read settings. */
static int find_handover(struct handover **ret_handed)
{
    int r = handover_take(ret_handed);
    if (r < 0)
        fprintf(stderr, "%sthe program before this one has left something that this one does not understand: %s\n",
                log_journal_prefix(LOG_LEVEL_CRITICAL, STDERR_FILENO), strerror(-r));
    return r;
}

/* Said while the running program only tries this one: afterwards it would be too late. */
static int check_format(void)
{
    int r = handover_check_format();
    if (r < 0)
        fprintf(stderr,
                "%suroboros %s cannot take over from the running program, which leaves its sockets and processes in "
                "another format: restart the server\n",
                log_journal_prefix(LOG_LEVEL_CRITICAL, STDERR_FILENO), UROBOROS_VERSION);
    return r;
}

/* The process title takes the place of the arguments, which a reload reads again. */
static char **copy_arguments(int argc, char **argv)
{
    char **copy = calloc((size_t)argc + 1, sizeof *copy);
    for (int i = 0; copy != NULL && i < argc; i++) {
        copy[i] = strdup(argv[i]);
        if (copy[i] == NULL)
            return NULL;
    }
    return copy;
}

static void free_arguments(int argc, char **arguments)
{
    for (int i = 0; i < argc; i++)
        free(arguments[i]);
    free(arguments);
}

int main(int argc, char **argv)
{
    process_title_make_room();
    if (argc == 2 && strcmp(argv[1], "@io") == 0)
        return io_process_main();

    struct handover *handed;
    if (check_format() < 0 || find_handover(&handed) < 0)
        return EXIT_FAILURE;
    char **arguments = copy_arguments(argc, argv);
    if (arguments == NULL)
        return EXIT_FAILURE;
    int status = run_supervisor(handed, argc, arguments);
    free_arguments(argc, arguments);
    return status;
}
