"""Settings, seen from outside: what a command line or a file leads to, what is said, and the exit status."""

import os
import signal
import socket
import tomllib

import pytest

from harness.server import ROOT, Server, run_to_end

APP = "hello_wsgi:app"


def printed(*arguments: str, **options) -> dict:
    """The settings as --print-config shows them, which is TOML."""
    result = run_to_end(*arguments, "--print-config", **options)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return tomllib.loads(result.stdout)


def complaint(*arguments: str, **options) -> str:
    """The one line that a refused start says; nothing was started and nothing printed."""
    result = run_to_end(*arguments, **options)
    assert result.returncode == 2, (result.returncode, result.stderr)
    assert result.stdout == ""
    assert result.stderr.startswith("uroboros: ") and result.stderr.count("\n") == 1
    return result.stderr.removeprefix("uroboros: ").rstrip("\n")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_help_and_version_need_nothing_else():
    result = run_to_end("--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: uroboros ")
    assert "--worker-class" in result.stdout
    assert result.stderr == ""
    assert run_to_end("--version").stdout.split()[0] == "uroboros"


def test_generated_files_are_those_of_this_binary():
    assert run_to_end("--print-default-config").stdout == (ROOT / "config" / "default.toml").read_text()
    assert run_to_end("--print-settings-reference").stdout == (ROOT / "docs" / "settings.md").read_text()


def test_the_default_file_is_valid_toml_with_every_line_in_force(tmp_path):
    lines = (ROOT / "config" / "default.toml").read_text().splitlines()
    path = tmp_path / "all.toml"
    path.write_text("\n".join(line[1:] if line.startswith("#") and line[1:2] != " " else line for line in lines))
    values = printed("-c", str(path), cwd=tmp_path)
    assert values["workers"] == 1
    assert values["keepalive"] == 75


def test_a_gunicorn_command_line_works_as_it_is(tmp_path):
    values = printed(
        "myapp:app", "-b", "127.0.0.1:8000", "-w", "2", "--threads", "4", "-k", "uvicorn.workers.UvicornWorker",
        "--access-logfile", "-", "--log-level", "DEBUG", "--keep-alive", "5", "-t", "60", "--max-requests=1000",
        "--max-requests-jitter", "50", "-e", "A=1", "-e", "B=2,3", "--limit-request-field_size", "4000", "-n", "shop",
        cwd=tmp_path,
    )  # fmt: skip
    assert values["wsgi_app"] == "myapp:app"
    assert values["bind"] == ["127.0.0.1:8000"]
    assert (values["workers"], values["threads"], values["worker_class"]) == (2, 4, "asgi")
    assert (values["accesslog"], values["loglevel"]) == ("-", "debug")
    assert (values["keepalive"], values["timeout"]) == (5, 60)
    assert (values["max_requests"], values["max_requests_jitter"]) == (1000, 50)
    assert values["raw_env"] == ["A=1", "B=2,3"]
    assert values["limit_request_field_size"] == 4000
    assert values["proc_name"] == "shop"


