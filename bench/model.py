"""A model of a step's time on 1 to 128 cores: `python -m bench.model [--out docs/scale.png]` measures its constants here and draws it.

A step has two phases and its barriers (`kernels.fused.epoch`). Each phase takes as long as the thread with the most units of
work, at the rate of one core, or as the bytes of weights and of momentum that pass, whichever is longer; a barrier takes the
longer the more threads come to it. What is assumed of more cores than were measured stands in ASSUMED.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

import fastfc
from fastfc.kernels.fused.arena import aligned
from fastfc.kernels.fused.compiler.entry import Entry
from fastfc.kernels.fused.records import HALVES, PART, TIMEOUT, UNIT, Team

NETWORKS = {"row 1, all inputs": (784, 200, 50, 10), "row 5a": (784, 1024, 1024, 10), "row 5b": (784, 2048, 2048, 10)}
BATCHES = (128, 512, 2048, 8192)
CORES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
REPEATS = 5
ENOUGH = 1.05  # times the shortest: the fewest cores that come so near are where more stop paying
MOVED = 16  # bytes of a weight and its momentum in float32, read and written
L2, L3 = 512 << 10, 32 << 20  # bytes that a core's, and a chip's share of, caches keep from step to step
ASSUMED = (
    "every core as fast as one alone, whatever the others do; 8 cores of a chip share its memory channels, and each 8 more bring\n"
    "as much; a barrier takes each thread that comes as long as on two cores; no second socket"
)


@dataclass(frozen=True)
class Constants:
    """rate (multiplications a second of a core), meeting (s that a barrier takes for each thread), bandwidth (bytes a second:
    of a core within L3, and of memory for all cores of a chip)."""

    rate: float
    meeting: float
    l3: float
    memory: float


def step_seconds(layers: tuple[int, ...], batch: int, cores: int, c: Constants) -> float:
    """Of a step of SGD with momentum on dense float32 input."""
    sizes = [m * n for m, n in pairwise(layers)]
    parts = -(-batch // PART)
    by_samples, by_features = 2 * sum(sizes[1:]) * batch, (sum(sizes) + sizes[0]) * batch
    bytes_moved = MOVED * sum(sizes)
    share = bytes_moved / cores
    chips = -(-cores // 8)
    flow = (
        0.0
        if share < L2
        else bytes_moved / (c.l3 * cores)
        if bytes_moved < L3 * chips
        else bytes_moved / (c.memory * chips)
    )
    barriers = 0.0 if cores == 1 else c.meeting * cores * (2 + (cores > HALVES)) * parts
    multiplying = by_samples * longest(min(batch, PART), cores) + by_features * longest(layers[0], cores)
    return max(multiplying / c.rate, flow) + barriers


def longest(n: int, cores: int) -> float:
    """The largest share of n items that a core has, in whole units."""
    units = -(-n // UNIT)
    return -(-units // cores) / units


def best_of(call: Callable[[], float]) -> float:
    return min(call() for _ in range(REPEATS))


def measure() -> tuple[Constants, dict[str, float]]:
    """The constants of this machine, the rate such that the three networks take in the mean as long as they do; and how many times
    as fast as one core two are, in each of them."""
    multiplied = spent = 0.0
    gains = {}
    for name, layers in NETWORKS.items():
        rows = 128 * max(1, int(4e9 / (128 * sum(m * n for m, n in pairwise(layers)))))
        rng = np.random.default_rng(0)
        data = rng.standard_normal((rows, 784), np.float32), rng.integers(0, 10, rows)
        least = {1: np.inf, 2: np.inf}
        for threads in (1, 2) * REPEATS:
            r = fastfc.train(
                data, hidden=layers[1:-1], threads=threads, epochs=1, batch_size=128, lr=1e-3, input_kernel="dense"
            )
            least[threads] = min(least[threads], r.history[0].seconds)
        free = Constants(1.0, 0.0, np.inf, np.inf)
        multiplied += np.log(step_seconds(layers, 128, 1, free) * rows / 128)
        spent += np.log(least[1])
        gains[name] = least[1] / least[2]
    rate = float(np.exp((multiplied - spent) / len(NETWORKS)))
    return Constants(rate, meeting(), copied(8 << 20), copied(512 << 20)), gains


def meeting(threads: int = 2, times: int = 20_000) -> float:
    """Seconds that a barrier takes, by threads, where each has a core."""
    place = aligned(8 * (4 + threads), np.int64)
    calls = [Entry("team.meet").bind(Team(t, threads, 8_000, place), times) for t in range(threads)]

    def meet() -> float:
        place[:] = 0
        place[TIMEOUT + 1] = 50_000_000
        began = time.perf_counter()
        for started in [pool.submit(call) for call in calls]:
            started.result()
        return time.perf_counter() - began

    with ThreadPoolExecutor(threads) as pool:
        return best_of(meet) / times / threads


def copied(size: int) -> float:
    """Bytes a second that one core reads and writes, of arrays of so many bytes together."""
    a = np.ones(size // 16)
    b = np.empty_like(a)

    def copy() -> float:
        began = time.perf_counter()
        for _ in range(max(1, (64 << 20) // size)):
            np.copyto(b, a)
        return (time.perf_counter() - began) / max(1, (64 << 20) // size)

    return size / best_of(copy)


def enough(layers: tuple[int, ...], batch: int, c: Constants) -> tuple[int, float]:
    """From how many cores on more do not pay, and how many times as fast as one that is."""
    times = {cores: step_seconds(layers, batch, cores, c) for cores in CORES}
    shortest = min(times.values())
    cores = next(cores for cores in CORES if times[cores] <= ENOUGH * shortest)
    return cores, times[1] / times[cores]


def draw(c: Constants, gains: dict[str, float], out: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    for axes, (name, layers) in zip(figure.subplots(1, 3, sharey=True), NETWORKS.items(), strict=True):
        axes.plot(CORES, CORES, color="0.8", linewidth=1)
        for batch in BATCHES:
            times = [step_seconds(layers, batch, cores, c) for cores in CORES]
            axes.plot(CORES, [times[0] / t for t in times], marker=".", label=f"batch {batch:,}")
        axes.plot([2], [gains[name]], "kx", label="batch 128, measured")
        axes.set(title=f"{name}: {'-'.join(map(str, layers))}", xlabel="cores", xscale="log", yscale="log")
        axes.set_xticks(CORES[::2], [str(n) for n in CORES[::2]])
        axes.set_yticks(CORES[::2], [str(n) for n in CORES[::2]])
        axes.minorticks_off()
    figure.axes[0].set_ylabel("times as fast as one core (model)")
    figure.axes[0].legend(frameon=False)
    figure.supxlabel(f"assumed: {ASSUMED}", fontsize=8)
    figure.savefig(out, dpi=110)


def main() -> None:
    made = argparse.ArgumentParser(prog="python -m bench.model", description=__doc__.splitlines()[0])
    made.add_argument("--out", type=Path, default=Path("docs/scale.png"))
    options = made.parse_args()
    c, gains = measure()
    print(f"{c.rate / 1e9:.1f} G multiplications/s a core; barrier {c.meeting * 1e6:.2f} µs a thread; "
          f"{c.l3 / 1e9:.1f} GB/s within L3, {c.memory / 1e9:.1f} GB/s of memory")  # fmt: skip
    print("two threads: " + ", ".join(f"{name} {gain:.2f} x" for name, gain in gains.items()))
    print("| network | " + " | ".join(f"batch {batch:,}" for batch in BATCHES) + " |")
    print("|---" * (1 + len(BATCHES)) + "|")
    for name, layers in NETWORKS.items():
        found = [enough(layers, batch, c) for batch in BATCHES]
        print(f"| {name} | " + " | ".join(f"{cores} cores, {gain:.1f} x" for cores, gain in found) + " |")
    draw(c, gains, options.out)


if __name__ == "__main__":
    main()
