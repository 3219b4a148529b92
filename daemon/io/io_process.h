/*
 * I/O process: one ring, one loop, its share of the clients.
 *
 * Owns:    everything in struct io_process. Threads: one. Life: the process.
 *
 *   SETTING_UP --START--> SERVING --DRAIN, or the supervisor is gone--> DRAINING --no connection is left--> exit 0
 *        |                   |                                              |
 *        +-------------------+----------------------------------------------+---STOP--> exit 0
 */
#ifndef DAEMON_IO_IO_PROCESS_H
#define DAEMON_IO_IO_PROCESS_H

/* What the program does when it is started as an I/O process: its control socket is CONTROL_FD. Returns the exit
 * status: 0; 5 when the kernel does not give it a ring (said in the log); 1 for anything else that is wrong. */
int io_process_main(void);

#endif
