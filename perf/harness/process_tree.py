"""What a server costs: CPU time and memory of its process and all below it."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def tree(root: int) -> list[int]:
    """The process and its descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat_fields(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _run_seconds(pid: int) -> float:
    """What the scheduler gave to the process's living threads, to the nanosecond; 0 where the kernel does not tell."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(task.read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1e9


def cpu_seconds(root: int) -> float:
    """User and system time of the tree, of its dead children that were waited for too.

    Ticks are coarse for a short run, and the scheduler forgets threads that have ended: the larger of both is it.
    """
    seconds = 0.0
    for pid in tree(root):
        if fields := _stat_fields(pid):
            own, children = fields[11:13], fields[13:15]
            seconds += max(sum(map(int, own)) / TICK, _run_seconds(pid)) + sum(map(int, children)) / TICK
    return seconds


def _kib_of(pid: int, file: str, name: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def pss_kib(root: int) -> int:
    """Proportional set size of what the tree has written: pages that its processes share counted once.

    Pages of files do not count. Programs and libraries are shared with whoever else runs them, so that the same server
    seems to grow by 6 MiB when another one ends. Our I/O processes are not dumpable, so that only root may ask; to
    others, what is theirs alone has to do.
    """
    total = 0
    for pid in tree(root):
        try:
            total += _kib_of(pid, "smaps_rollup", "Pss_Anon") + _kib_of(pid, "smaps_rollup", "Pss_Shmem")
        except PermissionError:
            total += _kib_of(pid, "status", "RssAnon")
    return total


def rss_by_name(root: int) -> dict[str, int]:
    """Resident KiB of each process, by its title."""
    result = {}
    for pid in tree(root):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        result[f"{pid} {title[:60]}"] = _kib_of(pid, "status", "VmRSS")
    return result


def busy_seconds(cpus: set[int]) -> float:
    """How long these CPUs were not idle since the machine started, whoever used them; a hypervisor's theft included."""
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu" and int(name[3:]) in cpus:
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / TICK


@dataclass
class CpuSpan:
    """CPU seconds of a tree between start and stop, and what others used of `cpus` meanwhile, as a share of one CPU."""

    root: int
    cpus: set[int] = field(default_factory=set)
    seconds: float = 0.0
    cpu: float = 0.0
    others: float = 0.0

    def __enter__(self) -> "CpuSpan":
        self.others = -busy_seconds(self.cpus)
        self.cpu = -cpu_seconds(self.root)
        self.seconds = -time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu += cpu_seconds(self.root)
        self.seconds += time.monotonic()
        self.others = max(self.others + busy_seconds(self.cpus) - self.cpu, 0.0) / self.seconds if self.cpus else 0.0
