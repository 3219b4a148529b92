"""Runs the chapters in their order and writes what each test came to on the console.

A chapter is a module; its functions named test_* run in the order they stand in. They are one story: what a test
leaves behind is what the next one starts from. When the first chapter fails there is nothing to test.
"""

import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import FunctionType, ModuleType
from unittest import SkipTest

import install
import instance
import life
import remove
import serve
import upgrade

SHARED = Path("/booted")
CHAPTERS: list[ModuleType] = [install, serve, instance, life, upgrade, remove]


def tests_of(chapter: ModuleType) -> list[FunctionType]:
    return [value for name, value in vars(chapter).items() if name.startswith("test_")]


def run_test(chapter: str, test: FunctionType) -> bool:
    name, started = f"{chapter}: {test.__name__.removeprefix('test_').replace('_', ' ')}", time.monotonic()
    try:
        note = test()
    except SkipTest as reason:
        print(f"SKIPPED {name}: {reason}")
        return True
    except Exception:
        print(f"FAIL {name}")
        print("".join(f"    {line}\n" for line in traceback.format_exc().splitlines()), end="")
        return False
    finally:
        sys.stdout.flush()
    print(f"PASS {name} ({time.monotonic() - started:.1f} s{f'; {note}' if note else ''})", flush=True)
    return True


def keep_journal() -> None:
    with (SHARED / "journal.txt").open("wb") as file:
        subprocess.run(["journalctl", "--no-pager", "-o", "short-precise"], stdout=file, check=False)


def main() -> None:
    for chapter in CHAPTERS:
        results = [run_test(chapter.__name__, test) for test in tests_of(chapter)]
        if chapter is install and not all(results):
            break
    keep_journal()
    print("booted tests: done", flush=True)


main()
