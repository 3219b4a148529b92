"""Standard output and error of an application, and the error log.

Captured (`capture_output`), both are the error log: whole lines into a pipe that may be full, never waiting for it.
Else they are the daemon's own, and the error log is a stream beside them: tracebacks, `wsgi.errors`, what hooks log.
"""

import io
import os
import sys
import threading
import traceback

# A write of at most so much goes into a pipe whole or not at all.
PIECE_MAX = 4096


class LineFile(io.RawIOBase):
    """Passes whole lines on. What the pipe does not take at once is dropped and counted."""

    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.pending = b""
        self.dropped = 0
        # A signal handler of the application may print while its thread prints.
        self.lock = threading.RLock()
        os.register_at_fork(after_in_child=self.start_anew)

    def start_anew(self):
        """In a forked child: whoever held the lock is not there, what was pending is the parent's."""
        self.lock = threading.RLock()
        self.pending = b""

    def writable(self):
        return True

    def fileno(self):
        return self.descriptor

    def write(self, data):
        data = bytes(data)
        with self.lock:
            lines = self.pending + data
            end = lines.rfind(b"\n") + 1
            if len(lines) - end > PIECE_MAX:
                end = len(lines)
            self.pending = lines[end:]
            if end:
                self.pass_on(lines[:end])
        return len(data)

    def finish(self):
        """A last line without a line end is a line too."""
        with self.lock:
            if self.pending:
                rest, self.pending = self.pending, b""
                self.pass_on(rest + b"\n")

    def pass_on(self, lines):
        start = 0
        while start < len(lines):
            end = len(lines)
            if end - start > PIECE_MAX:
                # At a line end if there is one within a piece.
                end = lines.rfind(b"\n", start, start + PIECE_MAX) + 1 or start + PIECE_MAX
            self.put(lines[start:end])
            start = end

    def put(self, piece):
        if self.dropped and not self.offer(f"uroboros: {self.dropped} lines dropped, the log was full\n".encode()):
            self.dropped += piece.count(b"\n") or 1
            return
        self.dropped = 0
        if not self.offer(piece):
            self.dropped = piece.count(b"\n") or 1

    def offer(self, piece):
        try:
            os.write(self.descriptor, piece)
        except OSError:  # full, or nobody reads any more
            return False
        return True


_log = None


def open_lines(descriptor):
    stream = io.TextIOWrapper(LineFile(descriptor), "utf-8", "backslashreplace", line_buffering=True)
    stream.mode = "w"
    return stream


def capture():
    """Puts line files in the places of sys.stdout and sys.stderr."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = open_lines(descriptor)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def leave(log_descriptor):
    """Both stay as they are. An exception that nobody handles belongs into the log all the same."""
    global _log
    _log = open_lines(log_descriptor)
    sys.excepthook = show


def show(kind, value, trace):
    traceback.print_exception(kind, value, trace, file=_log)


def traceback_text(kind, value, trace):
    """None where the application shows exceptions in its own way."""
    if sys.excepthook not in (sys.__excepthook__, show):
        return None
    return "".join(traceback.format_exception(kind, value, trace)).encode("utf-8", "backslashreplace")


def error_log():
    return _log or sys.stderr


def flush():
    for stream in filter(None, (sys.__stdout__, sys.__stderr__, _log)):
        stream.flush()
        if isinstance(stream.buffer, LineFile):
            stream.buffer.finish()
