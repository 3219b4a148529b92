"""TLS as an operator meets it: settings, files that change, mistakes, listeners side by side."""

import os
import pwd
import shutil
import signal
import ssl
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness.client import Client
from harness.programs import need_open_to_all
from harness.server import IS_SANITIZED, Server, run_to_end
from harness.tls import Pair, TlsClient, TlsFiles
from harness.waiting import eventually

APP = "hello_wsgi:app"


def shown(server: Server, tls: TlsFiles, name: str = "test.example", index: int = 0) -> bytes:
    """The certificate that a new connection gets, in DER."""
    context = tls.client_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with TlsClient(server.addresses[index], context, name) as client:
        return client.sock.getpeercert(binary_form=True)


def der(cert: Path) -> bytes:
    end = "-----END CERTIFICATE-----\n"
    return ssl.PEM_cert_to_DER_cert(cert.read_text().partition(end)[0] + end)


def copy(pair: Pair, directory: Path) -> Pair:
    """A pair of files that a test may change."""
    directory.mkdir(exist_ok=True)
    copied = Pair(directory / "cert.pem", directory / "key.pem")
    shutil.copy(pair.cert, copied.cert)
    shutil.copy(pair.key, copied.key)
    return copied


def replace(old: Path, new: Path) -> None:
    """As every careful tool does it: beside, then renamed."""
    beside = old.with_suffix(".new")
    shutil.copy(new, beside)
    os.rename(beside, old)


def get(server: Server, tls: TlsFiles, **options):
    with tls.connect(server, **options) as client:
        return client.request("/")


def refused(*options: str) -> str:
    """What a daemon says that does not start, and that it says so to --check-config too."""
    checked = run_to_end(APP, "--check-config", *options)
    assert checked.returncode == 1, checked.stderr
    started = run_to_end(APP, "-b", "127.0.0.1:0", *options)
    assert started.returncode == 1, started.stderr
    critical = [line for line in started.stderr.splitlines() if "CRITICAL" in line]
    assert len(critical) == 1, started.stderr
    return critical[0]


# --- start -----------------------------------------------------------------------------------------------------------


def test_a_certificate_turns_tls_on(serve, tls):
    server = serve(APP, *tls.ecdsa.options)
    server.wait_for_log(r"ready: listening at https://127\.0\.0\.1:\d+ \(h2, http/1\.1\) \(pid")
    assert get(server, tls).status == 200
    assert shown(server, tls) == der(tls.ecdsa.cert)


def test_the_order_of_the_protocols_is_that_of_the_setting(serve, tls):
    server = serve(APP, *tls.ecdsa.options, "--http-protocols", "h1,h2")
    server.wait_for_log(r"ready: listening at https://\S+ \(http/1\.1, h2\)")
    with tls.connect(server, alpn=("h2", "http/1.1")) as client:
        assert client.sock.selected_alpn_protocol() == "http/1.1"


def test_the_sync_worker_gets_http1_and_a_warning(serve, tls):
    server = serve(APP, *tls.ecdsa.options, "-k", "sync", "--http-protocols", "h2,h1")
    server.wait_for_log(r"HTTP/2 is not supported by the sync worker")
    with tls.connect(server, alpn=("h2", "http/1.1")) as client:
        assert client.sock.selected_alpn_protocol() == "http/1.1"
        assert client.request("/").status == 200


def test_chain_and_key_may_be_one_file(serve, tls):
    assert get(serve(APP, "--certfile", str(tls.both)), tls).status == 200


def test_a_chain_is_sent_whole(serve, tls):
    assert get(serve(APP, *tls.chained.options), tls).status == 200


def test_a_key_may_have_a_password(serve, tls):
    server = serve(APP, *tls.encrypted.options, "--keyfile-password-file", str(tls.password_file))
    assert get(server, tls).status == 200


def test_several_certificates_are_chosen_by_name(serve, tls):
    pairs = (tls.ecdsa, tls.wildcard, tls.exact)
    server = serve(
        APP,
        *("--certfile", ",".join(str(pair.cert) for pair in pairs)),
        *("--keyfile", ",".join(str(pair.key) for pair in pairs)),
    )
    assert shown(server, tls, "any.wild.example") == der(tls.wildcard.cert)
    assert shown(server, tls, "exact.wild.example") == der(tls.exact.cert)
    assert shown(server, tls, "nobody.example") == der(tls.ecdsa.cert)


