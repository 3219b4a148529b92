/*
 * Hooks scene: a supervisor without servers, and puppets in the place of the interpreters that run its hooks.
 *
 * A puppet is this test program, executed again as the supervisor executes an interpreter. It hands its end of the
 * control socket to the test, so that the test hears what the process is told and answers for it, and then lives until
 * it is told to exit or killed. Nothing here waits for anything but the next event.
 */
#ifndef TESTS_UNIT_SUPERVISOR_HOOKS_SCENE_H
#define TESTS_UNIT_SUPERVISOR_HOOKS_SCENE_H

#include "daemon/supervisor/hooks_child.h"
#include "daemon/supervisor/supervisor_state.h"

enum { HOOKS_SCENE_NAME_BYTES = 64 };

struct hooks_scene {
    struct supervisor supervisor;
    int meeting; /* where puppets report */
    int log;
    char directory[HOOKS_SCENE_NAME_BYTES];
    char variable[HOOKS_SCENE_NAME_BYTES]; /* of the puppets: how they find the meeting */
    char *variables[1];
};

struct puppet {
    pid_t pid;
    int link;    /* a byte on it is an exit status */
    int control; /* its end of the control socket */
};

/* The whole life of a puppet; comes back where this process is none. */
void hooks_scene_be_puppet(void);

/* Of a server that starts. */
struct hooks_scene *hooks_scene_open(void);
/* All hooks children are destroyed already. */
void hooks_scene_close(struct hooks_scene *scene);

void hooks_scene_turn(struct hooks_scene *scene);
/* Whether these words are in the log, and how often. */
int hooks_scene_count_logged(const struct hooks_scene *scene, const char *words);
void hooks_scene_assert_logged(const struct hooks_scene *scene, const char *words);

/* The process that has been started; its SETUP has been read. */
struct puppet hooks_scene_meet(struct hooks_scene *scene);

/* The next message to it, without waiting; its kind, or 0. */
enum control_kind puppet_hears(const struct puppet *puppet, struct control_message *ret_message);
void puppet_hears_nothing(const struct puppet *puppet);
/* It is that call. */
struct control_hook puppet_is_called(const struct puppet *puppet, enum control_hook_name name);

/* The supervisor has heard it, too. */
void puppet_says(struct hooks_scene *scene, const struct puppet *puppet, enum control_kind kind, const void *payload,
                 size_t bytes);
void puppet_is_ready(struct hooks_scene *scene, const struct puppet *puppet);
void puppet_returns(struct hooks_scene *scene, const struct puppet *puppet);
void puppet_raises(struct hooks_scene *scene, const struct puppet *puppet);

/* Unless it is dead already. The supervisor has not heard of it yet. */
void puppet_exits(const struct puppet *puppet, int status);
/* The test lets go of it, dead or alive: alive it exits by itself. */
void puppet_leave(struct puppet *puppet);

#endif
