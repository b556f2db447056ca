"""How many threads compute."""

from __future__ import annotations

from fastfc.errors import invalid
from fastfc.machine.cores import limits, usable_cpus
from fastfc.validation import whole

MOST_THREADS = 1024


def available_threads() -> int:
    """How many threads may run at once: the least of `limits`."""
    return min(limits().values())


def check_threads(threads: int | None) -> int:
    """`threads`, or all that may run at once if it is None; no more than there are CPUs to run them.

    More would only wait for each other, and results do not depend on the number.
    """
    if threads is None:
        return available_threads()
    whole("threads", threads, 1)
    if threads > MOST_THREADS:
        raise invalid("threads", threads, f"at most {MOST_THREADS}")
    return min(int(threads), usable_cpus())
