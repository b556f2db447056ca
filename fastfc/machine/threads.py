"""How many threads compute: what is asked for, what the machine has, and what the work is worth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fastfc.errors import invalid
from fastfc.kernels.fused.records import CHUNK, PART, UNIT
from fastfc.machine.cores import limits, usable_cpus
from fastfc.validation import whole

MOST_THREADS = 1024
# In multiplications of one thread, of which it does some 7 to 30 thousand a microsecond. Measured on small networks: from where on
# do two threads pay? Barriers by themselves, which can be measured apart, are 3 % of it (bench/NOTES.md).
MEETING = 75_000  # what the barriers of a step cost each thread, for each of its threads, until all have come and left
CALL = 150_000  # what it costs to have threads that stand by begin, and to wait until they have ended
THREAD = 4_000_000  # the same of threads that there are not yet


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


def threads_to_train(most: int, layers: Sequence[int], batch_size: int, steps: int) -> int:
    """With how many of `most` threads `steps` steps of a training, made in one call, end first.

    A step has two phases: by samples, from the second layer on forward and back; and by features, the first layer's sums
    and all gradients. Neither can be cut finer than in units, and the slowest thread has the most of them.
    """
    sizes = [m * n for m, n in pairwise(layers)]
    parts = -(-batch_size // PART)
    by_samples, by_features = 2 * sum(sizes[1:]) * batch_size, (sum(sizes) + sizes[0]) * batch_size
    threads = np.arange(1, most + 1)
    times = by_samples * _longest(min(batch_size, PART), UNIT, threads) + by_features * _longest(layers[0], UNIT, threads)
    times = steps * (times + parts * MEETING * threads) + CALL
    times[0] = steps * (by_samples + by_features)
    return int(times.argmin()) + 1


def threads_to_predict(most: int, layers: Sequence[int], n: int) -> int:
    """With how many of `most` threads n samples are predicted first."""
    work = n * sum(m * k for m, k in pairwise(layers))
    threads = np.arange(1, most + 1)
    times = work * _longest(n, CHUNK, threads) + THREAD * np.minimum(threads - 1, 1)
    return int(times.argmin()) + 1


def _longest(n: int, unit: int, threads: np.ndarray) -> np.ndarray:
    """The largest share of n items that a thread has, when they are cut at multiples of `unit`."""
    units = -(-n // unit)
    return np.minimum(-(-units // threads) * unit, n) / n
