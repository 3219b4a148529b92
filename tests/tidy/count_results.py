#!/usr/bin/env python3
"""Counts what a step of `./dev test` has run: prints "PASSED FAILED SKIPPED".

usage: count_results.py KIND LOG STATUS

A kind says what the log looks like. A failing status always leaves at least one failure: a program that
crashed before it could count its tests must not look like a program without tests.
"""

import re
import sys
from pathlib import Path


def count_pytest(text: str) -> tuple[int, int, int]:
    lines = [line for line in text.splitlines() if re.search(r"\d+ (passed|failed|skipped|errors?)\b.* in ", line)]
    last = lines[-1] if lines else ""
    found = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
    return found.get("passed", 0), found.get("failed", 0) + found.get("error", 0), found.get("skipped", 0)


def count_unit(text: str) -> tuple[int, int, int]:
    """ctest runs programs; cmocka says how many tests each holds; a model without cmocka is one test."""
    passed = failed = skipped = 0
    for program in re.split(r"^test \d+$", text, flags=re.MULTILINE)[1:]:
        number = re.search(r"^\d+: Test command", program, re.MULTILINE)
        if not number:
            continue
        good = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", program))
        bad = sum(int(n) for n in re.findall(r"\[  FAILED  \] (\d+) test", program))
        skipped += sum(int(n) for n in re.findall(r"\[  SKIPPED \] (\d+) test", program))
        passed += good
        failed += bad
    results = re.findall(r"^\s*\d+/\d+ Test\s+#\d+: (\S+) \.*\**\s*(\S+)", text, re.MULTILINE)
    passed += sum(1 for name, result in results if name.endswith("_model") and result == "Passed")
    return passed, max(failed, sum(1 for _, result in results if result != "Passed")), skipped


def count_lines(text: str) -> tuple[int, int, int]:
    return len(re.findall(r"^PASS ", text, re.MULTILINE)), len(re.findall(r"^FAIL ", text, re.MULTILINE)), 0


def count_check(_text: str) -> tuple[int, int, int]:
    return 1, 0, 0


KINDS = {"pytest": count_pytest, "unit": count_unit, "lines": count_lines, "check": count_check}


def main() -> None:
    kind, log, status = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    passed, failed, skipped = KINDS[kind](log.read_text(errors="replace"))
    if status != 0 and failed == 0:
        failed, passed = 1, 0 if kind == "check" else passed
    print(passed, failed, skipped)


if __name__ == "__main__":
    main()
