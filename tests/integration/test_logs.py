"""Access log and error log: complete, escaped, and never in anybody's way."""

import json
import os
import re
import select
import signal

from harness.client import build_request
from harness.waiting import eventually

COMBINED = re.compile(
    r'^127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "([^"]*)" (\d{3}) (\S+) "([^"]*)" "(.*)"$'
)


def test_no_access_log_unless_asked_for(serve):
    server = serve("hello_wsgi:app")
    assert server.get("/").status == 200
    assert server.stop() == 0
    assert server.stdout_lines == []


def test_the_default_line_is_gunicorn_s(serve):
    server = serve("hello_wsgi:app", "--access-logfile", "-")
    server.get("/path?query=1", headers=[("User-Agent", "agent/1"), ("Referer", "http://from.example/")])
    (match,) = server.wait_for_stdout(COMBINED.pattern)
    assert match.groups() == ("GET /path?query=1 HTTP/1.1", "200", "6", "http://from.example/", "agent/1")


def test_each_request_has_one_line(serve):
    server = serve("hello_wsgi:app", "--access-logfile", "-")
    with server.connect() as client:
        client.send(b"".join(build_request(f"/{number}") for number in range(500)))
        for _ in range(500):
            client.read_response()
    assert server.stop() == 0
    assert [COMBINED.match(line).group(1) for line in server.stdout_lines] == [f"GET /{n} HTTP/1.1" for n in range(500)]


def test_refused_requests_and_dead_applications_are_logged_too(serve):
    server = serve("wsgi_cases:app", "--access-logfile", "-", "--access-logformat", "%(s)s %(m)s %(U)s")
    assert server.get("/hello", host="bad host").status == 400
    assert server.get("/exit").status == 502
    assert server.get("/raises").status == 500
    server.wait_for_stdout("^400 ")
    server.wait_for_stdout("^502 GET /exit$")
    server.wait_for_stdout("^500 GET /raises$")


def test_a_client_cannot_forge_a_line(serve):
    server = serve("hello_wsgi:app", "--access-logfile", "-")
    agent = 'a" 200 0 "-" "b\\" \xff\x85\xa0'
    server.get("/%0a127.0.0.1%20-%20-", headers=[("User-Agent", agent)])
    server.get("/end")
    server.wait_for_stdout("GET /end ")
    first = server.stdout_lines[0]
    assert COMBINED.match(first).group(2) == "200"
    assert not re.search(r'(?<!\\)" 200 0 "-"', first.split('" 200 ', 1)[1]), first
    assert len(server.stdout_lines) == 2
    assert all(ord(character) >= 32 for line in server.stdout_lines for character in line)


def test_every_atom_of_gunicorn(serve):
    atoms = "%(h)s|%(l)s|%(u)s|%(t)s|%(r)s|%(m)s|%(U)s|%(q)s|%(H)s|%(s)s"
    atoms += "|%(B)s|%(b)s|%(f)s|%(a)s|%(T)s|%(M)s|%(D)s|%(L)s|%(p)s"
    more = "|%({x-one}i)s|%({x-none}i)s|%({content-type}o)s|100%%"
    server = serve("hello_wsgi:app", "--access-logfile", "-", "--access-logformat", atoms + more)
    # dXNlcjpzZWNyZXQ= is user:secret.
    server.get("/p?q=1", headers=[("X-One", "one"), ("Authorization", "Basic dXNlcjpzZWNyZXQ=")])
    (match,) = server.wait_for_stdout(r"^127.*%$")
    values = match.group().split("|")
    assert values[:3] == ["127.0.0.1", "-", "user"]
    assert re.fullmatch(r"\[.*\]", values[3])
    assert values[4:14] == ["GET /p?q=1 HTTP/1.1", "GET", "/p", "q=1", "HTTP/1.1", "200", "6", "6", "-", "-"]
    assert all(re.fullmatch(r"\d+", value) for value in values[14:17])
    assert re.fullmatch(r"\d+\.\d{6}", values[17]) and re.fullmatch(r"<\d+>", values[18])
    assert values[19:] == ["one", "-", "text/plain", "100%"]


