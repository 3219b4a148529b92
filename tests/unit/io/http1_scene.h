/*
 * HTTP/1 scene: what the tests of a session's parts say in common of an I/O process with one application.
 */
#ifndef TESTS_UNIT_IO_HTTP1_SCENE_H
#define TESTS_UNIT_IO_HTTP1_SCENE_H

#include "tests/unit/io/io_scene.h"

#define GET(path)  "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(rest) "POST / HTTP/1.1\r\nHost: a\r\n" rest

void expect_in(const char *text, const char *part);
void expect_not_in(const char *text, const char *part);
uint32_t count_in(const char *text, const char *part);

/* App 0 is up and takes four requests at once. */
void open_with_app(struct scene *scene, void (*adjust)(struct scene *scene));

/* 200, all of it at once; the client has heard it. */
void answer(struct scene *scene, uint32_t app, const struct message *request, const char *body);

/* The client has heard that status; returns `fd`. */
int expect_status(struct scene *scene, int fd, const char *status);

#endif
