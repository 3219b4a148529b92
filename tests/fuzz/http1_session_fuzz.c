/*
 * Fuzzer of whole connections: two clients over the scripted engine, interleaved by cuts that the input chooses, before
 * two applications that answer, read, break the protocol and die when the input says so.
 *
 * The input is a list of commands; what a client sends is taken from it too, or from a table of promising texts. After
 * each run scene_close() asserts that nothing is left alive: buffers, blocks, slots, timers, memory.
 */
#include "tests/fuzz/session_run.h"

static const char *const TEXTS[] = {
    "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD /h?q=1 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\nExpect: 100-continue\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n",
    "3\r\nabc\r\n",
    "zz\r\n",
    "0\r\n\r\n",
    "BAD\r\n\r\n",
    "GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\n",
};

/* ---- clients ---------------------------------------------------------------------------------------------------- */

static void connect_http1(struct session_run *run, uint8_t which)
{
    run->fds[which] = scene_connect(run->scene);
}

static void say(struct session_run *run, uint8_t which)
{
    uint8_t choice = session_run_next(run);
    struct bytes text = bytes_of_string(TEXTS[choice % (sizeof TEXTS / sizeof TEXTS[0])]);
    if (choice >= 0xe0) {
        size_t left = (size_t)(run->end - run->at);
        size_t length = choice - 0xdf < left ? choice - 0xdf : left;
        text = bytes_of(run->at, length);
        run->at += length;
    } else if (choice >= 0x80) { /* a part of it: the cut */
        uint8_t cut = session_run_next(run);
        text.length = cut < text.length ? cut : text.length;
    }
    scripted_client_sends(run->scene->core.ring, run->fds[which % RUN_CLIENTS], text);
}

static void say_much(struct session_run *run, uint8_t which)
{
    static const uint8_t much[8'192];
    scripted_client_sends(run->scene->core.ring, run->fds[which % RUN_CLIENTS], bytes_of(much, sizeof much));
}

/* ---- one run ---------------------------------------------------------------------------------------------------- */

static void command(struct session_run *run)
{
    uint8_t what = session_run_next(run);
    uint8_t which = what / 16 % 2;
    if (what % 16 < 3)
        say(run, which);
    else if (what % 16 == 3)
        say_much(run, which);
    else
        session_run_command(run, what);
    scene_turns(run->scene, 1U + (what >= 128));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scene scene;
    struct session_run run = {.scene = &scene, .at = data, .end = data + size, .connect = connect_http1};
    session_run_quiet();
    scene_open(&scene, session_run_adjust);
    session_run_begin(&run);
    for (uint32_t i = 0; i < RUN_COMMANDS_MAX && run.at < run.end; i++)
        command(&run);
    scene_close(&scene);
    return 0;
}