def test_json_is_a_format(serve):
    server = serve("hello_wsgi:app", "--access-logfile", "-", "--access-logformat", "json")
    server.get('/a"b?c=%22', headers=[("User-Agent", 'quo"te \\ \xe9')])
    (match,) = server.wait_for_stdout(r"^\{.*\}$")
    line = json.loads(match.group())
    assert 200 in line.values() and "GET" in line.values()


def test_the_access_log_may_be_a_file_that_is_appended_to(serve, tmp_path):
    path = tmp_path / "access.log"
    path.write_text("before\n")
    server = serve("hello_wsgi:app", "--access-logfile", str(path))
    server.get("/one")
    eventually(lambda: "GET /one " in path.read_text())
    assert path.read_text().startswith("before\n")


def test_hup_reopens_the_access_log(serve, tmp_path):
    path = tmp_path / "access.log"
    server = serve("hello_wsgi:app", "--access-logfile", str(path))
    server.get("/one")
    eventually(lambda: path.exists() and "GET /one " in path.read_text())
    path.rename(tmp_path / "access.log.1")
    server.send_signal(signal.SIGHUP)
    eventually(path.exists, what="a new access log")
    server.get("/two")
    eventually(lambda: "GET /two " in path.read_text())


def test_an_access_log_that_nobody_reads_stalls_nobody(serve, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        server = serve("hello_wsgi:app", "--access-logfile", str(fifo))
        with server.connect() as client:
            # Far more lines than the pipe and the buffers of the log hold.
            for _ in range(40):
                client.send(build_request("/" + "p" * 1000) * 100)
                for _ in range(100):
                    assert client.read_response().status == 200
    finally:
        os.close(reader)


def test_a_full_disk_stalls_nobody(serve):
    server = serve("hello_wsgi:app", "--access-logfile", "/dev/full")
    with server.connect() as client:
        for _ in range(40):
            client.send(build_request("/" + "p" * 1000) * 100)
            for _ in range(100):
                assert client.read_response().status == 200


def test_an_error_log_that_nobody_reads_stalls_nobody(serve, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        server = serve(
            "wsgi_cases:app", "--error-logfile", str(fifo), ready=False, binds=(f"unix:{tmp_path / 'socket'}",)
        )
        server.expect_clean_stop = False
        server.addresses.append(str(tmp_path / "socket"))
        said = b""
        while b"ready: listening at" not in said:
            select.select([reader], [], [], 20)
            said += os.read(reader, 65536)
        for _ in range(3):
            assert server.get("/noisy").body == b"quiet again\n"
        assert server.stop() == 0
    finally:
        os.close(reader)


def test_a_request_that_is_refused_leaves_no_control_bytes_in_the_error_log(serve):
    server = serve("hello_wsgi:app", "--log-level", "debug")
    with server.connect() as client:
        client.send(b"GET /\x1b[2J\x07 HTTP/1.1\r\nHost: a\x00b\r\n\r\n")
        assert client.read_response().status == 400
    assert server.stop() == 0
    assert not any(ord(character) < 32 and character != "\t" for line in server.lines for character in line)


def test_lines_of_the_error_log_have_time_process_and_level(serve):
    server = serve("hello_wsgi:app")
    line = server.wait_for_log("ready: listening at").string
    assert re.match(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[INFO\] ", line)


def test_a_log_level_hides_what_is_below_it(serve, tmp_path):
    path = tmp_path / "error.log"
    server = serve("hello_wsgi:app", "--error-logfile", str(path), ready=False)
    eventually(lambda: path.exists() and "ready: listening at" in path.read_text())
    server.expect_clean_stop = False
    assert server.stop() == 0
    assert "[INFO]" in path.read_text()
