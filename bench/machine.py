"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any


def cpu_name() -> str:
    """The model as the system names it, with family and model numbers where the name alone says little."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.*)$", text.split("\n\n")[0], re.MULTILINE))
    name = found.get("model name", platform.machine())
    if any(c.isdigit() for c in name) or "cpu family" not in found:
        return name
    return f"{name} (family {found['cpu family']}, model {found['model']})"


def cpu_flags() -> set[str]:
    try:
        found = re.search(r"^flags\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return set()
    return set(found.group(1).split()) if found else set()


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


def slug() -> str:
    """The CPU's name for a file name."""
    return re.sub(r"[^a-z0-9]+", "-", cpu_name().lower()).strip("-")


def describe() -> dict[str, Any]:
    packages = ("fastfc", "numpy", "numba", "llvmlite", "scipy")
    return {
        "cpu": cpu_name(),
        "cores": len(cores()),
        "avx512": "avx512f" in cpu_flags(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
    }
