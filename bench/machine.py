"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import time
from importlib.metadata import version
from pathlib import Path
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


def busy_seconds() -> float:
    """CPU time that all processes together have used since the start of the system; 0 where it is not told."""
    try:
        spent = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    except OSError:
        return 0.0
    idle, waiting = spent[3:5]
    return (sum(spent[:8]) - idle - waiting) / os.sysconf("SC_CLK_TCK")


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


def slug() -> str:
    """The CPU's name for a file name."""
    return re.sub(r"[^a-z0-9]+", "-", info.cpu_name().lower()).strip("-")


def describe() -> dict[str, Any]:
    return {
        "cpu": info.cpu_name(),
        "cores": len(cores()),
        "avx512": "avx512f" in info.simd(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: version(package) for package in (*info.PACKAGES, "scipy")},
    }
