#include "config/settings_loader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/config/settings_fixture.h"

static void without_any_source_the_defaults_hold(void **state)
{
    struct settings *settings = fixture_run(*state, "m:app");

    assert_int_equal(settings->workers, 1);
    assert_int_equal(settings->worker_class, WORKER_CLASS_AUTO);
    assert_int_equal(settings->timeout_ms, 30'000);
    assert_int_equal(settings->queue_timeout_ms, 30'000);
    assert_int_equal(settings->head_timeout_ms, 10'000);
    assert_int_equal(settings->limit_request_line, 8190);
    assert_true(settings->rings >= 1);
    assert_string_equal(settings->python, "/usr/bin/python3");
    assert_string_equal(settings->proc_name, "m:app");
    assert_string_equal(settings->tmp_upload_dir, "/tmp");
    assert_string_equal(settings->server_header, "uroboros");
    assert_null(settings->config);
    assert_int_equal(((struct fixture *)*state)->outcome.warnings.count, 0);
}

static void an_application_must_be_named(void **state)
{
    fixture_fail(*state, "-w 2",
                 "uroboros: no application: name it as MODULE:ATTRIBUTE on the command line or in wsgi_app");
}

static void the_usual_files_are_read_without_being_named(void **state)
{
    fixture_write("gunicorn.conf.py", "wsgi_app = 'from:python'\n");
    assert_string_equal(fixture_run(*state, "")->wsgi_app, "from:python");
    fixture_write("uroboros.toml", "wsgi_app = 'from:toml'\n");
    assert_string_equal(fixture_run(*state, "")->wsgi_app, "from:toml");
    assert_string_equal(fixture_run(*state, "-c gunicorn.conf.py")->wsgi_app, "from:python");
    assert_string_equal(fixture_run(*state, "-c file:./gunicorn.conf.py")->wsgi_app, "from:python");
}

static void files_are_looked_for_in_chdir(void **state)
{
    char expected[FIXTURE_PATH_BYTES + 16];
    struct fixture *fixture = *state;

    assert_int_equal(mkdir("sub", 0700), 0);
    fixture_write("sub/gunicorn.conf.py", "import os\nwsgi_app = 'm:app'\nproc_name = os.getcwd()\n");
    struct settings *settings = fixture_run(fixture, "--chdir sub");
    snprintf(expected, sizeof(expected), "%s/sub", fixture->directory);
    assert_string_equal(settings->proc_name, expected);
    assert_string_equal(settings->chdir, expected);
    assert_string_equal(settings->start_directory, fixture->directory);
    fixture_fail(fixture, "--chdir nope m:app",
                 "uroboros: command line: --chdir = \"nope\": No such file or directory");
}

static void relative_directories_start_in_chdir(void **state)
{
    char expected[FIXTURE_PATH_BYTES + 16];
    struct fixture *fixture = *state;

    snprintf(expected, sizeof(expected), "%s/spool", fixture->directory);
    assert_string_equal(fixture_run(fixture, "m:app --tmp-upload-dir spool")->tmp_upload_dir, expected);
}

static void the_interpreter_is_that_of_the_virtual_environment(void **state)
{
    struct fixture *fixture = *state;
    char expected[FIXTURE_PATH_BYTES + 32];

    assert_int_equal(mkdir("venv", 0700), 0);
    assert_int_equal(mkdir("venv/bin", 0700), 0);
    fixture_write("venv/bin/python", "#!/bin/sh\nexec /usr/bin/python3 \"$@\"\n");
    fixture_fail(fixture, "m:app --venv venv",
                 "uroboros: command line: --venv = \"venv\": %s/venv/bin/python cannot be executed: Permission denied");
    assert_int_equal(chmod("venv/bin/python", 0700), 0);
    snprintf(expected, sizeof(expected), "%s/venv/bin/python", fixture->directory);
    assert_string_equal(fixture_run(fixture, "m:app --venv venv")->python, expected);
    assert_string_equal(fixture_run(fixture, "m:app --python venv/bin/python")->python, expected);

    snprintf(expected, sizeof(expected), "%s/venv", fixture->directory);
    setenv("VIRTUAL_ENV", expected, 1);
    strcat(expected, "/bin/python");
    assert_string_equal(fixture_run(fixture, "m:app")->python, expected);
    assert_string_equal(fixture_run(fixture, "m:app --python /usr/bin/python3")->python, "/usr/bin/python3");
    assert_string_equal(fixture_run(fixture, "m:app --python embedded --venv venv")->python, "embedded");
    fixture_fail(fixture, "m:app --venv venv --python /usr/bin/python3",
                 "uroboros: command line: --python = \"/usr/bin/python3\": contradicts venv = \"venv\"; set one of the "
                 "two");
}

static void a_gunicorn_file_runs_on_the_interpreter_of_the_application(void **state)
{
    assert_int_equal(mkdir("venv", 0700), 0);
    assert_int_equal(mkdir("venv/bin", 0700), 0);
    fixture_write("venv/bin/python", "#!/bin/sh\nMARK=here exec /usr/bin/python3 \"$@\"\n");
    assert_int_equal(chmod("venv/bin/python", 0700), 0);
    fixture_write("g.py", "import os\nproc_name = os.environ.get('MARK', 'elsewhere')\n");
    assert_string_equal(fixture_run(*state, "m:app -c g.py --venv venv")->proc_name, "here");
    assert_string_equal(fixture_run(*state, "m:app -c g.py --venv venv --python embedded")->proc_name, "here");
    assert_string_equal(fixture_run(*state, "m:app -c g.py")->proc_name, "elsewhere");
}

static void words_for_numbers_are_resolved(void **state)
{
    struct settings *settings = fixture_run(*state, "m:app -w auto --rings auto --timeout 7 --queue-timeout timeout");

    assert_true(settings->workers >= 1);
    assert_true(settings->rings >= 1 && settings->rings <= settings->workers);
    assert_int_equal(settings->queue_timeout_ms, 7000);
    settings = fixture_run(*state, "m:app --limit-request-line 0 --limit-request-fields 0 --limit-request-body 0");
    assert_int_equal(settings->limit_request_line, 32'768);
    assert_int_equal(settings->limit_request_fields, 1024);
    assert_int_equal(settings->limit_request_body, 0);
}

static void sync_with_threads_is_gthread(void **state)
{
    assert_int_equal(fixture_run(*state, "m:app -k sync")->worker_class, WORKER_CLASS_SYNC);
    assert_int_equal(fixture_run(*state, "m:app -k sync --threads 2")->worker_class, WORKER_CLASS_GTHREAD);
    assert_int_equal(fixture_run(*state, "m:app --threads 2")->worker_class, WORKER_CLASS_AUTO);
}

static void cpus_are_listed_one_by_one(void **state)
{
    assert_int_equal(fixture_run(*state, "m:app")->cpu_affinity.count, 0);
    assert_int_equal(fixture_run(*state, "m:app --cpu-affinity off")->cpu_affinity.count, 0);
    assert_true(fixture_run(*state, "m:app --cpu-affinity auto")->cpu_affinity.count >= 1);
    fixture_fail(*state, "m:app --cpu-affinity 3-1",
                 "uroboros: command line: --cpu-affinity = \"3-1\": \"3-1\": expected \"auto\", \"off\", or CPUs such "
                 "as 0,2-3");
    fixture_fail(*state, "m:app --cpu-affinity 1023",
                 "uroboros: command line: --cpu-affinity = \"1023\": CPU 1023 is not among the usable ones");
}

static void field_names_are_in_upper_case(void **state)
{
    struct settings *settings =
        fixture_run(*state, "m:app --secure-scheme-headers x-proto=https,B=c --forwarder-headers script_name");

    assert_string_equal(settings->secure_scheme_headers.items[0], "X-PROTO=https");
    assert_string_equal(settings->secure_scheme_headers.items[1], "B=c");
    assert_string_equal(settings->forwarder_headers.items[0], "SCRIPT_NAME");
}

static void contradictions_are_refused(void **state)
{
    static const char *const rows[][2] = {
        {"m:app -b :1 -b 0.0.0.0:1", "uroboros: command line: -b = \"0.0.0.0:1\": 0.0.0.0:1 is there twice"},
        {"m:app -b nonsense://x",
         "uroboros: command line: -b = \"nonsense://x\": \"nonsense://x\": expected an address: "
         "HOST, HOST:PORT, :PORT, PORT, [IPV6]:PORT, unix:PATH, fd://N or fd://NAME"},
        {"m:app -b ,", "uroboros: command line: -b = \",\": expected at least one address"},
        {"m:app --forwarded-allow-ips ::1,x",
         "uroboros: command line: --forwarded-allow-ips = \"::1,x\": \"x\": expected "
         "an address, a network such as 10.0.0.0/8, or *"},
        {"m:app --proxy-allow-from x",
         "uroboros: command line: --proxy-allow-from = \"x\": \"x\": expected an address, "
         "a network such as 10.0.0.0/8, or *"},
        {"m:app --recv-buffers 100", "uroboros: command line: --recv-buffers = \"100\": expected a power of two"},
        {"m:app --upload-buffers 100", "uroboros: command line: --upload-buffers = \"100\": expected a power of two"},
        {"m:app --response-buffer-max 65M", "uroboros: command line: --response-buffer-max = \"65M\": one response may "
                                            "take more than all of them together (response_buffer_total)"},
        {"m:app -e NAME", "uroboros: command line: -e = \"NAME\": \"NAME\": expected NAME=VALUE"},
        {"m:app --http-protocols h1,h0",
         "uroboros: command line: --http-protocols = \"h1,h0\": \"h0\": expected \"h2\" or \"h1\""},
        {"m:app --health-path health",
         "uroboros: command line: --health-path = \"health\": expected a path that begins with /"},
        {"m:app --server-header a\tb",
         "uroboros: command line: --server-header = \"a\\u0009b\": expected text without control characters"},
        {"m:make() --factory",
         "uroboros: command line: --factory = \"true\": contradicts \"m:make()\", which is a call already"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        fixture_fail(*state, rows[i][0], rows[i][1]);
}

static void port_zero_may_be_there_twice(void **state)
{
    assert_int_equal(fixture_run(*state, "m:app -b 127.0.0.1:0 -b 127.0.0.1:0")->bind.count, 2);
}

static void what_has_no_effect_is_said_only_when_it_is_changed(void **state)
{
    struct fixture *fixture = *state;

    fixture_run(fixture,
                "m:app --http-protocols h2,h1 --cert-reqs 0 --http-parser auto --spew=false --dirty-workers 0");
    assert_int_equal(fixture->outcome.warnings.count, 0);
    fixture_run(fixture, "m:app --syslog --http-parser fast --reload");
    assert_int_equal(fixture->outcome.warnings.count, 3);
    assert_true(fixture_warned(fixture, "command line: syslog has no effect yet: it comes with the log sinks"));
    assert_true(fixture_warned(fixture, "command line: http_parser has no effect: there is one parser"));
    assert_true(fixture_warned(fixture, "command line: reload has no effect yet: "));
}

static void what_is_left_out_is_refused_with_its_reason(void **state)
{
    fixture_fail(*state, "m:app --spew",
                 "uroboros: command line: --spew = \"true\": tracing every line is a debugger's work; use python -m "
                 "trace");
    fixture_fail(*state, "m:app --dirty-workers 1",
                 "uroboros: command line: --dirty-workers = \"1\": dirty arbiters are not part of this server; run a "
                 "task queue beside it");
    fixture_write("g.py", "dirty_apps = []\nspew = False\npaste = None\ndef ssl_context(config, factory): pass\n");
    fixture_fail(*state, "m:app -c g.py",
                 "uroboros: %s/g.py, line 4: ssl_context = a callable: TLS is done without Python's ssl module, so no "
                 "SSLContext can be used; set certfile, keyfile, ciphers and ca_certs instead");
}

static enum settings_verdict reload(struct fixture *fixture, const char *line, struct settings *ret_settings,
                                    struct settings_outcome *ret_outcome)
{
    char text[256], *arguments[FIXTURE_ARGUMENTS_MAX];

    snprintf(text, sizeof(text), "%s", line);
    int count = fixture_arguments(text, arguments);
    return settings_reload(count, arguments, &fixture->settings, ret_settings, ret_outcome);
}

static void a_reload_reads_again_and_keeps_what_needs_a_restart(void **state)
{
    static const char line[] = "--chdir sub -c file.toml";
    struct fixture *fixture = *state;
    struct settings fresh = {};
    struct settings_outcome outcome;

    assert_int_equal(mkdir("sub", 0700), 0);
    fixture_write("sub/file.toml", "wsgi_app = 'm:app'\nbind = ':1'\nworkers = 2\npidfile = '/a'\n");
    fixture_run(fixture, line);
    fixture_write("sub/file.toml", "wsgi_app = 'm:app'\nbind = [':2', ':3']\nworkers = 3\npidfile = ''\n");
    assert_int_equal(chdir("sub"), 0);
    assert_int_equal(reload(fixture, line, &fresh, &outcome), SETTINGS_RUN);
    assert_int_equal(fresh.workers, 3);
    assert_int_equal(fresh.bind.count, 1);
    assert_string_equal(fresh.bind.items[0], ":1");
    assert_string_equal(fresh.pidfile, "/a");
    assert_int_equal(outcome.changed.count, 1);
    assert_string_equal(outcome.changed.items[0], "workers");
    assert_int_equal(outcome.needs_restart.count, 2);
    assert_string_equal(outcome.needs_restart.items[0], "bind");
    assert_string_equal(outcome.needs_restart.items[1], "pidfile");
    settings_outcome_deinit(&outcome);
    settings_deinit(&fresh);
}

static void a_reload_that_fails_leaves_the_old_settings(void **state)
{
    struct fixture *fixture = *state;
    struct settings fresh = {.workers = 4711};
    struct settings_outcome outcome;

    fixture_write("uroboros.toml", "wsgi_app = 'm:app'\n");
    fixture_run(fixture, "");
    fixture_write("uroboros.toml", "workers = \n");
    assert_int_equal(reload(fixture, "", &fresh, &outcome), SETTINGS_FAILED);
    assert_non_null(strstr(outcome.message, "uroboros.toml, line 1: not TOML"));
    assert_int_equal(fresh.workers, 4711);
    settings_outcome_deinit(&outcome);
}

/* What a load prints on stdout, which is a file meanwhile. */
static char *printed(struct fixture *fixture, const char *line)
{
    int saved = dup(STDOUT_FILENO), fd = open("printed", O_RDWR | O_CREAT | O_TRUNC, 0600);

    fflush(stdout);
    assert_true(dup2(fd, STDOUT_FILENO) >= 0);
    enum settings_verdict verdict = fixture_load(fixture, line);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    assert_int_equal(verdict, SETTINGS_PRINTED);
    off_t bytes = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)bytes + 1);
    assert_int_equal(pread(fd, text, (size_t)bytes, 0), bytes);
    close(fd);
    return text;
}

static void printed_settings_say_where_they_came_from(void **state)
{
    setenv("WEB_CONCURRENCY", "3", 1);
    fixture_write("uroboros.toml", "\ntimeout = 2.5\n");
    char *text = printed(*state, "-b :1 --print-config");

    assert_non_null(strstr(text, "\nbind = [\":1\"]  # command line, -b\n"));
    assert_non_null(strstr(text, "\nworkers = 3  # environment, WEB_CONCURRENCY\n"));
    assert_non_null(strstr(text, "/uroboros.toml, line 2\n"));
    assert_non_null(strstr(text, "\nthreads = 1  # default\n"));
    free(text);
}

static void printed_defaults_are_a_file_that_changes_nothing(void **state)
{
    char *text = printed(*state, "--print-default-config"), *at = text;
    FILE *file = fopen("all.toml", "w");

    /* A setting is the line that begins with # and no blank: without that # it must be a valid file. */
    for (char *line; (line = strsep(&at, "\n")) != NULL;)
        fprintf(file, "%s\n", line[0] == '#' && line[1] != ' ' ? line + 1 : line);
    fclose(file);
    free(text);
    fixture_run(*state, "m:app -c all.toml");
    assert_int_equal(((struct fixture *)*state)->outcome.warnings.count, 0);
}

static void help_fits_the_terminal(void **state)
{
    setenv("COLUMNS", "70", 1);
    char *text = printed(*state, "--help"), *at = text;

    unsetenv("COLUMNS");
    for (char *line; (line = strsep(&at, "\n")) != NULL;)
        if (strlen(line) > 70)
            assert_null(strchr(line + 30, ' '));
    free(text);
    text = printed(*state, "--version");
    assert_string_equal(text, "uroboros " UROBOROS_VERSION "\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_any_source_the_defaults_hold, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(an_application_must_be_named, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(the_usual_files_are_read_without_being_named, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(files_are_looked_for_in_chdir, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(relative_directories_start_in_chdir, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(the_interpreter_is_that_of_the_virtual_environment, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_gunicorn_file_runs_on_the_interpreter_of_the_application, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(words_for_numbers_are_resolved, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(sync_with_threads_is_gthread, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(cpus_are_listed_one_by_one, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(field_names_are_in_upper_case, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(contradictions_are_refused, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(port_zero_may_be_there_twice, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(what_has_no_effect_is_said_only_when_it_is_changed, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(what_is_left_out_is_refused_with_its_reason, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_reload_reads_again_and_keeps_what_needs_a_restart, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_reload_that_fails_leaves_the_old_settings, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(printed_settings_say_where_they_came_from, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(printed_defaults_are_a_file_that_changes_nothing, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(help_fits_the_terminal, fixture_set_up, fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
