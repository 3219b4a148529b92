#include "pybridge/app_wait.h"

void app_wait(struct app_exchange *exchange, const struct app_request *request, enum app_wait what)
{
    struct app_waiter waiter = {};
    if (app_exchange_prepare_wait(exchange, &waiter, request, what == APP_WAIT_ROOM)) {
        PyThreadState *thread = PyEval_SaveThread();
        app_exchange_sleep(exchange, &waiter, -1);
        PyEval_RestoreThread(thread);
    }
    app_exchange_finish_wait(exchange, &waiter);
}

static bool is_in_vain(const struct app_exchange *exchange, const struct app_request *request)
{
    return request->fate == APP_REQUEST_CANCELLED || app_exchange_stopping(exchange);
}

bool app_wait_for_request(struct app_exchange *exchange, const struct app_request *request, enum app_wait what)
{
    if (is_in_vain(exchange, request))
        return false;
    app_wait(exchange, request, what);
    return !is_in_vain(exchange, request);
}
