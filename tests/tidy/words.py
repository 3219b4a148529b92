"""What the text of the tree must not hold, and what it promises."""

import re
import subprocess
from collections import defaultdict
from pathlib import PurePath

from sources import ROOT, c_files, text_of, tracked

LEFT_BEHIND = re.compile(r"\b(TO" r"DO|FIX" r"ME|HA" r"CK)\b|\bXX" r"X[: ]")
TEXT = (".c", ".h", ".py", ".md", ".toml", ".txt", ".sh")


def check_nothing_left_behind() -> list[str]:
    """No marks of unfinished work."""
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name in tracked()
        if name.endswith(TEXT) or name in ("dev", "CMakeLists.txt")
        for number, line in enumerate(text_of(name).splitlines(), 1)
        if LEFT_BEHIND.search(line)
    ]


def check_stems_are_unique() -> list[str]:
    """A stem names one module of the whole tree."""
    places = defaultdict(set)
    for name in c_files():
        places[PurePath(name).stem].add(str(PurePath(name).parent))
    return [f"{stem} stands in {', '.join(sorted(found))}" for stem, found in places.items() if len(found) > 1]


def check_headers_say_what_they_own() -> list[str]:
    """A header opens with a comment."""
    return [name for name in c_files() if name.endswith(".h") and not text_of(name).startswith("/*")]


def shell_lines(name: str) -> list[str]:
    """The commands of a document: its fenced blocks, without prompts."""
    blocks = re.findall(r"```(?:sh|console)?\n(.*?)```", text_of(name), re.DOTALL)
    return [line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines() if line.strip()]


def check_documented_commands_exist() -> list[str]:
    """Every ./dev command and every flag of uroboros that a document shows is real."""
    usage = subprocess.run(["./dev", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    commands = set(re.findall(r"^\./dev (\w+)", usage, re.MULTILINE))
    help_text = subprocess.run(
        [ROOT / "build" / "release" / "uroboros", "--help"], capture_output=True, text=True, check=True
    ).stdout
    wrong = []
    for name in ("README.md", "examples/README.md"):
        for line in shell_lines(name):
            if (dev := re.match(r"\./dev (\w+)", line)) and dev.group(1) not in commands:
                wrong.append(f"{name}: there is no {dev.group()}")
            if "uroboros " in line:
                flags = re.findall(r"(?<!\S)--?[a-z][a-z0-9_-]*", line.split("uroboros ", 1)[1])
                wrong += [f"{name}: no flag {flag}" for flag in flags if not re.search(rf"{flag}\b", help_text)]
    return wrong


def check_documents_name_real_files() -> list[str]:
    """A path in backquotes inside a document leads to a file or folder of the tree, or of the build."""
    wrong = []
    for name in tracked():
        if not name.endswith(".md"):
            continue
        for path in re.findall(r"`((?:[a-z_]+/)+[a-z0-9_.]*)`", text_of(name)):
            if path.startswith("build/"):
                continue
            if not (ROOT / path).exists() and not (ROOT / name).parent.joinpath(path).exists():
                wrong.append(f"{name}: {path} is not there")
    return wrong


def check_documents_name_real_functions() -> list[str]:
    """A function that a document names is there."""
    code = "\n".join(text_of(name) for name in c_files())
    return [
        f"{name}: there is no {function}()"
        for name in tracked()
        if name.startswith("docs/") and name.endswith(".md")
        for function in re.findall(r"`([a-z_0-9]+)\(\)`", text_of(name))
        if not re.search(rf"\b{function}\(", code)
    ]