def test_precedence_of_the_sources(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("workers = 2\nthreads = 2\ntimeout = 2\nbacklog = 2\n")
    env = {
        "WEB_CONCURRENCY": "1",
        "GUNICORN_CMD_ARGS": "--threads 3 --timeout=3 --backlog 3",
        "UROBOROS_TIMEOUT": "4",
        "UROBOROS_BACKLOG": "4",
    }
    values = printed("m:app", "--backlog", "5", cwd=tmp_path, env=env)
    assert [values[name] for name in ("workers", "threads", "timeout", "backlog")] == [2, 3, 4, 5]


def test_a_real_gunicorn_file(tmp_path):
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(
        "import multiprocessing\n"
        "import os\n"
        "print('the file may print')\n"
        "bind = '0.0.0.0:' + os.environ.get('MY_PORT', '1')\n"
        "workers = multiprocessing.cpu_count() * 2 + 1\n"
        "worker_class = 'gthread'\n"
        "accesslog = '-'\n"
        "errorlog = '-'\n"
        "keepalive = 120\n"
        "preload_app = False\n"
        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
        "\n"
        "def post_worker_init(worker):\n"
        "    pass\n"
    )
    result = run_to_end("m:app", "--print-config", cwd=tmp_path, env={"MY_PORT": "8001"})
    assert (result.returncode, result.stderr) == (0, "the file may print\n")
    values = tomllib.loads(result.stdout)
    assert values["bind"] == ["0.0.0.0:8001"]
    assert values["workers"] == os.cpu_count() * 2 + 1
    assert f"# post_worker_init is a function of {path}, line 13" in result.stdout


def test_print_config_names_the_origin_of_each_value(tmp_path):
    (tmp_path / "uroboros.toml").write_text("[head]\ntimeout = 3\n")
    text = run_to_end("m:app", "-w", "3", "--print-config", cwd=tmp_path, env={"UROBOROS_THREADS": "2"}).stdout
    assert "\nworkers = 3  # command line, -w\n" in text
    assert "\nthreads = 2  # environment, UROBOROS_THREADS\n" in text
    assert f"\nhead_timeout = 3  # {tmp_path}/uroboros.toml, line 2\n" in text
    assert "\nbacklog = 2048  # default\n" in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('workers = "many"\n', 'line 1: workers = "many": expected a whole number from 1 to 512, or "auto"'),
        ("\n[head]\ntimeout = -1\n", "line 3: head_timeout = -1: expected seconds from 0 to 31536000, fractions "
                                   "allowed"),
        ("sendfile = 1\n", "line 1: sendfile = 1: expected true or false"),
        ("workrs = 1\n", 'line 1: unknown setting "workrs"; the nearest is "workers"'),
        ("a = 1\nworkers = [\n", "line 3: not TOML: Invalid value"),
        ('worker_class = "gevent"\n', 'line 1: worker_class = "gevent": this class is not built yet; use "auto", '
                                      '"sync", "gthread" or "asgi" (threads serve an application that gevent has '
                                      "patched, too)"),
        ("dirty_workers = 1\n", "line 1: dirty_workers = 1: dirty arbiters are not part of this server; run a task "
                                "queue beside it"),
        ('bind = ["[::1"]\n', 'line 1: bind = ["[::1"]: "[::1": expected a host name or address; IPv6 stands in '
                              "brackets, as in [::1]:8000"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_file_line_key_and_value(tmp_path, content, expected):
    path = tmp_path / "wrong.toml"
    path.write_text(content)
    assert complaint(APP, "-c", str(path)) == f"{path}, {expected}"


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    assert complaint(APP, "-c", f"{tmp_path}/none.toml") == f"{tmp_path}/none.toml: No such file or directory"
    assert complaint(APP, "-c", f"{tmp_path}/none.py") == f"{tmp_path}/none.py: No such file or directory"


def test_a_python_file_that_raises_is_refused(tmp_path):
    path = tmp_path / "conf.py"
    path.write_text("x = {}\n\nworkers = x['none']\n")
    assert complaint(APP, "-c", str(path)) == f"{path}, line 3: KeyError: 'none'"


def test_wrong_options_and_variables_are_refused():
    assert complaint(APP, "--worker", "2") == (
        "command line: unknown option --worker; the nearest setting is --workers")
    assert complaint(APP, "-w", "0") == (
        'command line: -w = "0": expected a whole number from 1 to 512, or "auto"')
    assert complaint(APP, env={"UROBOROS_WORKER": "2"}) == (
        'environment: unknown setting UROBOROS_WORKER; the nearest setting is "workers"')
    assert "PasteDeploy files are not read" in complaint(APP, "--paste", "x.ini")
    assert complaint("-w", "2").startswith("no application: ")
    assert complaint(APP, "-b", "127.0.0.1:1", "-b", "127.0.0.1:1").endswith("127.0.0.1:1 is there twice")


def test_what_has_no_effect_is_said_at_start(serve):
    server = serve(APP, "--log-syslog", "--http-parser", "fast", "--spew=false")
    server.wait_for_log(r"syslog has no effect yet: it comes with the log sinks")
    server.wait_for_log(r"http_parser has no effect: there is one parser")
    assert "spew" not in server.log()


def test_the_port_of_the_platform_is_served():
    port = free_port()
    server = Server(APP, binds=(), env={"PORT": str(port)})
    try:
        server.wait_until_ready()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(16).startswith(b"HTTP/1.1 200")
    finally:
        server.finish()


def test_check_config_loads_the_application_and_serves_nothing():
    port = free_port()
    assert run_to_end(APP, "--check-config", "-b", f"127.0.0.1:{port}").returncode == 0
    assert run_to_end("import_error:app", "--check-config", "-b", f"127.0.0.1:{port}").returncode != 0


def test_a_file_sets_the_environment_of_the_application(serve, tmp_path):
    (tmp_path / "conf.py").write_text("import os\nos.environ['FROM_FILE'] = 'yes'\nraw_env = ['FROM_RAW=yes']\n")
    (tmp_path / "seen.py").write_text(
        "import os\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [f\"{os.environ.get('FROM_FILE')} {os.environ.get('FROM_RAW')}\".encode()]\n"
    )
    assert serve("seen:app", "-c", "conf.py", cwd=tmp_path).get("/").body == b"yes yes"


def test_a_reload_applies_what_it_can_and_names_what_it_cannot(serve, tmp_path):
    path = tmp_path / "uroboros.toml"
    (tmp_path / "hello.py").write_text(
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"
    )
    path.write_text("workers = 1\nbacklog = 100\n")
    server = serve("hello:app", cwd=tmp_path)
    path.write_text("workers = 2\nbacklog = 200\n")
    position = server.log_position
    server.send_signal(signal.SIGHUP)
    server.wait_for_log(r"backlog\b.*restart", since=position)
    assert server.get("/").body == b"hello"


def test_a_reload_with_wrong_settings_keeps_the_old_ones(serve, tmp_path):
    path = tmp_path / "uroboros.toml"
    (tmp_path / "hello.py").write_text(
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"
    )
    path.write_text("workers = 1\n")
    server = serve("hello:app", cwd=tmp_path)
    path.write_text("workers = 'many'\n")
    position = server.log_position
    server.send_signal(signal.SIGHUP)
    server.wait_for_log(r'workers = "many": expected a whole number', since=position)
    assert server.get("/").body == b"hello"
