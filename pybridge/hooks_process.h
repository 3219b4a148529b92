/*
 * Hooks process: executes a Python settings file and calls its functions that are the server's, one after the other, as
 * the supervisor says (CONTROL_HOOK in daemon/exchange/control.h). It has no application and no client.
 *
 * Owns:    everything it needs; one per process.
 * Threads: the main thread. While it waits for the next call the interpreter lock is free, for threads of the file.
 */
#ifndef PYBRIDGE_HOOKS_PROCESS_H
#define PYBRIDGE_HOOKS_PROCESS_H

/* Everything, from the control socket to the exit status. */
int hooks_process_main(void);

#endif