def test_clients_show_certificates_when_asked(serve, tls):
    server = serve(APP, *tls.ecdsa.options, "--ca-certs", str(tls.ca), "--cert-reqs", "ssl.CERT_REQUIRED")
    assert get(server, tls, pair=tls.client).status == 200
    with pytest.raises((ssl.SSLError, ConnectionError)), tls.connect(server) as client:
        client.request("/")


def test_the_page_s_settings_file_works(serve, tls, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(
        f"certfile = {str(tls.ecdsa.cert)!r}\nkeyfile = {str(tls.ecdsa.key)!r}\n"
        "ssl_version = 'TLSv1_2'\nhttp_protocols = ['h2', 'h1']\nhttp2_max_concurrent_streams = 200\n"
        "http2_initial_window_size = 1048576\nkeepalive = 120\n"
    )
    server = serve(APP, "-c", str(tmp_path / "gunicorn.conf.py"), "-k", "gthread", "--threads", "4")
    with tls.connect(server, alpn=("h2",)) as client:
        assert client.sock.selected_alpn_protocol() == "h2"


def test_what_cannot_be_used_stops_the_start(tls, tmp_path):
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing\n")
    assert "keyfile: cannot read /nowhere: No such file or directory" in refused(
        "--certfile", str(tls.ecdsa.cert), "--keyfile", "/nowhere")
    assert "certfile: cannot read /tmp: Is a directory" in refused("--certfile", "/tmp")
    assert str(tls.ecdsa.cert) in refused(*tls.mismatched.options)
    assert str(nothing) in refused("--certfile", str(nothing), "--keyfile", str(tls.ecdsa.key))
    assert str(tls.ecdsa.cert) in refused(*tls.encrypted.options)
    assert "ciphers" in refused(*tls.ecdsa.options, "--ciphers", "AES128-SHA").lower()
    assert "groups" in refused(*tls.ecdsa.options, "--tls-groups", "P-1").lower()
    assert "expected one to 3 keys of 80 octets each" in refused(
        *tls.ecdsa.options, "--tls-ticket-keys", str(nothing))


def test_a_good_configuration_is_checked(tls):
    assert run_to_end(APP, "--check-config", *tls.ecdsa.options).returncode == 0


def test_a_key_that_others_may_read_is_a_warning(serve, tls, tmp_path):
    pair = copy(tls.ecdsa, tmp_path)
    pair.key.chmod(0o640)
    server = serve(APP, *pair.options)
    server.wait_for_log(rf"WARNING.*{pair.key} is open to others than its owner \(mode 640\)")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.skipif(IS_SANITIZED, reason="a sanitizer's I/O process is not hidden: its leak check looks at it")
def test_processes_of_the_same_user_find_no_key_among_the_descriptors(serve, tls, tmp_path):
    """Supervisor, I/O and app processes as one user, as in most containers: what one app could look at, `probe` does."""
    need_open_to_all()
    nobody = pwd.getpwnam("nobody")

    def become_nobody() -> None:
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)

    with tempfile.TemporaryDirectory() as directory:
        pair = copy(tls.ecdsa, Path(directory))
        for path in (directory, pair.cert, pair.key):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        server = serve(APP, *pair.options, preexec=become_nobody)
        probe = "import os, sys; print([len(os.listdir(f'/proc/{pid}/fd')) for pid in sys.argv[1:]])"

        def look(*pids: int) -> subprocess.CompletedProcess:
            return subprocess.run(
                ["/usr/bin/python3", "-c", probe, *map(str, pids)],
                preexec_fn=become_nobody, capture_output=True, text=True, cwd="/",
            )

        assert get(server, tls).status == 200
        assert look(server.app_processes()[0]).returncode == 0
        for pid in (server.pid, *server.io_processes()):
            assert "PermissionError" in look(pid).stderr


# --- changes ---------------------------------------------------------------------------------------------------------


