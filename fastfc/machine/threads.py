"""How many threads compute."""

from __future__ import annotations

import os

from fastfc.errors import invalid
from fastfc.validation import whole

MOST_THREADS = 1024


def available_threads() -> int:
    """Logical CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(threads: int | None) -> int:
    """`threads`, or all that there are if it is None."""
    if threads is None:
        return available_threads()
    whole("threads", threads, 1)
    if threads > MOST_THREADS:
        raise invalid("threads", threads, f"at most {MOST_THREADS}")
    return int(threads)
