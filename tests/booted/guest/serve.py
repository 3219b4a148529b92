"""The service starts when it can serve, serves, and says in the journal what its owner must know."""

import re
import stat
import time
from pathlib import Path
from unittest import SkipTest

from machine import (
    CERTIFICATE,
    CONFIG,
    ERROR,
    IMPORT_SECONDS,
    INFO,
    KEY,
    UNIT,
    WORKERS,
    children,
    curl,
    drop_in,
    exposure,
    get,
    journal,
    journal_end,
    run,
    said_by_daemon,
    set_in_config,
    show,
    wait_until,
)

EXPOSURE_MAX = 1.4
TIME_STAMP = re.compile(r"^\W*\d{4}-\d\d-\d\d[ T]\d\d:\d\d|^\W*\w{3} +\d+ \d\d:\d\d:\d\d")


def test_a_mistake_in_the_settings_is_one_message_with_line_and_key():
    line = set_in_config("workers", '"many"')
    run("systemctl", "start", UNIT, check=False)
    # Longer than systemd would wait before it tries again: trying cannot help, and would say it again.
    time.sleep(1)
    assert show("ActiveState") == "failed"
    said = [entry["MESSAGE"] for entry in said_by_daemon(journal())]
    set_in_config("workers", str(WORKERS))
    run("systemctl", "reset-failed", UNIT)
    assert len(said) == 1, said
    assert str(CONFIG) in said[0] and "workers" in said[0], said
    assert re.search(rf"\b{line}\b", said[0]), f"line {line}: {said}"
    return said[0]


def test_start_returns_when_every_process_is_ready():
    started = time.monotonic()
    run("systemctl", "start", UNIT)
    seconds = time.monotonic() - started
    assert seconds >= IMPORT_SECONDS
    assert get().startswith("first from ")
    assert len(children("app")) == WORKERS
    return f"{seconds - IMPORT_SECONDS * WORKERS:.2f} s beyond the imports, which share one slow CPU"


def test_systemd_knows_what_it_is_doing():
    assert show("Type") == "notify"
    status = show("StatusText")
    assert status == f"serving: {WORKERS} application processes, 2 addresses", status
    return status


def test_only_root_and_the_service_can_read_the_key():
    """It serves with it: LoadCredential= and ${CREDENTIALS_DIRECTORY} in a table of [[listen]]."""
    status = KEY.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o600)
    reading = run("setpriv", "--reuid=uroboros", "--clear-groups", "cat", KEY, check=False)
    assert "Permission denied" in reading, reading


def test_http2_and_http1_over_tls():
    for option, version in (("--http2", "2"), ("--http1.1", "1.1")):
        text = curl(option, "--cacert", str(CERTIFICATE), "-w", "%{http_version}", "https://localhost:8443/")
        assert text.startswith("first from ") and text.endswith(version), text


def test_tls_is_offloaded_to_the_kernel():
    if "\nktls = " not in run("uroboros", "--print-config"):
        raise SkipTest("this build has no kernel TLS")
    run("modprobe", "tls")
    curl("--http2", "--cacert", str(CERTIFICATE), "https://localhost:8443/")
    counts = dict(line.split() for line in Path("/proc/net/tls_stat").read_text().splitlines())
    assert int(counts["TlsTxSw"]) > 0, counts
    return f"TlsTxSw {counts['TlsTxSw']}, TlsRxSw {counts['TlsRxSw']}"


def test_a_fault_of_the_application_is_an_error_in_the_journal():
    cursor = journal_end()
    run("curl", "-sS", "http://127.0.0.1:8000/fault")
    wait_until(lambda: any("ValueError: a fault" in str(entry["MESSAGE"]) for entry in journal(cursor)),
               "the traceback in the journal")  # fmt: skip
    entries = [entry for entry in journal(cursor) if "GET /fault" in str(entry["MESSAGE"])]
    assert [entry["PRIORITY"] for entry in entries] == [ERROR], entries


def test_the_journal_has_levels_and_no_second_time_stamp():
    entries = said_by_daemon(journal())
    assert {entry["PRIORITY"] for entry in entries} >= {ERROR, INFO}
    wrong = [entry["MESSAGE"] for entry in entries if TIME_STAMP.search(str(entry["MESSAGE"]))]
    assert not wrong, wrong[:3]
    prefixed = [entry["MESSAGE"] for entry in entries if re.match(r"<\d>", str(entry["MESSAGE"]))]
    assert not prefixed, prefixed[:3]
    return f"{len(entries)} messages"


def test_the_service_is_exposed_as_little_as_promised():
    found = exposure()
    assert found <= EXPOSURE_MAX, found
    return str(found)


def test_what_does_not_turn_is_restarted():
    drop_in("watchdog", "[Service]\nWatchdogSec=8\nTimeoutAbortSec=1\n")
    run("systemctl", "restart", UNIT)
    before, turned = show("MainPID"), show("WatchdogTimestampMonotonic")
    wait_until(lambda: show("WatchdogTimestampMonotonic") != turned, "WATCHDOG=1 of a healthy service")
    cursor = journal_end()
    run("kill", "-STOP", before)
    wait_until(lambda: show("MainPID") not in ("0", before) and show("ActiveState") == "active", "another process")
    assert any("Watchdog timeout" in entry["MESSAGE"] for entry in journal(cursor))
    assert get()
    drop_in("watchdog", None)
