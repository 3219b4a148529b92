#include "daemon/supervisor/known_processes.h"

#include "daemon/supervisor/supervisor_state.h"

#include <sys/wait.h>

static bool is_app(const struct supervisor *supervisor, pid_t pid)
{
    for (uint32_t index = 0; index < supervisor->shape.apps; index++)
        if (supervisor->apps.children[index] != NULL && supervisor->apps.children[index]->child.pid == pid)
            return true;
    return false;
}

static bool is_io(const struct supervisor *supervisor, pid_t pid)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        if (supervisor->io.rings[ring].child.pid == pid)
            return true;
    return false;
}

bool known_processes_include(const struct supervisor *supervisor, pid_t pid)
{
    return is_app(supervisor, pid) || is_io(supervisor, pid) || supervisor->reader.pid == pid ||
           supervisor->upgrade.checker.pid == pid || predecessors_include(supervisor, pid) ||
           server_hooks_include(supervisor, pid);
}

/* One that we know is buried by its own watch, and hides the others until then. */
void known_processes_bury_others(const struct supervisor *supervisor)
{
    siginfo_t info = {};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0 &&
           !known_processes_include(supervisor, info.si_pid)) {
        waitpid(info.si_pid, NULL, 0);
        info = (siginfo_t){};
    }
}
