/*
 * Supervisor state: the one struct of the supervisor process, for the files of this room only.
 *
 *   STARTING --> SERVING <--> RELOADING        a reload that a stop overtakes is given up first, also one whose
 *       |           |                          settings are still being read, which happens while SERVING
 *       +-----------+---> DRAINING ---> STOPPING ---> ENDED
 *       +-----------+--------|-------------^            ^
 *                            +--------------------------+   nobody is left
 *
 *   KEEPING    entered from STARTING, left by a stop or by another program: this one was executed in place of another
 *              and cannot start. That one's processes serve on (predecessors.h), and SIGUSR2 or SIGHUP tries again;
 *              when some of them have died it tries by itself as well
 *   DRAINING   the I/O processes finish their requests and end, then the application processes do
 *   STOPPING   everybody exits now, or is killed a second later
 *
 * Handlers of events change what they know of one child and return; what concerns the whole server they leave as a
 * verdict. After each event settle() of supervisor.c carries that out, compares what should be with what is, and
 * starts, retires and ends. So there is one place that decides, and no order of events that it has not seen.
 */
#ifndef DAEMON_SUPERVISOR_SUPERVISOR_STATE_H
#define DAEMON_SUPERVISOR_SUPERVISOR_STATE_H

#include "config/schema.h"
#include "daemon/exchange/layout.h"
#include "daemon/supervisor/app_children.h"
#include "daemon/supervisor/certificate_keeper.h"
#include "daemon/supervisor/event_loop.h"
#include "daemon/supervisor/io_children.h"
#include "daemon/supervisor/listeners.h"
#include "daemon/supervisor/log_files.h"
#include "daemon/supervisor/pairing.h"
#include "daemon/supervisor/predecessors.h"
#include "daemon/supervisor/server_hooks.h"
#include "daemon/supervisor/service_manager.h"
#include "daemon/supervisor/service_status.h"
#include "daemon/supervisor/settings_reader.h"
#include "daemon/supervisor/upgrade.h"
#include "daemon/supervisor/verdict.h"

#include <limits.h>
#include <signal.h>

#define SUPERVISOR_STATES(X) X(STARTING) X(KEEPING) X(SERVING) X(RELOADING) X(DRAINING) X(STOPPING) X(ENDED)

enum supervisor_state {
#define SUPERVISOR_STATE_ENUM(name) SUPERVISOR_##name,
    SUPERVISOR_STATES(SUPERVISOR_STATE_ENUM)
#undef SUPERVISOR_STATE_ENUM
};

enum supervisor_exit {
    SUPERVISOR_EXIT_FAILURE = 1,
    SUPERVISOR_EXIT_WORKER_BOOT = 3, /* an application process could not boot */
    SUPERVISOR_EXIT_APP_LOAD = 4,    /* the application could not be loaded */
};

struct supervisor {
    enum supervisor_state state;
    struct verdict verdict; /* to be carried out when the handler of this event has returned */
    int exit_code;
    int argc;
    char **argv;
    char program[PATH_MAX];   /* as it was named at start: after an upgrade another file is there */
    char directory[PATH_MAX]; /* where the program lies, and its pybridge/ beside it */

    struct settings settings; /* what is served with */
    int settings_fd;          /* the same as the children read it */
    struct settings_reader reader;
    struct settings fresh; /* RELOADING: what the new application processes start with */
    int fresh_fd;
    uint32_t epoch_before; /* and what to go back to if they fail */
    uint32_t wanted_before;
    bool reload_is_due; /* asked for while it was starting */

    struct event_loop loop;
    sigset_t held_signals; /* those that wait for the loop */
    struct event_watch signals;
    struct event_alarm tick;
    struct event_alarm watchdog;
    struct event_alarm stop; /* the end of DRAINING, or of STOPPING */

    struct exchange_shape shape;
    struct listeners listeners;
    struct certificate_keeper certificates;
    struct log_files logs;
    struct sandbox_ids ids;
    struct service_manager manager;
    struct service_status status;
    int launcher; /* whom to report to after going into the background, or -1 */
    bool pid_file_is_ours;

    struct arena load_board; /* uint32_t[LAYOUT_RINGS_MAX][LAYOUT_APPS_MAX], written by the I/O processes */
    struct io_children io;
    struct app_children apps;
    struct server_hooks hooks;
    struct pairing pairing;

    struct handover *handed; /* what a program before this one has left; NULL: it was started like any other */
    struct handover *tried;  /* the same, of one that is still running: this program only tries; NULL: it does not */
    struct predecessors predecessors;
    struct upgrade upgrade;
};

/* What the next application process is started with. */
static inline const struct settings *supervisor_launch_settings(const struct supervisor *supervisor)
{
    return supervisor->state == SUPERVISOR_RELOADING ? &supervisor->fresh : &supervisor->settings;
}

static inline int supervisor_launch_settings_fd(const struct supervisor *supervisor)
{
    return supervisor->state == SUPERVISOR_RELOADING ? supervisor->fresh_fd : supervisor->settings_fd;
}

static inline bool supervisor_is_stopping(const struct supervisor *supervisor)
{
    return supervisor->state >= SUPERVISOR_STOPPING || supervisor->verdict.kind == VERDICT_STOP;
}

static inline bool supervisor_is_ending(const struct supervisor *supervisor)
{
    return supervisor->state >= SUPERVISOR_DRAINING || supervisor_is_stopping(supervisor);
}

/* A start that fails ends the server, unless the processes of a program before this one serve on meanwhile. */
static inline bool supervisor_must_start(const struct supervisor *supervisor)
{
    return supervisor->state == SUPERVISOR_STARTING && !supervisor_is_stopping(supervisor) &&
           supervisor->predecessors.first == NULL;
}

#endif
