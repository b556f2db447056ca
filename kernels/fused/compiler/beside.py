"""A second process that compiles kernels into the folder where they are kept, while this one compiles others.

It ends by itself, and with this process at the latest. What takes long to import is imported when there is something to compile.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import Any

from fastfc.kernels.fused.compiler.known import is_known
from fastfc.kernels.fused.folder import cache_folder

CHILD = """
import json, sys
sys.modules["scipy"] = None  # Numba would import it, for linear algebra
sys.path[:], kernels = json.load(sys.stdin)
from fastfc.kernels.fused.compiler.entry import Entry
for name, key in kernels:
    Entry(name).address_of(key)
"""

_process: Any = None  # a subprocess.Popen


def begin(kernels: list[tuple[str, str]]) -> None:
    """Kernels (name, key) in the order in which it compiles them. What it does not compile, for whatever reason, is left to us."""
    import json
    import subprocess

    global _process
    with contextlib.suppress(OSError):  # it cannot begin, or has ended already
        _process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # of Windows
        )
        with _process.stdin as given:
            given.write(json.dumps([sys.path, kernels]).encode())


@atexit.register
def end() -> None:
    """At once; what it had not finished is not left behind."""
    if _process is None:
        return
    folder, left = cache_folder(), [f"{_process.pid}-*.tmp"]
    if _is_there():
        _process.kill()
        _process.wait()
        left.append("*.lock")  # without another's lock a kernel is compiled twice, at worst
    for pattern in left:
        for path in folder.glob(pattern) if folder else ():
            path.unlink(missing_ok=True)


def _forget() -> None:
    """In a forked child: the process is the parent's, and nothing to wait for."""
    global _process
    if _process is not None:
        _process.returncode, _process = 0, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def can_begin() -> bool:
    """Whether there is none and a core for it, and what it keeps will be found. Workers of a pool keep all cores busy already."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pools = sys.modules.get("multiprocessing")
    is_worker = pools is not None and pools.parent_process() is not None
    is_python = bool(sys.executable) and not hasattr(sys, "frozen")
    return cores > 1 and is_python and not is_worker and not _is_there() and cache_folder() is not None and _has_known_numba()


def _is_there() -> bool:
    return _process is not None and _process.poll() is None


def _has_known_numba() -> bool:
    import importlib.metadata

    try:
        return is_known(importlib.metadata.version("numba"))
    except importlib.metadata.PackageNotFoundError:
        return False
