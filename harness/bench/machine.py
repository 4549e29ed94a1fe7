"""What /proc says: the CPU that a process and all below it used, and what the machine did besides; Linux alone."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
MOST_OTHERS_CORES = 0.10
MOST_STOLEN_SHARE = 0.01


def process_times() -> dict[int, tuple[int, float]]:
    """Return of each process its parent, and the CPU seconds of it and of the children that it has waited for."""
    found = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text(errors="replace")
            except OSError:  # it has ended
                continue
            fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
            found[int(folder.name)] = (int(fields[1]), sum(map(int, fields[11:15])) * TICK_S)
    return found


def cpu_s(roots: Iterable[int]) -> float:
    """Return the CPU seconds used so far by ``roots`` and everything below them."""
    times = process_times()
    below: dict[int, list[int]] = {}
    for pid, (parent, _) in times.items():
        below.setdefault(parent, []).append(pid)
    seen: set[int] = set()
    waiting = [pid for pid in roots if pid in times]
    while waiting:
        pid = waiting.pop()
        if pid not in seen:
            seen.add(pid)
            waiting += below.get(pid, ())
    return sum(times[pid][1] for pid in seen)


@dataclass(frozen=True, slots=True)
class Usage:
    """How busy the machine was with what was not ours: cores used by others, and the share of its time stolen."""

    others_cores: float
    stolen_share: float

    @property
    def disturbs(self) -> bool:
        """Whether what was measured meanwhile proves nothing."""
        return self.others_cores > MOST_OTHERS_CORES or self.stolen_share > MOST_STOLEN_SHARE


class Watch:
    """Looks at the machine from its making to ``usage``: what is left when this process's tree is taken off."""

    def __init__(self, ours: Iterable[int] = ()) -> None:
        self._ours = (os.getpid(), *ours)
        self._before = self._look()

    def usage(self) -> Usage:
        """Return how busy others were since the watch was made."""
        now_s, worked_s, stolen_s, ours_s = (
            after - before for after, before in zip(self._look(), self._before, strict=True)
        )
        cores = os.cpu_count() or 1
        return Usage(max(0.0, worked_s - ours_s) / max(now_s, TICK_S), stolen_s / max(now_s * cores, TICK_S))

    def _look(self) -> tuple[float, float, float, float]:
        fields = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, *_, steal = (int(field) * TICK_S for field in fields[:8])
        return perf_counter(), user + nice + system, steal, cpu_s(self._ours)


def listener(port: int) -> int | None:
    """Return the process that listens on ``port`` of this machine, or None if that cannot be told."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        path = PROC / "net" / table
        for row in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = row.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    holders = []
    for folder in PROC.iterdir():
        if folder.name.isdigit() and inodes & set(_held(folder / "fd")):
            holders.append(int(folder.name))
    return min(holders, default=None)  # a master is older than its workers


def _held(descriptors: Path) -> Iterator[str]:
    """Yield what a process's descriptors stand for, as far as they may be seen and are still open."""
    try:
        for link in descriptors.iterdir():
            with suppress(OSError):
                yield os.readlink(link)
    except OSError:
        return


def free_port() -> int:
    """Return a port of loopback that nobody has now; whoever is told to use it must be checked to have got it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def describe() -> dict[str, str | int]:
    """Return what the figures of this machine should be read with."""
    model = ""
    if (PROC / "cpuinfo").exists():
        names = [row.partition(":")[2] for row in (PROC / "cpuinfo").read_text().splitlines() if "model name" in row]
        model = names[0].strip() if names else ""
    return {
        "cores": os.cpu_count() or 1,
        "cpu": model or platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
