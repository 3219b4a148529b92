#include "pybridge/app_process.h"

#include "daemon/base/log.h"
#include "pybridge/workers/worker_class.h"

#include <errno.h>
#include <string.h>

int app_process_ready(struct app_process *process)
{
    const struct worker_driver *class = process->worker_class;
    int r = app_exchange_ready(process->exchange, class->places(&process->settings), class->ready_flags);
    if (r == 0)
        return 0;
    errno = -r;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

void app_process_request_ended(struct app_process *process)
{
    process->requests_ended++;
    if (process->requests_max == 0 || process->requests_ended != process->requests_max)
        return;
    log_info("%llu requests served, a successor is asked for", (unsigned long long)process->requests_ended);
    int r = control_send(app_exchange_control_fd(process->exchange), CONTROL_RECYCLE, NULL, 0, NULL, 0);
    if (r < 0)
        log_warning("the supervisor does not hear that a successor is wanted: %s", strerror(-r));
}
