"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import time
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from fastfc.machine import info

GAP = 2e-3  # s: a longer gap between two turns of a loop that does nothing else was somebody else's


def cores() -> list[int]:
    """One CPU number for each physical core that this process may use."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    seen: set[str] = set()
    first = []
    for cpu in usable:
        try:
            siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            siblings = str(cpu)
        if siblings not in seen:
            seen.add(siblings)
            first.append(cpu)
    return first


def cpu_seconds() -> list[float]:
    """Seconds of all CPUs since the start of the system: user, nice, system, idle, waiting, interrupts (two), steal;
    zeros where /proc/stat does not tell."""
    try:
        spent = Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    except OSError:
        spent = []
    return [int(word) / os.sysconf("SC_CLK_TCK") for word in spent] + [0.0] * (8 - len(spent))


def busy_seconds() -> float:
    """CPU time that all processes together have used since the start of the system; 0 where it is not told."""
    spent = cpu_seconds()
    return sum(spent) - sum(spent[3:5])


def gaps(seconds: float) -> float:
    """Spin for that long: the share of the time in which the machine did not let the loop turn."""
    start = last = time.perf_counter()
    lost = 0.0
    while last - start < seconds:
        now = time.perf_counter()
        if now - last > GAP:
            lost += now - last
        last = now
    return lost / (last - start)


class Watch:
    """How much of its time the machine is taken away. Made before the workloads; look() between them, never beside them:
    the spinning takes a core. What the hypervisor owns up to (steal) is counted while they run, too."""

    def __init__(self) -> None:
        self._start, self._stolen = time.perf_counter(), cpu_seconds()[7]
        self._gaps: list[float] = []
        self.look()

    def look(self) -> None:
        self._gaps.append(gaps(0.5))

    def shares(self) -> dict[str, float]:
        """Of one core's time while it spun, and of all cores' time from the start until now."""
        passed = (time.perf_counter() - self._start) * (os.cpu_count() or 1)
        return {"gaps": mean(self._gaps), "steal": (cpu_seconds()[7] - self._stolen) / passed}


def slug(cpu: str | None = None, count: int | None = None) -> str:
    """The CPU and its number of cores, of this machine by default, for the name of a file."""
    name = re.sub(r"[^a-z0-9]+", "-", (cpu or info.cpu_name()).lower()).strip("-")
    return f"{name}-{count or len(cores())}-cores"


def describe() -> dict[str, Any]:
    return {
        "cpu": info.cpu_name(),
        "cores": len(cores()),
        "avx512": "avx512f" in info.simd(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: version(package) for package in (*info.PACKAGES, "scipy")},
    }
