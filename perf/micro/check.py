#!/usr/bin/env python3
"""Instructions per operation, by callgrind, against the stored baseline: check.py [CASE...] [--accept]

Each case runs with N and with 2N operations; the difference over N is the price of one, without start and end. Cases of
perf_micro count one process; the cases of the bridge count an app process that perf_app_driver feeds. A rise of more
than 3 % over perf/micro/baseline.json is a failure; --accept stores what was measured instead.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = Path(os.environ.get("PERF_BUILD", ROOT / "build/release"))
BASELINE = HERE / "baseline.json"
VENV = Path(os.environ.get("PERF_WORK", ROOT / "build/perf")) / "venv"
RISE_MAX = 0.03

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
BROWSER = (
    b"GET / HTTP/1.1\r\nHost: www.example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://www.example.com/articles/\r\n"
    b"Connection: keep-alive\r\nCookie: session=eyJ1c2VyIjo0Mn0.ZzQ1Ng.dGhlIHNpZ25hdHVyZQ; theme=dark\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n"
    b"Sec-Fetch-Site: same-origin\r\nPriority: u=0, i\r\n\r\n"
)


@dataclass(frozen=True)
class Case:
    """`request` and `application` are of the cases of the bridge."""

    name: str
    count: int
    application: str = ""
    request: bytes = b""
    tries: int = 1  # an event loop does not run the same way twice: the least of some runs is its price


CASES = (
    Case("parse_wrk", 2000),
    Case("parse_browser", 1000),
    Case("response_encode", 2000),
    Case("field_block", 2000),
    Case("exchange_hop", 2000),
    Case("hpack_chrome_first", 1000),
    Case("hpack_chrome_again", 2000),
    Case("hpack_curl_first", 2000),
    Case("hpack_curl_again", 2000),
    Case("hpack_response", 2000),
    Case("http2_request_chrome", 2000),
    Case("http2_request_curl", 2000),
    Case("http2_response", 2000),
    Case("http2_schedule_default", 4000),
    Case("http2_schedule_incremental", 4000),
    Case("wsgi_hello", 4000, "plain_wsgi:app", GET),
    Case("wsgi_browser", 4000, "plain_wsgi:app", BROWSER),
    Case("asgi_hello", 4000, "plain_asgi:app", GET, 3),
    Case("asgi_browser", 4000, "plain_asgi:app", BROWSER, 3),
)


def callgrind(command: list, directory: str) -> dict[str, int]:
    """Instructions of each process of the command, by its command line."""
    for old in Path(directory).glob("callgrind.*"):
        old.unlink()
    done = subprocess.run(
        [
            "valgrind",
            "--tool=callgrind",
            "--trace-children=yes",
            f"--callgrind-out-file={directory}/callgrind.%p",
            *command,
        ],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        cwd=ROOT / "perf/apps",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stderr[-300:]}")
    result = {}
    for path in Path(directory).glob("callgrind.*"):
        text = path.read_text(errors="replace")
        command_line = re.search(r"^cmd:\s*(.*)$", text, re.MULTILINE)
        totals = re.search(r"^(?:totals|summary):\s*(\d+)", text, re.MULTILINE)
        if command_line and totals:
            result[command_line.group(1)] = int(totals.group(1))
    return result


def command_of(case: Case, count: int, directory: str) -> list:
    if not case.application:
        return [BUILD / "perf/perf_micro", case.name, count]
    request = Path(directory) / "request"
    request.write_bytes(case.request)
    interpreter, script = VENV / "bin/python", BUILD / "pybridge/app.py"
    options = ["--venv", VENV, "--threads", "1", case.application]
    return [BUILD / "perf/perf_app_driver", interpreter, script, count, request, *options]


def instructions(case: Case, count: int, directory: str) -> int:
    by_process = callgrind([str(word) for word in command_of(case, count, directory)], directory)
    if case.application:
        by_process = {line: number for line, number in by_process.items() if "perf_app_driver" not in line}
    return sum(by_process.values())


def price(case: Case) -> float:
    with tempfile.TemporaryDirectory() as directory:
        once = min(instructions(case, case.count, directory) for _ in range(case.tries))
        twice = min(instructions(case, 2 * case.count, directory) for _ in range(case.tries))
    return (twice - once) / case.count


def judge(name: str, value: float, baseline: float | None) -> bool:
    change = (value / baseline - 1) if baseline else 0.0
    bad = change > RISE_MAX
    note = f"{change:+7.1%}" if baseline else "    new"
    print(f"{name:18} {value:12.1f} {baseline or 0:12.1f} {note} {'FAILED' if bad else ''}", flush=True)
    return not bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="of: " + " ".join(case.name for case in CASES))
    parser.add_argument("--accept", action="store_true", help="store the figures as the baseline")
    arguments = parser.parse_args()
    chosen = [case for case in CASES if not arguments.cases or case.name in arguments.cases]
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    print(f"{'instructions of':18} {'now':>12} {'baseline':>12}")
    failed = []
    for case in chosen:
        try:
            value = price(case)
        except RuntimeError as error:
            print(f"{case.name:18} FAILED {error}")
            failed.append(case.name)
            continue
        if not judge(case.name, value, baseline.get(case.name)):
            failed.append(case.name)
        baseline[case.name] = round(value, 1)
    if arguments.accept:
        BASELINE.write_text(json.dumps(baseline, indent=1, sort_keys=True) + "\n")
        return 0
    if failed:
        print("FAILED:", " ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
