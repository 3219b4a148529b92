/*
 * Session run: what the fuzzers of whole connections share. Two clients, two applications that answer, read, break the
 * protocol and die when the input says so, and requests that an application works on.
 *
 * Owns:    nothing; the scene is the fuzzer's.
 */
#ifndef TESTS_FUZZ_SESSION_RUN_H
#define TESTS_FUZZ_SESSION_RUN_H

#include "tests/unit/io/io_scene.h"

enum { RUN_CLIENTS = 2, RUN_OPEN_MAX = 16, RUN_COMMANDS_MAX = 400, RUN_SOCKETS_MAX = 24 };

struct session_run {
    struct scene *scene;
    const uint8_t *at, *end; /* of the input */
    void (*connect)(struct session_run *run, uint8_t which);
    int fds[RUN_CLIENTS];
    uint32_t sockets;
    struct message open[RUN_OPEN_MAX]; /* requests that an application works on */
    uint8_t open_at[RUN_OPEN_MAX];
    uint32_t open_count;
};

/* Nothing is logged, whatever goes wrong. */
void session_run_quiet(void);

/* A small server, so that its bounds are met. */
void session_run_adjust(struct scene *scene);

/* The next octet of the input; 0 behind its end. */
uint8_t session_run_next(struct session_run *run);

/* Settings that the first octet chooses, then an application and both clients. */
void session_run_begin(struct session_run *run);

/* A new client in the place of one, unless there were too many. */
void session_run_connect(struct session_run *run, uint8_t which);

/* Whatever is no client's word: `what` is an octet whose low four bits are 4 or more. */
void session_run_command(struct session_run *run, uint8_t what);

#endif
