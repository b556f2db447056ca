"""What a machine does to a training: neighbours that take its cores, and the quota of a control group."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import machine

# Spins and sleeps in turns, on one CPU: arguments are the CPU, how nice to be, and the longest turn of either in seconds,
# 0 for spinning alone.
NEIGHBOUR = """
import os, random, sys, time
cpu, nice, busy, idle = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
os.sched_setaffinity(0, {cpu})
try:
    os.nice(nice)
except PermissionError:
    pass
turns = random.Random(cpu)
print("ready", flush=True)
parent = os.getppid()
while os.getppid() == parent:
    end = time.perf_counter() + (turns.uniform(0.05, busy) if busy else 1.0)
    while time.perf_counter() < end:
        pass
    if idle:
        time.sleep(turns.uniform(0.02, idle))
"""
GAPS = ("-10", "0.5", "0.2")  # of higher priority where that is allowed, some 70 % of the time
BUSY = ("0", "0", "0")
PERIOD = 100_000  # microseconds
V1, V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


@contextlib.contextmanager
def during(name: str, pid: int, twin: Callable[[], object] | None) -> Iterator[None]:
    """While process `pid` runs: "gaps" or "busy" on the cores, "quota N" of CPUs, "twin" that does the same, or nothing.

    RuntimeError where that cannot be had.
    """
    if name in ("gaps", "busy"):
        with neighbours(*(GAPS if name == "gaps" else BUSY)):
            yield
    elif name.startswith("quota"):
        with quota(float(name.split()[1]), pid):
            yield
    elif twin is not None:
        beside = threading.Thread(target=twin)
        beside.start()
        try:
            yield
        finally:
            beside.join()
    else:
        yield


@contextlib.contextmanager
def neighbours(*arguments: str) -> Iterator[None]:
    """One on each of two cores."""
    started = []
    try:
        for cpu in machine.cores()[:2]:
            command = [sys.executable, "-c", NEIGHBOUR, str(cpu), *arguments]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in started:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def quota(cpus: float, pid: int) -> Iterator[None]:
    """The process in a control group of its own, with so many CPUs' worth of time; then back where it was."""
    first = (V1 / "cpu.cfs_quota_us").exists() or (V1 / "tasks").exists()
    above = V1 if first else V2
    group = above / f"fastfc-bench-{os.getpid()}"
    microseconds = str(int(cpus * PERIOD))
    try:
        group.mkdir()
    except OSError as error:
        raise RuntimeError(f"no control group may be made here: {error}") from None
    try:
        if first:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(microseconds)
        else:
            (group / "cpu.max").write_text(f"{microseconds} {PERIOD}")
        (group / "cgroup.procs").write_text(str(pid))
        yield
    except OSError as error:
        raise RuntimeError(f"no quota may be set here: {error}") from None
    finally:
        with contextlib.suppress(OSError):  # of a process that has ended
            (above / "cgroup.procs").write_text(str(pid))
        group.rmdir()
