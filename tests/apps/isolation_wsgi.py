"""An application that was taken over: it tries every way to write what an I/O process reads, and says what came of it.

GET /attack answers a JSON object of attempt: result. A result that begins with "refused" is what we want to see;
everything else names what was possible. GET / says hello, to see who still serves.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import signal
import sys
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
MAP_FAILED = ctypes.c_void_p(-1).value
READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
MADV_REMOVE = 9
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
SYS_PROCESS_VM_WRITEV, SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 311, 434, 438


def refused() -> str:
    return f"refused: {errno.errorcode.get(ctypes.get_errno(), '?')}"


def attempt(function, *arguments) -> str:
    try:
        return function(*arguments)
    except OSError as error:
        return f"refused: {errno.errorcode.get(error.errno, error)}"


# --- what this process has ---


def shared_mappings() -> list[tuple[int, int, str, str]]:
    """Start, length, protection and name of each memfd that is mapped here."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "/memfd:" not in line:
            continue
        span, protection, *_ = line.split()
        start, end = (int(word, 16) for word in span.split("-"))
        found.append((start, end - start, protection, line[line.index("/memfd:") :]))
    return found


def io_processes() -> list[int]:
    """The I/O processes of our own supervisor."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            title = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getppid() and title.startswith(b"uroboros: io"):
            found.append(int(entry.name))
    return sorted(found)


def descriptors() -> list[tuple[int, str]]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except OSError:
            continue
    return found


# --- the read-only memory ---


def make_writable(start: int, length: int) -> str:
    return "made writable" if libc.mprotect(start, length, READ_WRITE) == 0 else refused()


def write_to(start: int) -> str:
    """In a child, because the right answer is a signal."""
    child = os.fork()
    if child == 0:
        # The handlers of the process are not the child's business.
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        ctypes.memset(start, 0x41, 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return "written" if os.waitstatus_to_exitcode(status) == 0 else f"refused: signal {os.WTERMSIG(status)}"


def punch_hole(start: int, length: int) -> str:
    return "punched" if libc.madvise(start, length, MADV_REMOVE) == 0 else refused()


def map_again(start: int, length: int) -> str:
    """The mapping's file, opened again by its name in /proc."""
    path = f"/proc/self/map_files/{start:x}-{start + length:x}"
    descriptor = os.open(path, os.O_RDWR)
    address = libc.mmap(None, length, READ_WRITE, mmap.MAP_SHARED, descriptor, 0)
    return "mapped again" if address != MAP_FAILED else refused()


def read_only_attacks() -> dict[str, str]:
    result = {}
    for number, (start, length, protection, name) in enumerate(shared_mappings()):
        if "w" in protection:
            continue
        label = f"{name} {number}"
        result[f"mprotect {label}"] = attempt(make_writable, start, length)
        result[f"write {label}"] = attempt(write_to, start)
        result[f"punch {label}"] = attempt(punch_hole, start, length)
        result[f"map again {label}"] = attempt(map_again, start, length)
    return result


# --- descriptors that were kept ---


def descriptor_attacks() -> dict[str, str]:
    """Memory made by others must not shrink under them."""
    result = {}
    for descriptor, name in descriptors():
        if "memfd:" not in name:
            continue
        # What is our own scratch, a memfd that nobody maps, is nobody's business.
        if not any(name.split()[0] in mapped for *_, mapped in shared_mappings()):
            continue
        result[f"truncate {name}"] = attempt(lambda fd=descriptor: os.ftruncate(fd, 0) or "truncated")
        result[f"unseal {name}"] = attempt(lambda fd=descriptor: fcntl.fcntl(fd, 1033, 0x10) and "" or "sealed anew")
    return result


# --- the other processes ---


def open_path(path: str, flags: int) -> str:
    os.close(os.open(path, flags))
    return "opened"


def ptrace(request: int, pid: int) -> str:
    if libc.ptrace(request, pid, None, None) == 0:
        libc.ptrace(17, pid, None, None)
        return "attached"
    return refused()


def vm_write(pid: int) -> str:
    class IoVector(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    text = ctypes.create_string_buffer(b"A")
    ours, theirs = IoVector(ctypes.addressof(text), 1), IoVector(0x400000, 1)
    written = libc.syscall(SYS_PROCESS_VM_WRITEV, pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
    return "written" if written == 1 else refused()


def steal_descriptor(pid: int) -> str:
    pidfd = libc.syscall(SYS_PIDFD_OPEN, pid, 0)
    if pidfd < 0:
        return refused()
    stolen = libc.syscall(SYS_PIDFD_GETFD, pidfd, 3, 0)
    return "stolen" if stolen >= 0 else refused()


def process_attacks() -> dict[str, str]:
    result = {}
    for pid in io_processes():
        result[f"/proc/{pid}/mem"] = attempt(open_path, f"/proc/{pid}/mem", os.O_RDWR)
        result[f"/proc/{pid}/maps"] = attempt(open_path, f"/proc/{pid}/maps", os.O_RDONLY)
        result[f"/proc/{pid}/environ"] = attempt(open_path, f"/proc/{pid}/environ", os.O_RDONLY)
        result[f"/proc/{pid}/fd"] = attempt(lambda p=pid: "listed" if os.listdir(f"/proc/{p}/fd") else "refused: empty")
        result[f"ptrace attach {pid}"] = ptrace(PTRACE_ATTACH, pid)
        result[f"ptrace seize {pid}"] = ptrace(PTRACE_SEIZE, pid)
        result[f"process_vm_writev {pid}"] = vm_write(pid)
        result[f"pidfd_getfd {pid}"] = steal_descriptor(pid)
    return result


def saturate_doorbells() -> int:
    """Fills every eventfd that this process may write; returns how many."""
    count = 0
    for descriptor, name in descriptors():
        if "eventfd" not in name:
            continue
        os.set_blocking(descriptor, False)
        try:
            os.write(descriptor, (2**64 - 2).to_bytes(8, sys.byteorder))
        except BlockingIOError:
            pass
        count += 1
    return count


def attack() -> dict:
    return {
        "uid": os.getuid(),
        "mappings": [name for *_, name in shared_mappings()],
        "io_processes": io_processes(),
        "attempts": read_only_attacks() | descriptor_attacks() | process_attacks(),
        "doorbells": saturate_doorbells(),
    }


def app(environ, start_response):
    body = json.dumps(attack() if environ["PATH_INFO"] == "/attack" else f"hello from {os.getpid()}").encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
