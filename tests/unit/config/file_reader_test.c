#include "config/file_reader.h"

#include "tests/unit/config/settings_fixture.h"

static void toml_tables_join_to_names(void **state)
{
    fixture_write("a.toml", "wsgi_app = 'm:app'\n"
                            "workers = 3\n"
                            "timeout = 2.5\n"
                            "bind = ['127.0.0.1:1', 'unix:/x']\n"
                            "preload_app = true\n"
                            "umask = 0o027\n"
                            "[limit.request]\n"
                            "line = 4096\n"
                            "[response]\n"
                            "buffer = { max = '2M', total = '4M' }\n"
                            "[secure_scheme_headers]\n"
                            "X-FORWARDED-PROTO = 'https'\n");
    struct settings *settings = fixture_run(*state, "-c a.toml");

    assert_string_equal(settings->wsgi_app, "m:app");
    assert_int_equal(settings->workers, 3);
    assert_int_equal(settings->timeout_ms, 2500);
    assert_int_equal(settings->bind.count, 2);
    assert_true(settings->preload_app);
    assert_int_equal(settings->umask, 027);
    assert_int_equal(settings->limit_request_line, 4096);
    assert_int_equal(settings->response_buffer_total, 4 << 20);
    assert_int_equal(settings->secure_scheme_headers.count, 1);
    assert_string_equal(settings->secure_scheme_headers.items[0], "X-FORWARDED-PROTO=https");
}

static void a_wrong_toml_value_is_named_with_file_and_line(void **state)
{
    fixture_write("a.toml", "threads = 2\n\nworkers = 'many'\n");
    fixture_fail(*state, "-c a.toml",
                 "uroboros: %s/a.toml, line 3: workers = \"many\": expected a whole number from 1 to 512, or \"auto\"");
    fixture_write("a.toml", "# head\n[head]\n\n  timeout = [1, 2]\n");
    fixture_fail(*state, "-c a.toml",
                 "uroboros: %s/a.toml, line 4: head_timeout = [\"1\", \"2\"]: expected seconds from 0 to 31536000, "
                 "fractions allowed");
    fixture_write("a.toml", "workers = true\n");
    fixture_fail(*state, "-c a.toml",
                 "uroboros: %s/a.toml, line 1: workers = true: expected a whole number from 1 to 512, or \"auto\"");
    fixture_write("a.toml", "workers = -1\n");
    fixture_fail(*state, "-c a.toml",
                 "uroboros: %s/a.toml, line 1: workers = -1: expected a whole number from 1 to 512, or \"auto\"");
    fixture_write("a.toml", "bind = [['a']]\n");
    fixture_fail(*state, "-c a.toml",
                 "uroboros: %s/a.toml, line 1: bind = a value of type list: expected a string or "
                 "a list of strings");
    fixture_write("a.toml", "errorlog = \"a\\u0000b\"\n");
    fixture_fail(*state, "-c a.toml", "uroboros: %s/a.toml: a value has a NUL character in it");
}

static void modules_beside_a_toml_file_are_not_run(void **state)
{
    fixture_write("a.toml", "workers = 3\n");
    fixture_write("tomllib.py", "raise SystemExit\n");
    fixture_write("types.py", "raise SystemExit\n");
    setenv("PYTHONPATH", ".", 1);
    struct settings *settings = fixture_run(*state, "-c a.toml m:app");
    unsetenv("PYTHONPATH");

    assert_int_equal(settings->workers, 3);
}

static void an_unknown_toml_key_is_an_error_with_its_neighbour(void **state)
{
    fixture_write("a.toml", "\n[http2]\nmax_frame_sizes = 1\n");
    fixture_fail(*state, "-c a.toml",
                 "uroboros: %s/a.toml, line 3: unknown setting \"http2_max_frame_sizes\"; the "
                 "nearest is \"http2_max_frame_size\"");
    fixture_write("a.toml", "config = 'b.toml'\n");
    fixture_fail(*state, "-c a.toml", "uroboros: %s/a.toml, line 1: a settings file cannot name another one");
    fixture_write("a.toml", "qqqqqqqqq = 1\n");
    fixture_fail(*state, "-c a.toml", "uroboros: %s/a.toml, line 1: unknown setting \"qqqqqqqqq\"");
}

static void broken_toml_is_named_with_its_line(void **state)
{
    fixture_write("a.toml", "workers = 1\nthreads = \n");
    fixture_fail(*state, "-c a.toml", "uroboros: %s/a.toml, line 2: not TOML: Invalid value");
    fixture_fail(*state, "-c missing.toml", "uroboros: %s/missing.toml: No such file or directory");
    fixture_fail(*state, "-c /", "uroboros: /: Is a directory");
}