def test_renamed_files_serve_new_connections(serve, tls, tmp_path):
    pair = copy(tls.ecdsa, tmp_path)
    server = serve(APP, *pair.options)
    with tls.connect(server) as before:
        assert before.request("/").status == 200
        replace(pair.cert, tls.ecdsa2.cert)
        replace(pair.key, tls.ecdsa2.key)
        server.wait_for_log(rf"new connections get the new certificates: {pair.cert}")
        eventually(lambda: shown(server, tls) == der(tls.ecdsa2.cert))
        assert before.request("/").status == 200


def test_an_exchanged_link_on_the_way_is_a_change(serve, tls, tmp_path):
    """As Kubernetes mounts a secret: tls.crt -> ..data/tls.crt, and ..data -> a directory with a date."""
    for number, source in enumerate((tls.ecdsa, tls.rsa)):
        copy(source, tmp_path / f"version{number}")
    (tmp_path / "data").symlink_to("version0")
    pair = Pair(tmp_path / "tls.crt", tmp_path / "tls.key")
    pair.cert.symlink_to("data/cert.pem")
    pair.key.symlink_to("data/key.pem")
    server = serve(APP, *pair.options, "--rings", "2")
    (tmp_path / "data.new").symlink_to("version1")
    os.rename(tmp_path / "data.new", tmp_path / "data")
    server.wait_for_log(r"new connections get the new certificates")
    for _ in range(8):  # whichever I/O process takes it
        eventually(lambda: shown(server, tls) == der(tls.rsa.cert))


def test_a_broken_file_is_refused_and_the_old_one_serves(serve, tls, tmp_path):
    pair = copy(tls.ecdsa, tmp_path)
    server = serve(APP, *pair.options, "--rings", "2")
    replace(pair.cert, tls.ecdsa2.cert)
    server.wait_for_log(rf"ERROR.*the new certificates are refused, those from before serve on: .*{pair.cert}")
    assert get(server, tls).status == 200
    assert shown(server, tls) == der(tls.ecdsa.cert)

    # An I/O process that is started again gets what the others have, not what lies there now.
    generation = server.io_processes()
    position = server.log_position
    os.kill(generation[0], signal.SIGKILL)
    server.wait_for_log(r"io 0 \(pid \d+\) is ready|io 0 started", since=position)
    eventually(lambda: len(server.io_processes()) == 2)
    for _ in range(8):
        assert shown(server, tls) == der(tls.ecdsa.cert)

    replace(pair.key, tls.ecdsa2.key)
    server.wait_for_log(r"new connections get the new certificates")
    eventually(lambda: shown(server, tls) == der(tls.ecdsa2.cert))
    assert len([line for line in server.lines if "are refused" in line]) == 1
    server.expect_clean_stop = False


def test_a_file_that_goes_is_said_once(serve, tls, tmp_path):
    pair = copy(tls.ecdsa, tmp_path)
    server = serve(APP, *pair.options)
    pair.key.unlink()
    server.wait_for_log(rf"ERROR.*the new certificates cannot be read, those from before serve on: .*{pair.key}")
    assert get(server, tls).status == 200
    shutil.copy(tls.ecdsa2.key, pair.key)
    replace(pair.cert, tls.ecdsa2.cert)
    server.wait_for_log(r"new connections get the new certificates")
    assert len([line for line in server.lines if "cannot be read" in line]) == 1


def test_a_reload_brings_other_files_and_settings(serve, tls, tmp_path):
    config = tmp_path / "a.toml"

    def write(pair: Pair, more: str = "") -> None:
        config.write_text(f'certfile = "{pair.cert}"\nkeyfile = "{pair.key}"\n{more}')

    write(tls.ecdsa)
    server = serve(APP, "-c", str(config))
    write(tls.rsa, 'tls_min_version = "1.3"\nhttp_protocols = "h1"\n')
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded:")
    eventually(lambda: shown(server, tls) == der(tls.rsa.cert))
    old = tls.client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        TlsClient(server.address, old)
    with tls.connect(server, alpn=("h2", "http/1.1")) as client:
        assert client.sock.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize(
    "broken",
    ['keyfile = "/nowhere"\n', 'ciphers = "AES128-SHA"\n', 'keyfile = "MISMATCHED"\n', 'tls_ticket_keys = "/tmp"\n'],
)
def test_a_reload_with_a_broken_one_changes_nothing(serve, tls, tmp_path, broken):
    config = tmp_path / "a.toml"
    key = f'keyfile = "{tls.ecdsa.key}"\n'
    config.write_text(f'certfile = "{tls.ecdsa.cert}"\n{key}')
    server = serve(APP, "-c", str(config))
    apps = server.app_processes()
    broken = broken.replace("MISMATCHED", str(tls.ecdsa2.key))
    config.write_text(f'certfile = "{tls.ecdsa.cert}"\n' + broken + ("" if "keyfile" in broken else key))
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("ERROR.*reload failed")
    eventually(lambda: server.app_processes() == apps)
    assert get(server, tls).status == 200
    config.write_text(f'certfile = "{tls.ecdsa2.cert}"\nkeyfile = "{tls.ecdsa2.key}"\n')
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded:")
    eventually(lambda: shown(server, tls) == der(tls.ecdsa2.cert))


