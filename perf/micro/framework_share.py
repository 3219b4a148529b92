#!/usr/bin/env python3
"""How much of a request's instructions is not the framework's, by callgrind: at most 15 % of Flask's, 25 % of FastAPI's.

The framework alone is bare.py; the whole is an app process fed by perf_app_driver, plus what the I/O process does for a
request in parser, exchange and response head (its system calls are the kernel's, and callgrind does not see those).
"""

import sys
import tempfile

from check import CASES, GET, HERE, VENV, Case, callgrind, price

COUNT = 400
SHARES_MAX = {"flask": ("wsgi", "framework_flask", 0.15), "fastapi": ("asgi", "framework_fastapi", 0.25)}
IO_CASES = ("parse_wrk", "exchange_hop", "response_encode")


def bare_price(kind: str, module: str) -> float:
    totals = []
    with tempfile.TemporaryDirectory() as directory:
        for count in (COUNT, 2 * COUNT):
            command = [str(VENV / "bin/python"), str(HERE / "bare.py"), kind, module, str(count)]
            totals.append(sum(callgrind(command, directory).values()))
    return (totals[1] - totals[0]) / COUNT


def main() -> int:
    io = sum(price(case) for case in CASES if case.name in IO_CASES)
    failed = False
    for name, (kind, module, share_max) in SHARES_MAX.items():
        framework = bare_price(kind, module)
        app = price(Case(name, COUNT, f"{module}:app", GET))
        share = 1 - framework / (app + io)
        failed |= share > share_max
        print(
            f"{name}: framework {framework:.0f}, app process {app:.0f}, I/O process {io:.0f} instructions: "
            f"{share:.1%} outside the framework, at most {share_max:.0%}{'  FAILED' if share > share_max else ''}"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
