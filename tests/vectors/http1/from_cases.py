#!/usr/bin/env python3
"""Writes cases.txt, the parsers' view of cases.jsonl, in the form that README.md describes.

A case says what a client sees; kept here is what request and body parser alone decide of it: the requests they
deliver, the refusals, and whether the connection may be used again.
"""

import json
from pathlib import Path

HERE = Path(__file__).parent
SHOWN_BODY_MAX = 100


def escaped(data: bytes) -> str:
    names = {0x0D: r"\r", 0x0A: r"\n", 0x09: r"\t", 0x5C: r"\\"}
    text = "".join(names.get(o, chr(o) if 0x20 <= o < 0x7F else f"\\x{o:02x}") for o in data)
    return f"{text[:-1]}\\x20" if text.endswith(" ") else text


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for octet in data:
        value = (value ^ octet) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def input_lines(case: dict) -> list[str]:
    lines = []
    for text, repeat in case.get("raw_parts") or [[case["raw"], 1]]:
        data = text.encode("latin-1")
        if repeat > 1:
            lines.append(f">*{repeat} {escaped(data)}")
            continue
        lines += [f"> {escaped(line)}" for line in data.splitlines(keepends=True)]
    return lines


def body_of(entry: dict) -> bytes:
    parts = entry.get("body_parts") or [[entry.get("body", ""), 1]]
    return b"".join(text.encode("latin-1") * repeat for text, repeat in parts)


def alternatives(wanted: list[str]) -> list[str]:
    return [f"{'|' if i else '='} {text}" for i, text in enumerate(wanted)]


def head_lines(entry: dict) -> list[str]:
    if "path" not in entry or entry.get("any_echo"):
        return ["= head..."]
    paths = entry["path"] if isinstance(entry["path"], list) else [entry["path"]]
    query = escaped(entry.get("query", "").encode("latin-1")) or "-"
    lines = alternatives(
        [f"head {entry['method']} {escaped(p.encode('latin-1'))} {query} ..." for p in paths]
    )
    lines += [
        f"has {name}: {escaped(value.encode('latin-1'))}"
        for name, value in entry.get("headers", [])
        if isinstance(value, str)
    ]
    return lines + [f"lacks {name}" for name in entry.get("absent", [])]


def body_line(body: bytes) -> str:
    shown = escaped(body) if len(body) <= SHOWN_BODY_MAX else f"{len(body)} octets, fnv {fnv1a(body):016x}"
    return f"= body {shown}"


def message_lines(case: dict, entry: dict) -> list[str]:
    lines = head_lines(entry)
    body = body_of(entry)
    if body:
        lines.append(body_line(body))
    elif "read-none" in case["name"]:
        lines.append("? body...")
    return lines + ["= end"]


def expected_lines(case: dict) -> list[str]:
    lines = []
    for entry in case.get("responses", []) + case.get("before", []):
        lines += message_lines(case, entry)
    if case["class"] == "accept":
        then = "any" if case.get("eof") else case["then"]
        return lines + {"keep": [], "close": ["= close"], "any": ["? close"]}[then]
    lines += ["? head...", "? body..."]
    if case["class"] == "close":
        return lines + ["? more"]
    return lines + alternatives([f"reject {status}" for status in case["status"]])


def main() -> None:
    out = ["# Written by from_cases.py; change cases.jsonl instead."]
    for line in (HERE / "cases.jsonl").read_text().splitlines():
        case = json.loads(line)
        out += ["", f"case {case['name']}", *input_lines(case), *expected_lines(case)]
    (HERE / "cases.txt").write_text("\n".join(out) + "\n")


main()