def test_a_reload_turns_no_tls_on(serve, tls, tmp_path):
    config = tmp_path / "a.toml"
    config.write_text("")
    server = serve(APP, "-c", str(config))
    config.write_text(f'certfile = "{tls.both}"\n')
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("the new value of certfile needs a restart")
    server.wait_for_log("reloaded:")
    assert server.get().status == 200


# --- tickets ---------------------------------------------------------------------------------------------------------


def resume(
    context: ssl.SSLContext, server: Server, session: ssl.SSLSession | None = None
) -> tuple[bool, ssl.SSLSession]:
    """One request; whether the session was resumed, and one to resume next."""
    with TlsClient(server.address, context, session=session) as client:
        assert client.request("/").status == 200
        return client.sock.session_reused, client.sock.session


def test_sessions_live_over_a_reload_and_a_new_io_process(serve, tls):
    server = serve(APP, *tls.ecdsa.options, "--rings", "2")
    context = tls.client_context()
    _, session = resume(context, server)
    reused = []
    for _ in range(8):  # any I/O process opens the tickets of all
        again, session = resume(context, server, session)
        reused.append(again)
    assert all(reused)
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded:")
    again, session = resume(context, server, session)
    assert again
    for pid in server.io_processes():
        os.kill(pid, signal.SIGKILL)
        server.wait_for_exit_of(pid)
    eventually(lambda: len(server.io_processes()) == 2)
    again, _ = resume(context, server, session)
    assert again
    server.expect_clean_stop = False


def test_servers_with_the_same_key_file_share_sessions(serve, tls, tmp_path):
    keys = tmp_path / "keys"
    keys.write_bytes(os.urandom(80))
    keys.chmod(0o600)
    first, second = (serve(APP, *tls.ecdsa.options, "--tls-ticket-keys", str(keys)) for _ in range(2))
    context = tls.client_context()
    _, session = resume(context, first)
    again, session = resume(context, second, session)
    assert again

    # Rotated by whoever writes the file: the old one still opens.
    keys.write_bytes(os.urandom(80) + keys.read_bytes())
    first.wait_for_log(r"new ticket keys: ")
    again, session = resume(context, first, session)
    assert again
    keys.write_bytes(b"too short")
    first.wait_for_log(r"ERROR.*the new ticket keys are refused, those from before serve on: .*80 octets")
    again, _ = resume(context, first, session)
    assert again


def test_tickets_can_be_off(serve, tls):
    server = serve(APP, *tls.ecdsa.options, "--no-tls-tickets")
    context = tls.client_context()
    _, session = resume(context, server)
    again, _ = resume(context, server, session)
    assert not again


# --- listeners -------------------------------------------------------------------------------------------------------


def test_addresses_with_and_without_tls_stand_side_by_side(serve, tls, tmp_path):
    config = tmp_path / "a.toml"
    config.write_text(
        f'certfile = "{tls.ecdsa.cert}"\nkeyfile = "{tls.ecdsa.key}"\n'
        '[[listen]]\naddress = "127.0.0.1:0"\n'
        '[[listen]]\naddress = "127.0.0.1:0"\ntls = false\n'
        f'[[listen]]\naddress = "127.0.0.1:0"\ncertfile = "{tls.rsa.cert}"\nkeyfile = "{tls.rsa.key}"\n'
    )
    server = serve(APP, "-c", str(config), binds=())
    line = server.wait_for_log(r"ready: listening at (.*) \(pid").group(1)
    assert [part.partition("://")[0] for part in line.split(", ") if "://" in part] == ["https", "http", "https"]
    assert shown(server, tls, index=0) == der(tls.ecdsa.cert)
    assert shown(server, tls, index=2) == der(tls.rsa.cert)
    with Client(server.addresses[1]) as client:
        assert client.request("/").status == 200


