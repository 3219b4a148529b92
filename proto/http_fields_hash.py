#!/usr/bin/env python3
"""Searches weights for the perfect hash of http_fields.c and prints its table.

Run it after a change to HTTP_FIELDS; the unit test says when that is needed.
"""

import random
import re
from pathlib import Path

SLOTS = 128


def key(name: str) -> tuple[int, int, int, int]:
    return len(name), ord(name[0]), ord(name[len(name) * 3 // 4]), ord(name[-1])


def slot(weights: tuple[int, ...], parts: tuple[int, int, int, int]) -> int:
    return sum(weight * part for weight, part in zip(weights, parts)) % SLOTS


def main() -> None:
    header = Path(__file__).with_name("http_fields.h").read_text()
    fields = re.findall(r'X\(([A-Z0-9_]+), "([^"]+)"\)', header)
    chance = random.Random(1)
    while True:
        weights = tuple(chance.randrange(1, SLOTS) for _ in range(4))
        slots = {slot(weights, key(name)): symbol for symbol, name in fields}
        if len(slots) == len(fields):
            break
    print("weights:", *weights)
    for number in sorted(slots):
        print(f"    [{number}] = HTTP_FIELD_{slots[number]},")


main()
