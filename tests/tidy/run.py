#!/usr/bin/env python3
"""Runs every check of this folder: functions named check or check_*, which return what is wrong."""

import inspect
import sys

import call_circles
import include_directions
import link_walls
import words


def main() -> int:
    failed = 0
    for module in (call_circles, include_directions, link_walls, words):
        for name, check in inspect.getmembers(module, inspect.isfunction):
            if not (name == "check" or name.startswith("check_")) or check.__module__ != module.__name__:
                continue
            wrong = check()
            failed += bool(wrong)
            print("FAIL" if wrong else "PASS", check.__doc__)
            for line in wrong:
                print(f"     {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
