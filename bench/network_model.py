"""What an epoch of several machines costs, on paper: `python -m bench.network_model [--out docs/mpi-model.png]`.

Measured here are the step of one thread for parts of a batch, the order of the samples, and two ranks on this machine; all else
is the model.

    step(R) = compute(b) + sum(R, n)     b samples a machine, R machines, a gradient of n bytes
    ring    2 (R - 1) (alpha + n beta / R)          reduce-scatter, then allgather (Patarasu and Yuan 2009)
    tree    log2 R (alpha + n beta)                 recursive doubling (Thakur et al. 2005)
    sum     the shorter of the two

alpha is the latency of a message, beta the time of a byte. Not in it: the arithmetic of the sums, collisions in the network, machines
that are not equally fast, and evaluation. A machine is one thread of this one.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bench.datasets import Store
from bench.peers.job import Job
from bench.rows.kernels import MNIST, WIDE
from bench.workers import ROOT
from bench.workloads import Workload
from fastfc.backend import load_backend
from fastfc.kernels.plan import Epoch
from fastfc.network import Network
from fastfc.settings import Settings
from fastfc.training.input_kernel import choose_input_kernel

NETWORKS = {"1 Gb/s": (50e-6, 8e-9), "10 Gb/s": (20e-6, 8e-10), "100 Gb/s": (2e-6, 8e-11)}  # alpha (s), beta (s a byte)
MACHINES = tuple(2**k for k in range(9))
TIMES = 100  # as many samples as MNIST has
SAMPLES = 60_000 * TIMES
ALONE = 32  # steps between two averages of local SGD
REPEATS = 7
REGIMES = {"one batch for all": "-", "a batch for each": "--", f"a batch for each, averaged every {ALONE} steps": ":"}


@dataclass
class Costs:
    """What was measured of a workload, in seconds: the step of one thread for parts of a batch, of so many samples; an epoch's
    order of SAMPLES; numbers: parameters; states: arrays of the optimiser's; ranks: of a step of the whole batch in 1 and 2."""

    steps: dict[int, float]
    order: float
    numbers: int
    states: int
    ranks: dict[int, float]

    def compute(self, samples: float) -> float:
        sizes = sorted(self.steps)
        return float(np.interp(samples, sizes, [self.steps[size] for size in sizes]))


def ring(ranks: int, size: float, alpha: float, beta: float) -> float:
    return 2 * (ranks - 1) * (alpha + size * beta / ranks)


def tree(ranks: int, size: float, alpha: float, beta: float) -> float:
    return math.ceil(math.log2(ranks)) * (alpha + size * beta)


def epoch(costs: Costs, batch: int, ranks: int, network: tuple[float, float], regime: str) -> float:
    """Seconds for SAMPLES samples; of one machine as measured, for it makes gradient and update in one."""
    if ranks == 1:
        return costs.order + SAMPLES / batch * costs.ranks[1]
    size = 4.0 * costs.numbers
    total = batch if regime == "one batch for all" else batch * ranks
    averaged = regime.endswith("steps")
    sent = size * (1 + costs.states) if averaged else size
    between = ALONE if averaged else 1
    exchange = min(f(ranks, sent, *network) for f in (ring, tree)) / between
    return costs.order + SAMPLES / total * (costs.compute(total / ranks) + exchange)


