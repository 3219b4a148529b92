/*
 * Process title: what ps and /proc show instead of the command line.
 *
 * Owns:    the memory of the original argument strings, which the kernel lays out in one run.
 * Threads: call while the process has one thread.
 * Life:    any time. Who still needs argv's strings copies them first. Where /proc is missing only the short name of
 *          the thread changes.
 */
#ifndef DAEMON_BASE_PROCESS_TITLE_H
#define DAEMON_BASE_PROCESS_TITLE_H

/* Moves the environment strings out of the way, so that a long title has room; getenv() goes on working. For a main
 * of our own only: an interpreter may hold pointers to them. */
void process_title_make_room(void);

/* A title that does not fit is cut. */
void process_title_set(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
