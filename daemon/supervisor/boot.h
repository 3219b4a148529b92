/*
 * Boot: everything between the settings and the first child, in one order with a reason for each place in it.
 *
 * Owns:    nothing; fills struct supervisor, and supervisor_run() empties it whether or not boot got to the end.
 * Threads: before there is a second process.
 */
#ifndef DAEMON_SUPERVISOR_BOOT_H
#define DAEMON_SUPERVISOR_BOOT_H

struct supervisor;

/* What a supervisor needs to know of itself, whatever its settings are. 0, or -1 after the reason was logged. */
[[nodiscard]] int boot_itself(struct supervisor *supervisor);

/* The rest, after it. What a program before this one has left stays as it was until listeners_own_handed(). */
[[nodiscard]] int boot(struct supervisor *supervisor);

/* A step of boot() for a server that goes on although boot() has failed: from here on signals wait for the loop, and
 * what boot has made is also taken down again. */
[[nodiscard]] int boot_hold_signals(struct supervisor *supervisor);

#endif
