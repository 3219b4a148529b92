#!/usr/bin/env python3
"""Line coverage of each room, from gcovr's summary: coverage_rooms.py SUMMARY.json"""

import json
import sys
from collections import defaultdict
from pathlib import Path

WORST_COUNT = 10


def percent(covered: int, total: int) -> str:
    return f"{covered / total:7.1%}" if total else "      -"


def main() -> None:
    files = json.loads(Path(sys.argv[1]).read_text())["files"]
    rooms: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for file in files:
        room = str(Path(file["filename"]).parent)
        for name in (room, "in all"):
            rooms[name][0] += file["line_covered"]
            rooms[name][1] += file["line_total"]
    print(f"{'room':24} {'lines':>7} {'covered':>8}")
    for name in sorted(rooms, key=lambda name: (name == "in all", name)):
        covered, total = rooms[name]
        print(f"{name:24} {total:7} {percent(covered, total):>8}")
    print("\nmost lines that no test runs:")
    for file in sorted(files, key=lambda file: file["line_covered"] - file["line_total"])[:WORST_COUNT]:
        missing = file["line_total"] - file["line_covered"]
        print(f"{file['filename']:44} {missing:5} of {file['line_total']:5}")


main()