def test_a_table_may_have_protocols_of_its_own(serve, tls, tmp_path):
    config = tmp_path / "a.toml"
    config.write_text(
        f'certfile = "{tls.both}"\n[[listen]]\naddress = "127.0.0.1:0"\n'
        '[[listen]]\naddress = "127.0.0.1:0"\nhttp_protocols = "h1"\n'
    )
    server = serve(APP, "-c", str(config), binds=())
    server.wait_for_log(r"ready: listening at https://\S+ \(h2, http/1\.1\), https://\S+ \(http/1\.1\)")
    for index, protocol in enumerate(("h2", "http/1.1")):
        with TlsClient(server.addresses[index], tls.client_context(("h2", "http/1.1"))) as client:
            assert client.sock.selected_alpn_protocol() == protocol


def test_each_table_keeps_its_certificate_when_another_changes(serve, tls, tmp_path):
    first, second = copy(tls.ecdsa, tmp_path / "1"), copy(tls.rsa, tmp_path / "2")
    config = tmp_path / "a.toml"
    config.write_text(
        "".join(
            f'[[listen]]\naddress = "127.0.0.1:0"\ncertfile = "{pair.cert}"\nkeyfile = "{pair.key}"\n'
            for pair in (first, second)
        )
    )
    server = serve(APP, "-c", str(config), binds=())
    replace(first.cert, tls.ecdsa2.cert)  # without its key: refused
    replace(second.cert, tls.chained.cert)
    replace(second.key, tls.chained.key)
    server.wait_for_log("the new certificates are refused")
    server.wait_for_log(rf"new connections get the new certificates: {second.cert}")
    assert shown(server, tls, index=0) == der(tls.ecdsa.cert)
    eventually(lambda: shown(server, tls, index=1) == der(tls.chained.cert))


def test_credentials_of_a_service_are_watched_and_reloaded(serve, tls, tmp_path):
    pair = copy(tls.ecdsa, tmp_path / "credentials")
    config = tmp_path / "a.toml"
    names = [f"${{CREDENTIALS_DIRECTORY}}/{path.name}" for path in (pair.cert, pair.key)]
    config.write_text(f'[[listen]]\naddress = "127.0.0.1:0"\ncertfile = "{names[0]}"\nkeyfile = "{names[1]}"\n')
    server = serve(APP, "-c", str(config), binds=(), env={"CREDENTIALS_DIRECTORY": str(pair.key.parent)})
    assert shown(server, tls) == der(tls.ecdsa.cert)
    replace(pair.cert, tls.rsa.cert)
    replace(pair.key, tls.rsa.key)
    eventually(lambda: shown(server, tls) == der(tls.rsa.cert))
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded:")
    assert shown(server, tls) == der(tls.rsa.cert)


def test_a_unix_socket_may_have_tls_too(serve, tls, tmp_path):
    path = tmp_path / "a.sock"
    server = serve(APP, *tls.ecdsa.options, binds=(f"unix:{path}",))
    server.wait_for_log(r"listening at unix:\S+ \(tls, h2, http/1\.1\)")
    with TlsClient(str(path), tls.client_context(("http/1.1",))) as client:
        assert client.request("/").status == 200


# --- development -----------------------------------------------------------------------------------------------------


def test_a_development_certificate_is_one_option(serve, tmp_path):
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    server = serve(APP, "--dev-tls", env=environment)
    cert = tmp_path / "uroboros" / "dev-certificate.pem"
    server.wait_for_log(rf"development certificate made: {cert}")
    host, port = server.address
    for name in ("localhost", "127.0.0.1"):
        done = subprocess.run(
            ["curl", "-sS", "-4", "--cacert", cert, f"https://{name}:{port}/"], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    before = cert.read_bytes()
    serve(APP, "--dev-tls", env=environment).wait_for_log("development certificate used: ")
    assert cert.read_bytes() == before
