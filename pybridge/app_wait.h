/*
 * App wait: how an interpreter thread waits for the other side without holding the interpreter lock.
 *
 * Owns:    nothing; a waiter lives on the stack of who waits.
 * Threads: any thread of the interpreter, the application's own included; called with the interpreter lock.
 */
#ifndef PYBRIDGE_APP_WAIT_H
#define PYBRIDGE_APP_WAIT_H

#include "pybridge/app_process.h"

enum app_wait { APP_WAIT_REQUEST, APP_WAIT_BODY, APP_WAIT_ROOM };

/* Rings the doorbells of the others, sleeps until there may be what is waited for, takes the messages that came.
 * `request` is NULL for APP_WAIT_REQUEST. Look again afterwards: the reason may have been another. */
void app_wait(struct app_exchange *exchange, const struct app_request *request, enum app_wait what);

/* Waits on behalf of a request. false: it was cancelled, or the process has to go; waiting on is in vain. */
bool app_wait_for_request(struct app_exchange *exchange, const struct app_request *request, enum app_wait what);

#endif
