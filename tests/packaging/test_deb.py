"""The DEB: what lintian says, what is in it, and that its files serve from wherever they are unpacked."""

import os
import subprocess
import tomllib

from serving import environment, serve_once

OURS_BYTES_MAX = 2 << 20


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment(), **options)


def test_lintian_has_nothing_to_say(changes):
    result = run("lintian", "--allow-root", "--fail-on=error,warning", changes)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_settings_file_is_a_conffile(deb):
    assert run("dpkg-deb", "--info", deb, "conffiles").stdout.split() == ["/etc/uroboros/uroboros.toml"]


def test_libraries_come_from_the_distribution(deb):
    depends = run("dpkg-deb", "--field", deb, "Depends").stdout
    assert all(library in depends for library in ("android-libboringssl", "liburing2", "libpython3", "python3"))


def test_the_files_are_small(unpacked):
    assert sum(path.lstat().st_size for path in unpacked.rglob("*") if path.is_file()) < OURS_BYTES_MAX


def test_the_unpacked_daemon_says_its_version(unpacked, deb):
    version = run("dpkg-deb", "--field", deb, "Version").stdout.strip()
    assert run(unpacked / "usr/bin/uroboros", "--version").stdout == f"uroboros {version}\n"


def test_the_settings_file_is_good_with_every_line_in_force(unpacked, tmp_path):
    text = (unpacked / "etc/uroboros/uroboros.toml").read_text()
    assert tomllib.loads(text) == {}
    lines = [line[1:] if line.startswith("#") and line[1:2] != " " else line for line in text.splitlines()]
    path = tmp_path / "all.toml"
    path.write_text("\n".join(lines))
    assert len(tomllib.loads(path.read_text())) > 100
    example = unpacked / "usr/share/uroboros/examples"
    result = run(unpacked / "usr/bin/uroboros", "-c", path, "--check-config", "--chdir", example, "hello:app")
    assert result.returncode == 0, result.stderr


def test_a_mistake_in_the_settings_file_is_one_message_with_line_and_key(unpacked, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text('wsgi_app = "hello:app"\n\nworkers = "many"\n')
    result = run(unpacked / "usr/bin/uroboros", "-c", path, "--check-config")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert f"{path}, line 3" in result.stderr and "workers" in result.stderr


def test_the_journal_is_told_that_the_mistake_is_critical(unpacked, tmp_path):
    """systemd names the journal's stream by device and inode; here it is a file."""
    with open(tmp_path / "journal", "w+") as journal:
        status = os.fstat(journal.fileno())
        env = environment() | {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        subprocess.run([unpacked / "usr/bin/uroboros", "--workers=many"], env=env, stderr=journal)
        journal.seek(0)
        lines = journal.read().splitlines()
    assert len(lines) == 1 and lines[0].startswith("<2>uroboros: "), lines


def test_the_unpacked_daemon_serves_wsgi_and_asgi_and_embedded(unpacked):
    example = unpacked / "usr/share/uroboros/examples"
    daemon = str(unpacked / "usr/bin/uroboros")
    for port, arguments in ((8471, ["hello:app"]), (8472, ["hello:asgi_app"]), (8473, ["hello:app", "--python=embedded"])):
        command = [daemon, "-b", f"127.0.0.1:{port}", *arguments]
        assert serve_once(command, f"http://127.0.0.1:{port}/", example) == "Hello over HTTP/1.1\n"
