"""An application that was taken over: it tries every way to write what an I/O process reads, and says what came of it.

GET /attack answers a JSON object of attempt: result. A result that begins with "refused" is what we want to see;
everything else names what was possible. The same attempts are made on victims of our own that nobody protects, where each
has to succeed: an attempt that could not, would prove nothing. GET / says hello, to see who still serves.
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
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
written_text = ctypes.create_string_buffer(b"A")
MAP_FAILED = ctypes.c_void_p(-1).value
READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
MADV_REMOVE = 9
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
F_SEAL_FUTURE_WRITE = 0x10
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438


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


def attack_mapping(label: str, start: int, length: int) -> dict[str, str]:
    return {
        f"mprotect {label}": attempt(make_writable, start, length),
        f"write {label}": attempt(write_to, start),
        f"punch {label}": attempt(punch_hole, start, length),
        f"map again {label}": attempt(map_again, start, length),
    }


def read_only_attacks() -> dict[str, str]:
    result = {}
    for number, (start, length, protection, name) in enumerate(shared_mappings()):
        if "w" not in protection:
            result |= attack_mapping(f"{name} {number}", start, length)
    return result


# --- descriptors that were kept ---


def truncate(descriptor: int) -> str:
    os.ftruncate(descriptor, 0)
    return "truncated"


def seal(descriptor: int) -> str:
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, F_SEAL_FUTURE_WRITE)
    return "sealed anew"


def attack_descriptor(label: str, descriptor: int) -> dict[str, str]:
    return {f"truncate {label}": attempt(truncate, descriptor), f"seal {label}": attempt(seal, descriptor)}


def descriptor_attacks() -> dict[str, str]:
    """Memory made by others must not shrink under them."""
    result = {}
    for descriptor, name in descriptors():
        if "memfd:" not in name:
            continue
        # What is our own scratch, a memfd that nobody maps, is nobody's business.
        if not any(name.split()[0] in mapped for *_, mapped in shared_mappings()):
            continue
        result |= attack_descriptor(name, descriptor)
    return result


# --- the other processes ---


def open_path(path: str, flags: int) -> str:
    os.close(os.open(path, flags))
    return "opened"


def list_descriptors(pid: int) -> str:
    return "listed" if os.listdir(f"/proc/{pid}/fd") else "refused: empty"


def ptrace(request: int, pid: int) -> str:
    return "attached" if libc.ptrace(request, pid, None, None) == 0 else refused()


def vm_write(pid: int) -> str:
    """To an address that is ours: in a fork of this process it is there, in others the permission is asked before."""

    class IoVector(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    address = ctypes.addressof(written_text)
    ours, theirs = IoVector(address, 1), IoVector(address, 1)
    one, no_flags = ctypes.c_ulong(1), ctypes.c_ulong(0)
    written = libc.process_vm_writev(pid, ctypes.byref(ours), one, ctypes.byref(theirs), one, no_flags)
    return "written" if written == 1 else refused()


def steal_descriptor(pid: int) -> str:
    pidfd = libc.syscall(SYS_PIDFD_OPEN, pid, 0)
    if pidfd < 0:
        return refused()
    stolen = libc.syscall(SYS_PIDFD_GETFD, pidfd, 3, 0)
    result = "stolen" if stolen >= 0 else refused()
    for descriptor in {pidfd, stolen} - {-1}:
        os.close(descriptor)
    return result


PROCESS_ATTACKS = {
    "mem": lambda pid: open_path(f"/proc/{pid}/mem", os.O_RDWR),
    "maps": lambda pid: open_path(f"/proc/{pid}/maps", os.O_RDONLY),
    "environ": lambda pid: open_path(f"/proc/{pid}/environ", os.O_RDONLY),
    "fd": list_descriptors,
    "ptrace_attach": lambda pid: ptrace(PTRACE_ATTACH, pid),
    "ptrace_seize": lambda pid: ptrace(PTRACE_SEIZE, pid),
    "process_vm_writev": vm_write,
    "pidfd_getfd": steal_descriptor,
}


def process_attacks() -> dict[str, str]:
    return {f"{kind} {pid}": attempt(act, pid) for pid in io_processes() for kind, act in PROCESS_ATTACKS.items()}


# --- the same, where nothing is in the way ---


def on_a_victim(act) -> str:
    """A process of our own, and a new one for each attempt: what is traced once stays so."""
    victim = os.fork()
    if victim == 0:
        libc.pause()
        os._exit(0)
    try:
        return attempt(act, victim)
    finally:
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)


def controls() -> dict[str, str]:
    length = mmap.PAGESIZE
    descriptor = os.memfd_create("control", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, length)
    start = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    result = attack_mapping("control", start, length) | attack_descriptor("control", descriptor)
    libc.munmap(start, length)
    os.close(descriptor)
    return result | {f"{kind} control": on_a_victim(act) for kind, act in PROCESS_ATTACKS.items()}


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
        "controls": controls(),
        "attempts": read_only_attacks() | descriptor_attacks() | process_attacks(),
        "doorbells": saturate_doorbells(),
    }


def app(environ, start_response):
    body = json.dumps(attack() if environ["PATH_INFO"] == "/attack" else f"hello from {os.getpid()}").encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
