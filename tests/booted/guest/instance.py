"""Another application on the same machine: uroboros@shop beside the service, behind a socket unit of its own."""

from pathlib import Path

from machine import CONFIG, SITE, curl, get, journal, run, said_by_daemon, show, wait_until

UNIT, SOCKET = "uroboros@shop.service", "shop.socket"
SETTINGS = CONFIG.with_name("shop.toml")
SOCKET_FILE = Path("/etc/systemd/system") / SOCKET
# Two sockets that have a name, and one address of the instance's own.
SOCKET_TEXT = f"""
[Socket]
ListenStream=127.0.0.1:8100
ListenStream=127.0.0.1:8101
FileDescriptorName=shop
Service={UNIT}
"""
TEXT = """
wsgi_app = "shop:application"
chdir = "/srv/site"

[[listen]]
address = "fd://shop"

[[listen]]
address = "127.0.0.1:8102"
"""
APPLICATION = """
import os


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"the shop, in {os.environ['STATE_DIRECTORY']}".encode()]
"""


def ask(port: int) -> str:
    return curl(f"http://127.0.0.1:{port}/")


def test_its_sockets_start_it_with_settings_and_a_directory_of_its_own():
    (SITE / "shop.py").write_text(APPLICATION)
    SETTINGS.write_text(TEXT)
    SOCKET_FILE.write_text(SOCKET_TEXT)
    run("systemctl", "daemon-reload")
    run("systemctl", "start", SOCKET)
    assert show("ActiveState", UNIT) == "inactive"
    for port in (8100, 8101, 8102):
        assert ask(port) == "the shop, in /var/lib/uroboros/shop"
    wait_until(lambda: show("StatusText", UNIT) == "serving: 1 application process, 3 addresses", "its status")


def test_it_has_a_journal_of_its_own():
    assert [entry for entry in said_by_daemon(journal(unit=UNIT)) if "ready: listening at" in str(entry["MESSAGE"])]


def test_it_goes_and_the_service_stays():
    run("systemctl", "stop", SOCKET, UNIT)
    assert show("ActiveState", UNIT) == "inactive"
    assert get()
    SETTINGS.unlink()
    SOCKET_FILE.unlink()
    run("systemctl", "daemon-reload")
