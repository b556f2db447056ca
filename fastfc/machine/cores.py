"""How many threads may run at once: what the system allows, the cores that there are, and what the user says.

What the system tells is read from files below a root, so that tests may bring their own. A file that is not there or says
something else limits nothing.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from fastfc.errors import invalid

ROOT = Path("/")
FAST = 0.75  # of the largest capacity, from which a core of an ARM CPU with several kinds counts as a fast one
VARIABLES = ("FASTFC_NUM_THREADS", "OMP_NUM_THREADS")


def usable_cpus() -> int:
    """Logical CPUs that this process may run on."""
    return len(_affinity())


def limits() -> dict[str, int]:
    """How many threads each limit allows, by what it is called; the least of them is the default number.

    Read anew when the affinity mask or a variable changes, and otherwise once a second, for a quota may change.
    """
    given = tuple(os.environ.get(name) for name in VARIABLES)
    return dict(_limits(_affinity(), given, int(time.monotonic())))


@functools.lru_cache(maxsize=1)
def _limits(affinity: frozenset[int], given: tuple[str | None, ...], second: int) -> dict[str, int]:
    environment = {name: text for name, text in zip(VARIABLES, given, strict=True) if text is not None}
    return found(affinity, environment)


def found(
    affinity: frozenset[int],
    environment: Mapping[str, str],
    root: Path = ROOT,
    system: str = sys.platform,
    sysctl: Callable[[str], int | None] | None = None,
) -> dict[str, int]:
    """The limits of a process with this affinity mask, on the `system` whose files are below `root`.

    sysctl  of a name gives its number, or None: macOS has no files
    """
    allowed: dict[str, int | None] = {"affinity": len(affinity)}
    if system == "darwin":
        ask = sysctl or _sysctl
        allowed["physical cores"] = ask("hw.perflevel0.physicalcpu") or ask("hw.physicalcpu")
    elif system == "linux":
        allowed["physical cores"] = physical_cores(affinity, root)
        quota = cgroup_quota(root)
        allowed["cgroup quota"] = None if quota is None else max(1, int(quota + 1e-9))
    allowed |= {name: _variable(name, environment.get(name)) for name in VARIABLES}
    return {name: number for name, number in allowed.items() if number}


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    count = getattr(os, "process_cpu_count", os.cpu_count)  # from Python 3.13 on the affinity mask of Windows
    return frozenset(range(count() or 1))


def _variable(name: str, text: str | None) -> int | None:
    """The first number of a list. OpenMP's variable is not ours to check."""
    first = (text or "").split(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        return int(first)
    if first and name == "FASTFC_NUM_THREADS":
        raise invalid(name, repr(text), "a whole number >= 1")
    return None


def _sysctl(name: str) -> int | None:
    value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
    failed = ctypes.CDLL(None).sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
    return None if failed else value.value


@functools.lru_cache(maxsize=8)
def physical_cores(affinity: frozenset[int], root: Path = ROOT) -> int:
    """How many cores the CPUs in the mask are of, as hyperthreads share what multiplies; of a CPU with cores of several kinds the
    fast ones alone, unless the mask has none: equal shares wait for the slowest."""
    devices = root / "sys/devices"
    fast = _cpus(_read(devices / "cpu_core/cpus")) or _most_capable(devices)
    cpus = fast.intersection(affinity) or affinity
    return len({_read(devices / f"system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in cpus})


def _most_capable(devices: Path) -> set[int]:
    texts = {path.parent.name[3:]: _read(path) for path in devices.glob("system/cpu/cpu[0-9]*/cpu_capacity")}
    capacity = {int(cpu): int(text) for cpu, text in texts.items() if text.isdecimal()}
    return {cpu for cpu, value in capacity.items() if value >= FAST * max(capacity.values())}


def _cpus(text: str) -> set[int]:
    """Of a list such as "0-3,8"."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        return set()
    ends = [part.split("-") for part in text.split(",")]
    return {cpu for part in ends for cpu in range(int(part[0]), int(part[-1]) + 1)}


def cgroup_quota(root: Path = ROOT) -> float | None:
    """CPUs' worth of time that this process may use: the least quota of its control groups and of all above them that can be
    seen, of version 1, 2 or both. None where there is no limit."""
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _quota(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split() or [_read(folder / f"cpu.cfs_{which}_us") for which in ("quota", "period")]
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None  # "max", or -1
    quota, period = map(int, words)
    return quota / period if quota and period else None


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the control groups that may have a quota for this process: its own, and those above.

    Sources: cgroups(7), proc_pid_mountinfo(5).
    """
    own = dict(_own_groups(root))
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        words, kind = before.split(), after.split()
        if len(words) < 5 or len(kind) < 3:
            continue
        version = {"cgroup2": 2, "cgroup": 1 if "cpu" in kind[2].split(",") else 0}.get(kind[0], 0)
        if version not in own:
            continue
        top, mounted = (PurePosixPath(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), word)) for word in words[3:5])
        path = PurePosixPath(own[version])
        below = path.relative_to(top) if path.is_relative_to(top) and ".." not in path.parts else PurePosixPath()
        folder = root / mounted.relative_to("/")
        yield folder
        for part in below.parts:
            folder /= part
            yield folder


def _own_groups(root: Path) -> Iterator[tuple[int, str]]:
    """(version, path) of the groups of this process that may limit its CPUs."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if path.startswith("/") and (controllers == "" or "cpu" in controllers.split(",")):
            yield 1 if controllers else 2, path


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
