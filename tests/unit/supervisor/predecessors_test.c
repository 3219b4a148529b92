#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/owned.h"
#include "daemon/supervisor/handover.h"
#include "daemon/supervisor/supervisor_state.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { IO, APP, OLD_PROCESSES, TEXT_BYTES = 8'192 };

/* Two processes that only wait to be killed, as a program before this one has left them. */
struct fixture {
    struct supervisor supervisor;
    struct handover *handover;
    pid_t pids[OLD_PROCESSES];
    int theirs[OLD_PROCESSES]; /* their ends of the control sockets */
    int output;                /* what the application would write to */
    int log;
};

static pid_t start_waiting(void)
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == parent)
        pause();
    _exit(0);
}

static void leave_one(struct fixture *fixture, int which)
{
    int ends[2], output[2];
    struct handover *handover = fixture->handover;
    assert_int_equal(control_pair(ends), 0);
    assert_int_equal(pipe2(output, O_CLOEXEC | O_NONBLOCK), 0);
    fixture->theirs[which] = ends[1];
    fixture->pids[which] = start_waiting();
    if (which == APP)
        fixture->output = output[1];
    else
        close(output[1]);
    handover->children[handover->child_count++] = (struct handover_child){.pid = fixture->pids[which],
                                                                          .control = ends[0],
                                                                          .output = {output[0], -1},
                                                                          .is_app = which == APP,
                                                                          .index = 0,
                                                                          .generation = 7};
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    struct supervisor *supervisor = &fixture->supervisor;
    fixture->log = memfd_create("log", MFD_CLOEXEC);
    log_init("test", LOG_LEVEL_INFO, fixture->log);
    assert_int_equal(event_loop_init(&supervisor->loop), 0);
    supervisor->manager.notify = -1;
    supervisor->logs = (struct log_files){.error = fixture->log, .access = -1};
    supervisor->state = SUPERVISOR_STARTING;
    snprintf(supervisor->program, sizeof supervisor->program, "/nowhere/uroboros");
    fixture->handover = handover_create();
    fixture->handover->rings = 1;
    leave_one(fixture, IO);
    leave_one(fixture, APP);
    supervisor->handed = fixture->handover;
    predecessors_adopt(supervisor, fixture->handover);
    *state = fixture;
    return 0;
}

static void run_until(struct fixture *fixture, uint32_t left)
{
    for (;;) {
        uint32_t count = 0;
        for (int which = IO; which < OLD_PROCESSES; which++)
            count += predecessors_include(&fixture->supervisor, fixture->pids[which]) ? 1 : 0;
        if (count == left)
            return;
        assert_int_equal(event_loop_turn(&fixture->supervisor.loop), 0);
    }
}

static void die(struct fixture *fixture, int which)
{
    kill(fixture->pids[which], SIGKILL);
    while (predecessors_include(&fixture->supervisor, fixture->pids[which]))
        assert_int_equal(event_loop_turn(&fixture->supervisor.loop), 0);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    fixture->supervisor.state = SUPERVISOR_STOPPING; /* nobody is to be replaced any more */
    predecessors_kill(&fixture->supervisor);
    run_until(fixture, 0);
    upgrade_give_up(&fixture->supervisor);
    event_loop_deinit(&fixture->supervisor.loop);
    close(fixture->theirs[IO]);
    close(fixture->theirs[APP]);
    close(fixture->output);
    handover_destroy(fixture->handover);
    log_set_fd(STDERR_FILENO);
    close(fixture->log);
    free(fixture);
    return 0;
}

/* The kind of the next message to one of them; 0 when there is none. */
static enum control_kind told(struct fixture *fixture, int which, struct control_message *message)
{
    struct control_message any;
    message = message != NULL ? message : &any;
    if (recv(fixture->theirs[which], &any, sizeof any, MSG_PEEK | MSG_DONTWAIT) <= 0)
        return 0;
    assert_int_equal(control_receive(fixture->theirs[which], message), 1);
    control_close_fds(message);
    return message->kind;
}

static void assert_logged(const struct fixture *fixture, const char *words)
{
    char text[TEXT_BYTES] = "";
    assert_true(pread(fixture->log, text, sizeof text - 1, 0) >= 0);
    if (strstr(text, words) == NULL)
        fail_msg("'%s' is not in: %s", words, text);
}

static void those_that_were_left_are_known_and_hear_nothing_yet(void **state)
{
    struct fixture *fixture = *state;
    assert_true(predecessors_include(&fixture->supervisor, fixture->pids[IO]));
    assert_true(predecessors_include(&fixture->supervisor, fixture->pids[APP]));
    assert_false(predecessors_include(&fixture->supervisor, getpid()));
    assert_false(fixture->supervisor.predecessors.incomplete);
    assert_int_equal(fixture->handover->child_count, 0);
    assert_int_equal(told(fixture, IO, NULL), 0);
    assert_int_equal(told(fixture, APP, NULL), 0);
}

static void when_others_serve_the_io_processes_leave_and_the_applications_answer_on(void **state)
{
    struct fixture *fixture = *state;
    fixture->supervisor.settings.graceful_timeout_ms = 60'000;
    predecessors_leave(&fixture->supervisor);
    assert_int_equal(told(fixture, IO, NULL), CONTROL_LEAVE);
    predecessors_settle(&fixture->supervisor);
    assert_int_equal(told(fixture, APP, NULL), 0);
    assert_true(fixture->supervisor.predecessors.deadline.armed);
    die(fixture, IO);
    assert_int_equal(told(fixture, APP, NULL), CONTROL_PEER_GONE);
    predecessors_settle(&fixture->supervisor);
    assert_int_equal(told(fixture, APP, NULL), CONTROL_DRAIN);
    predecessors_settle(&fixture->supervisor);
    assert_int_equal(told(fixture, APP, NULL), 0);
}