static void a_gunicorn_file_is_executed(void **state)
{
    fixture_write("g.py", "import math as m, ssl\n"
                          "from pathlib import Path\n"
                          "print('the file may print')\n"
                          "workers = int(m.sqrt(9))\n"
                          "bind = ('127.0.0.1:1', '[::1]:1')\n"
                          "accesslog = None\n"
                          "pidfile = Path('/x.pid')\n"
                          "umask = 0o022\n"
                          "user = 1000\n"
                          "keepalive = 0.5\n"
                          "worker_class = 'sync'\n"
                          "config = {'not': ['ours']}\n"
                          "raw_env = ['A=b,c']\n"
                          "def post_fork(server, worker):\n"
                          "    workers = 9\n"
                          "post_worker_init = lambda worker: None\n");
    struct settings *settings = fixture_run(*state, "-c g.py a:b");

    assert_int_equal(settings->workers, 3);
    assert_int_equal(settings->bind.count, 2);
    assert_null(settings->accesslog);
    assert_string_equal(settings->pidfile, "/x.pid");
    assert_int_equal(settings->umask, 022);
    assert_string_equal(settings->user, "1000");
    assert_int_equal(settings->keepalive_ms, 500);
    assert_int_equal(settings->raw_env.count, 1);
    assert_int_equal(settings->post_fork, 14);
    assert_int_equal(settings->post_worker_init, 16);
    assert_int_equal(settings->worker_exit, 0);
}

static void a_class_is_known_by_its_path(void **state)
{
    fixture_write("uvicorn_worker.py", "class UvicornWorker: pass\n");
    fixture_write("g.py", "from uvicorn_worker import UvicornWorker\nworker_class = UvicornWorker\n");
    assert_int_equal(fixture_run(*state, "-c g.py a:b")->worker_class, WORKER_CLASS_ASGI);
}

static bool has_item(const struct string_list *list, const char *item)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], item) == 0)
            return true;
    return false;
}

static void changes_of_the_environment_are_told(void **state)
{
    setenv("UNTOUCHED", "1", 1);
    setenv("REMOVED", "1", 1);
    setenv("CHANGED", "1", 1);
    fixture_write("g.py", "import os\nos.environ['CHANGED'] = 'a = b'\ndel os.environ['REMOVED']\n"
                          "os.environ['ADDED'] = ''\n");
    struct settings *settings = fixture_run(*state, "-c g.py a:b");

    assert_int_equal(settings->file_environ.count, 3);
    assert_true(has_item(&settings->file_environ, "CHANGED=a = b"));
    assert_true(has_item(&settings->file_environ, "REMOVED"));
    assert_true(has_item(&settings->file_environ, "ADDED="));
}

static void a_python_file_that_fails_is_named_with_the_line(void **state)
{
    fixture_write("g.py", "def f():\n    raise KeyError('x')\n\nf()\n");
    fixture_fail(*state, "-c g.py", "uroboros: %s/g.py, line 2: KeyError: 'x'");
    fixture_write("g.py", "x = 1\nworkers = (\n");
    fixture_fail(*state, "-c g.py", "uroboros: %s/g.py, line 2: SyntaxError: '(' was never closed (g.py, line 2)");
    fixture_write("g.py", "import sys\nsys.exit(0)\n");
    fixture_fail(*state, "-c g.py", "uroboros: %s/g.py, line 2: SystemExit: 0");
    fixture_write("g.py", "import os\nos._exit(0)\n");
    fixture_fail(*state, "-c g.py", "uroboros: %s/g.py: the program ended before its settings were read");
    fixture_write("g.py", "import os\nos.abort()\n");
    fixture_fail(*state, "-c g.py",
                 "uroboros: %s/g.py: /usr/bin/python3 was killed by signal 6 while it read the file");
    fixture_write("g.py", "\n\nworkers = 'x'\n");
    fixture_fail(*state, "-c g.py",
                 "uroboros: %s/g.py, line 3: workers = \"x\": expected a whole number from 1 to 512, or \"auto\"");
    fixture_fail(*state, "-c missing.py", "uroboros: %s/missing.py: No such file or directory");
}

static void names_of_its_own_are_ignored_unless_they_nearly_are_settings(void **state)
{
    fixture_write("g.py", "import os\nproject = 'x'\nworker = 4\n_workers = 4\ndef worker_exi(): pass\n");
    fixture_run(*state, "-c g.py a:b");

    struct fixture *fixture = *state;
    assert_int_equal(fixture->outcome.warnings.count, 1);
    assert_true(fixture_warned(fixture, "g.py, line 3: \"worker\" is not a setting; is \"workers\" meant?"));
}

