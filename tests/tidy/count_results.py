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
    """ctest runs programs; cmocka says how many tests each holds; a program without cmocka is one test."""
    counts = {"PASSED": 0, "FAILED": 0, "SKIPPED": 0}
    counted = set()
    for program, word, number in re.findall(r"^(\d+): \[ +(PASSED|FAILED|SKIPPED) +\] (\d+) test", text, re.MULTILINE):
        counts[word] += int(number)
        counted.add(program)
    results = re.findall(r"^ *\d+/\d+ Test +#(\d+): \S+ \.*(.*?) +\d+\.\d+ sec", text, re.MULTILINE)
    bad = [program for program, result in results if "Passed" not in result]
    whole = [program for program, _ in results if program not in counted and program not in bad]
    return counts["PASSED"] + len(whole), max(counts["FAILED"], len(bad)), counts["SKIPPED"]


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