static void after_graceful_timeout_they_drain_then_stop_then_are_killed(void **state)
{
    struct fixture *fixture = *state;
    fixture->supervisor.settings.graceful_timeout_ms = 1;
    predecessors_leave(&fixture->supervisor);
    assert_int_equal(told(fixture, IO, NULL), CONTROL_LEAVE);
    run_until(fixture, 0);
    assert_int_equal(told(fixture, IO, NULL), CONTROL_DRAIN);
    assert_int_equal(told(fixture, IO, NULL), CONTROL_STOP);
    assert_int_equal(told(fixture, APP, NULL), CONTROL_STOP);
    assert_logged(fixture, "graceful_timeout has passed, the old processes end");
    assert_logged(fixture, "was killed by signal 9");
    assert_false(fixture->supervisor.predecessors.deadline.armed);
}

static void an_io_process_is_told_of_an_applications_death(void **state)
{
    struct fixture *fixture = *state;
    struct control_message message;
    die(fixture, APP);
    assert_int_equal(told(fixture, IO, &message), CONTROL_PEER_GONE);
    const struct control_peer *peer = control_payload(&message, sizeof *peer);
    assert_non_null(peer);
    assert_int_equal(peer->index, 0);
    assert_int_equal(peer->generation, 7);
    assert_true(fixture->supervisor.predecessors.incomplete);
}

static void last_words_and_half_lines_come_out_before_the_news_of_a_death(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(control_send(fixture->theirs[APP], CONTROL_FAILED, "it hurts", 8, NULL, 0), 0);
    assert_int_equal(write(fixture->output, "half a line", 11), 11);
    die(fixture, APP);
    assert_false(predecessors_take_loss(&fixture->supervisor)); /* this program starts */
    assert_logged(fixture, "it hurts");
    assert_logged(fixture, "half a line");
    assert_logged(fixture, "old app 0 (pid ");
}

/* Nobody else would: but the program that is tried for it may not be there. */
static void a_death_while_no_program_can_start_tries_one_now_and_later(void **state)
{
    struct fixture *fixture = *state;
    fixture->supervisor.argv = (char *[]){(char[]){"uroboros"}, NULL};
    fixture->supervisor.argc = 1;
    fixture->supervisor.state = SUPERVISOR_KEEPING;
    die(fixture, APP);
    assert_true(predecessors_take_loss(&fixture->supervisor));
    assert_false(predecessors_take_loss(&fixture->supervisor));
    upgrade_begin(&fixture->supervisor);
    assert_logged(fixture, "upgrading to what is /nowhere/uroboros now");
    assert_logged(fixture, "upgrade failed, nothing has changed: /nowhere/uroboros is not there");
    assert_int_equal(fixture->supervisor.upgrade.state, UPGRADE_IDLE);
    assert_true(fixture->supervisor.upgrade.retry.armed);
}

static void they_can_be_left_to_yet_another_program(void **state)
{
    struct fixture *fixture = *state;
    struct handover *again = handover_create();
    assert_int_equal(write(fixture->output, "begun", 5), 5);
    assert_int_equal(event_loop_turn(&fixture->supervisor.loop), 0);
    predecessors_hand_on(&fixture->supervisor, again);
    assert_int_equal(again->child_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const struct handover_child *left = &again->children[i];
        assert_int_equal(left->pid, fixture->pids[left->is_app != 0 ? APP : IO]);
        assert_true(left->control > STDERR_FILENO);
        assert_true(left->output[0] > STDERR_FILENO);
        assert_int_equal(left->output[1], -1);
        assert_int_equal(left->generation, 7);
    }
    assert_logged(fixture, "begun"); /* half a line cannot be left */
    handover_destroy(again);
}

static void log_files_that_are_opened_again_are_theirs_too(void **state)
{
    struct fixture *fixture = *state;
    struct control_message message;
    fixture->supervisor.logs.access = fixture->log;
    predecessors_send_logs(&fixture->supervisor);
    assert_int_equal(control_receive(fixture->theirs[IO], &message), 1);
    assert_int_equal(message.kind, CONTROL_LOG);
    assert_int_equal(message.fd_count, 2);
    control_close_fds(&message);
    assert_int_equal(control_receive(fixture->theirs[APP], &message), 1);
    assert_int_equal(message.fd_count, 1);
    control_close_fds(&message);
}

static void fewer_than_there_should_be_are_known_to_be_too_few(void **state)
{
    struct fixture *fixture = *state;
    fixture->handover->rings = 2;
    predecessors_adopt(&fixture->supervisor, fixture->handover);
    assert_true(fixture->supervisor.predecessors.incomplete);
    fixture->handover->rings = 1;
    predecessors_adopt(&fixture->supervisor, fixture->handover);
    assert_false(fixture->supervisor.predecessors.incomplete);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(those_that_were_left_are_known_and_hear_nothing_yet),
        TEST(when_others_serve_the_io_processes_leave_and_the_applications_answer_on),
        TEST(after_graceful_timeout_they_drain_then_stop_then_are_killed),
        TEST(an_io_process_is_told_of_an_applications_death),
        TEST(last_words_and_half_lines_come_out_before_the_news_of_a_death),
        TEST(a_death_while_no_program_can_start_tries_one_now_and_later),
        TEST(they_can_be_left_to_yet_another_program),
        TEST(log_files_that_are_opened_again_are_theirs_too),
        TEST(fewer_than_there_should_be_are_known_to_be_too_few),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
