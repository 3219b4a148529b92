/*
 * App main: an app process from the control socket to its exit status: settings, hooks, the application, its worker.
 *
 * Owns:    struct app_process (app_process.h), which workers and adapters see of it.
 * Threads: the main one.
 */
#ifndef PYBRIDGE_APP_MAIN_H
#define PYBRIDGE_APP_MAIN_H

#include "pybridge/app_process.h"

/* Called once, by module.c. An enum app_exit_status. */
int app_main(PyObject *module);

#endif