def measure(workload: Workload, store: Store) -> Costs:
    folder = str(store.folder(workload.data, workload.rows, workload.layers[0]))
    X, y = Job(workload, 1, "float32", "", folder).raw()
    batch = workload.batch or workload.rows
    network = Network(workload.layers, seed=1)
    plan = replace(network.plan(Settings(hidden=workload.layers[1:-1], weight_decay=0.0), batch), keeps_gradient=True)
    state = {"weights": list(network.weights), "biases": list(network.biases)}
    trainer = load_backend("numba")[0](plan, X, y, state, 1, choose_input_kernel(X, "auto")[0])
    steps = {m: step_seconds(trainer, plan, m) for m in (1, 2, 4, 8, 16, 32, 64, 128, 256) if m <= batch}
    trainer.close()
    rng, start = np.random.default_rng(0), time.perf_counter()
    order = rng.permutation(SAMPLES)
    np.flatnonzero((order >= 0) & (order < SAMPLES // 2))
    ordered = time.perf_counter() - start
    ranks = {n: min(rank_seconds(workload, folder, n)) * batch / workload.rows for n in (1, 2)}
    return Costs(steps, ordered, network_numbers(workload), len(plan.optimizer.states), ranks)


def step_seconds(trainer: Any, plan: Any, samples: int) -> float:
    """Of a gradient of so many samples, and the update, whose rate is 0."""
    rules, no_shifts = plan.optimizer.rules(np.zeros(1, np.float32)), np.zeros((0, 2), np.int8)
    taken, n = [], trainer.problem.data.X.shape[0]
    for k in range(REPEATS + 1):
        order = np.random.default_rng(k).integers(0, n, samples)
        part = Epoch(order, no_shifts, rules, np.full(samples, 1 / samples, np.float32), np.zeros(samples, np.float32))
        start = time.perf_counter()
        trainer.gradient(part, 0)
        trainer.apply(part, 0)
        taken.append(time.perf_counter() - start)
    return median(taken[1:])


def rank_seconds(workload: Workload, folder: str, ranks: int) -> list[float]:
    """Seconds an epoch of that many ranks of one thread on this machine."""
    given = json.dumps(Job(replace(workload, epochs=3), ranks, "float32", "", folder).to_dict())
    mpiexec = str(Path(sys.executable).with_name("mpiexec"))
    called = [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py", "-m", "bench.mpi_engine", given]
    done = subprocess.run(called, cwd=ROOT, input="\n" * REPEATS, capture_output=True, text=True, check=True)
    return [json.loads(line)["seconds"] for line in done.stdout.splitlines()[1:]]


def network_numbers(workload: Workload) -> int:
    return sum((a + 1) * b for a, b in zip(workload.layers, workload.layers[1:], strict=False))


def draw(found: dict[str, tuple[Workload, Costs]], path: Path) -> None:
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, len(found), squeeze=False, sharex=True)
    for (times, shares), (name, (workload, costs)) in zip(panels.T, found.items(), strict=True):
        batch = workload.batch or workload.rows
        one = epoch(costs, batch, 1, (0, 0), "one batch for all")
        for (speed, network), colour in zip(NETWORKS.items(), ("#c44e52", "#dd8452", "#4c72b0"), strict=True):
            for regime, style in REGIMES.items():
                taken = [epoch(costs, batch, ranks, network, regime) for ranks in MACHINES]
                label = f"{speed}, {regime}" if colour == "#c44e52" or style == "-" else None
                times.plot(MACHINES, taken, style, color=colour, label=label)
                shares.plot(MACHINES, [one / ranks / t for ranks, t in zip(MACHINES, taken, strict=True)], style, color=colour)
        steps = SAMPLES / batch
        measured = {ranks: costs.order + steps * seconds for ranks, seconds in costs.ranks.items()}
        times.plot(*zip(*measured.items(), strict=True), "ko", label="measured: ranks of this machine")
        shares.plot([2], [measured[1] / 2 / measured[2]], "ko")
        times.set(title=name, xscale="log", yscale="log", ylabel="seconds an epoch of 6,000,000 samples")
        shares.set(xscale="log", xlabel="machines", ylabel="efficiency", ylim=(0, 1.1))
        shares.set_xticks(MACHINES, [str(n) for n in MACHINES])
        times.legend(fontsize=7)
    figure.savefig(path, dpi=80)


def table(costs: Costs, batch: int, machines: Sequence[int] = (1, 4, 16, 64, 256)) -> str:
    one = epoch(costs, batch, 1, (0, 0), "one batch for all")
    rows = ["| network | regime | " + " | ".join(map(str, machines)) + " |", "|---|---|" + "---|" * len(machines)]
    for speed, network in NETWORKS.items():
        for regime in REGIMES:
            taken = [epoch(costs, batch, ranks, network, regime) for ranks in machines]
            cells = [f"{t:.3g} s, {100 * one / ranks / t:.0f} %" for ranks, t in zip(machines, taken, strict=True)]
            rows.append(f"| {speed} | {regime} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.network_model", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs/mpi-model.png", help="the picture")
    options = parser.parse_args(arguments)
    import tempfile

    with tempfile.TemporaryDirectory(prefix="fastfc-bench-") as root:
        store, found = Store(Path(root)), {}
        for name, workload in (("784-200-50-10, batch 128 (row 1)", MNIST), ("784-2048-2048-10, batch 256 (row 5b)", WIDE)):
            costs = measure(workload, store)
            found[name] = workload, costs
            print(f"{name}\n{costs}\n{table(costs, workload.batch or 1)}\n")
    draw(found, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