static void a_module_is_imported_by_name(void **state)
{
    fixture_write("deploy.py", "workers = 3\nthreads = 'x'\n");
    fixture_fail(*state, "-c python:deploy",
                 "uroboros: python:deploy, line 2: threads = \"x\": expected a whole number from 1 to 1024");
    fixture_write("deploy.py", "workers = 3\n");
    struct settings *settings = fixture_run(*state, "-c python:deploy a:b");
    assert_int_equal(settings->workers, 3);
    assert_string_equal(settings->config, "python:deploy");
    fixture_fail(*state, "-c python:no_such_module",
                 "uroboros: python:no_such_module: ModuleNotFoundError: No module named 'no_such_module'");
}

static void read_with(const struct settings_file *file, const char *message)
{
    struct settings_arena *arena = settings_arena_create();
    struct assignment_list list = {};
    struct string_list environ_changes = {}, warnings = {};
    char found[SETTINGS_MESSAGE_BYTES] = "";

    assert_true(file_reader_read(file, arena, &list, &environ_changes, &warnings, found) < 0);
    assert_string_equal(found, message);
    settings_arena_destroy(arena);
}

static struct settings_file python_file(const char *directory, const char *path)
{
    return (struct settings_file){.kind = SETTINGS_FILE_PYTHON,
                                  .name = path,
                                  .shown = path,
                                  .directory = directory,
                                  .interpreter = "/usr/bin/python3",
                                  .timeout_ms = 60'000};
}

static void a_file_that_never_ends_is_ended(void **state)
{
    struct settings_file file = python_file(((struct fixture *)*state)->directory, "g.py");

    file.timeout_ms = 200;
    fixture_write("g.py", "import signal, time\nwhile True: time.sleep(60)\n");
    read_with(&file, "uroboros: g.py: not read within 200 ms; does it wait for something?");
    fixture_write("g.py", "import os, time\nos.closerange(3, 1000)\nwhile True: time.sleep(60)\n");
    read_with(&file, "uroboros: g.py: not read within 200 ms; does it wait for something?");
}

static void an_answer_without_end_is_cut_off(void **state)
{
    struct settings_file file = python_file(((struct fixture *)*state)->directory, "g.py");

    fixture_write("g.py", "big = 'x' * 2000000\n");
    read_with(&file, "uroboros: g.py: its settings are larger than 1024 KiB");
}

static void a_forged_answer_is_no_answer(void **state)
{
    static const char *const forgeries[] = {"b'V' + struct.pack('<I', 3)",
                                            "b'V' + struct.pack('<I', 2**32 - 1)",
                                            "b'V' + struct.pack('<II', 1, 2**32 - 1)",
                                            "b'Z' + struct.pack('<I', 0)",
                                            "b'S' + struct.pack('<I', 0)",
                                            "b'V' + struct.pack('<I', 3) + 3 * (struct.pack('<I', 1) + b'z')",
                                            "b'V' + struct.pack('<I', 3) + 3 * (struct.pack('<I', 1) + b's')"};
    struct settings_file file = python_file(((struct fixture *)*state)->directory, "g.py");

    for (size_t i = 0; i < sizeof(forgeries) / sizeof(forgeries[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text), "import os, struct, sys\nos.write(int(sys.argv[3]), %s)\nos._exit(0)\n",
                 forgeries[i]);
        fixture_write("g.py", text);
        read_with(&file, "uroboros: g.py: /usr/bin/python3 did not answer as it should");
    }
}

static void an_interpreter_that_is_missing_is_named(void **state)
{
    struct settings_file file = python_file(((struct fixture *)*state)->directory, "g.py");

    file.interpreter = "/no/python";
    read_with(&file, "uroboros: g.py: cannot be read by /no/python: No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(toml_tables_join_to_names, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_toml_value_is_named_with_file_and_line, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(modules_beside_a_toml_file_are_not_run, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(an_unknown_toml_key_is_an_error_with_its_neighbour, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(broken_toml_is_named_with_its_line, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_gunicorn_file_is_executed, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_class_is_known_by_its_path, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(changes_of_the_environment_are_told, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_python_file_that_fails_is_named_with_the_line, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(names_of_its_own_are_ignored_unless_they_nearly_are_settings, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_module_is_imported_by_name, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_never_ends_is_ended, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(an_answer_without_end_is_cut_off, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_forged_answer_is_no_answer, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(an_interpreter_that_is_missing_is_named, fixture_set_up, fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
