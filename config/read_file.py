"""Reads one settings file for uroboros and writes what it says to a descriptor.

Run by the file reader as `python -c THIS KIND NAME DESCRIPTOR TABLES`: KIND is toml, python or module, TABLES the names
of settings whose value is a table, separated by commas. The file may print, hang or exit: the answer has a descriptor
to itself, and the daemon has a clock.

The answer is a run of records. A record is a letter, the count of its strings, and the strings, each behind its length;
numbers are four bytes, little end first:

    V  name, line, kind, items...   a value; the kinds are the letters of `describe`
    S  name, value                  os.environ[name] was set
    U  name                         os.environ[name] was deleted
    E  line, text                   the file is wrong; the last record
    .                               the file was read; the last record

It must run on every Python that an application may use, so it stays with what Python 3.8 knows.
"""

import ast
import os
import struct
import sys

MAIN_NAME = "__config__"  # what Gunicorn calls the module that a file becomes


class Answer:
    def __init__(self, descriptor):
        self.stream = os.fdopen(descriptor, "wb")

    def record(self, letter, *strings):
        texts = [str(string).encode("utf-8", "surrogateescape") for string in strings]
        self.stream.write(letter.encode() + struct.pack("<I", len(texts)))
        for text in texts:
            self.stream.write(struct.pack("<I", len(text)) + text)

    def close(self):
        self.stream.close()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()


class WrongFile(Exception):
    def __init__(self, line, text):
        super().__init__(text)
        self.line = line


def scalar(value):
    """Kind and text of a plain value, or None."""
    if isinstance(value, bool):
        return "b", "true" if value else "false"
    if isinstance(value, int):
        return "n", int.__repr__(value)
    if isinstance(value, float):
        return "n", repr(value)
    if isinstance(value, str):
        return "s", str.__str__(value)
    if isinstance(value, os.PathLike):
        return "s", os.fspath(value)
    return None


def scalars(values):
    texts = [scalar(value) for value in values]
    return None if None in texts else [text for _, text in texts]


def table_lines(table):
    """NAME=VALUE lines of a table in an array, or None. A list in it is its items with commas."""
    lines = []
    for key, value in table.items():
        items = scalars(value if isinstance(value, (list, tuple)) else [value])
        if items is None or not isinstance(key, str) or "=" in key:
            return None
        lines.append(key + "=" + ",".join(items))
    return None if any("\n" in line for line in lines) else "\n".join(lines)


def describe(value):
    """Kind and items of any value; `o` is a value that no setting can take, described."""
    plain = scalar(value)
    if plain is not None:
        return plain[0], [plain[1]]
    if value is None:
        return "0", []
    if isinstance(value, (list, tuple, set, frozenset)):
        items = scalars(value)
        if items is not None:
            return "l", items
        if all(isinstance(item, dict) for item in value):
            items = [table_lines(item) for item in value]
            if None not in items:
                return "t", items
    if isinstance(value, dict):
        items = scalars(value.values())
        if items is not None and all(isinstance(key, str) and "=" not in key for key in value):
            return "d", [key + "=" + item for key, item in zip(value, items)]
    if isinstance(value, type):
        return "s", [value.__module__ + "." + value.__qualname__]
    if callable(value):
        return "c", []
    return "o", ["a value of type " + type(value).__name__]


def flatten(table, tables, prefix=""):
    """TOML tables joined by `_` until a setting's name is reached that takes a table."""
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict) and name.replace("-", "_") not in tables:
            yield from flatten(value, tables, name + "_")
        else:
            yield name, value


def toml_lines(text):
    """The line of every key, found without a parser: a decoder tells values, not places."""
    lines, table = {}, ""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if line.startswith("["):
            table = line.strip("[]").split("]")[0]
            key = table
        else:
            key = (table + "." if table else "") + line.split("=", 1)[0]
        parts = [part.strip().strip("\"'") for part in key.split(".")]
        lines.setdefault("_".join(parts), number)
    return lines


def line_of(lines, name):
    """The line of a name, or of the table that an inline table gave it."""
    while name:
        if name in lines:
            return lines[name]
        name = name.rpartition("_")[0]
    return 0


def read_toml(path, tables):
    try:
        import tomllib
    except ImportError:
        raise WrongFile(0, "TOML needs Python 3.11 or newer, " + sys.executable + " is older") from None
    with open(path, "rb") as file:
        text = file.read().decode("utf-8")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).partition(" (at ")
        line = place.partition(",")[0].rpartition(" ")[2]  # "line 3, column 1)" or "end of document)"
        raise WrongFile(int(line) if line.isdigit() else text.count("\n") + 1, "not TOML: " + reason) from None
    lines = toml_lines(text)
    for name, value in flatten(content, tables):
        yield name, line_of(lines, name), value


def assigned_names(node):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    return []


def python_lines(source):
    """The last line that gives each name of the module a value."""
    lines, pending = {}, [ast.parse(source)]
    while pending:
        node = pending.pop()
        for name in assigned_names(node):
            lines[name] = max(node.lineno, lines.get(name, 0))
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))
    return lines


def last_line_in(path, error):
    """The line of the file at which an exception passed through it."""
    line, traceback = 0, error.__traceback__
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno or 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == path:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def execute(path, source):
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_loader

    module = module_from_spec(spec_from_loader(MAIN_NAME, SourceFileLoader(MAIN_NAME, path)))
    sys.modules[MAIN_NAME] = module
    exec(compile(source, path, "exec"), module.__dict__)
    return module


def import_module(name, _):
    import importlib

    return importlib.import_module(name)


def source_of(module):
    import inspect

    try:
        return inspect.getsource(module)
    except (OSError, TypeError):
        return ""


def run(step, name, source):
    try:
        return step(name, source)
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: nothing a file does may pass for success
        text = str(error).split("\n")[0]
        raise WrongFile(last_line_in(name, error), type(error).__name__ + (": " + text if text else "")) from None


def read_python(name, is_path):
    if is_path:
        with open(name, "rb") as file:
            source = file.read()
        module = run(execute, name, source)
    else:
        module = run(import_module, name, None)
        source = source_of(module)
    lines = python_lines(source)
    for key, value in list(vars(module).items()):
        if not key.startswith("_") and type(value) is not type(sys):
            yield key, lines.get(key, 0), value


def write_environment(answer, before):
    for name, value in os.environ.items():
        if before.get(name) != value:
            answer.record("S", name, value)
    for name in before:
        if name not in os.environ:
            answer.record("U", name)


def read(kind, name, tables):
    if kind == "toml":
        return read_toml(name, tables)
    return read_python(name, kind == "python")


def main():
    kind, name, descriptor, tables = sys.argv[1:]
    answer, before = Answer(int(descriptor)), dict(os.environ)
    try:
        for key, line, value in read(kind, name, tables.split(",")):
            letter, items = describe(value)
            answer.record("V", key, line, letter, *items)
        write_environment(answer, before)
        answer.record(".")
    except WrongFile as error:
        answer.record("E", error.line, str(error))
    except (OSError, UnicodeError) as error:
        answer.record("E", 0, getattr(error, "strerror", None) or str(error))
    answer.close()
    os._exit(0)  # threads and exit functions of the file are nobody's concern here


main()
