"""What a measurement is made of, as data: a workload, who runs it, and the figure to reach. bench.rows has all of them.

Nothing but the standard library is imported here: the workers of every environment read this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

FASTFC, JAX, TORCH, SKLEARN, NUMPY, ESTIMATOR, SKLEARN_ESTIMATOR, MPI = (
    "bench.fastfc_engine",
    "bench.peers.jax_engine",
    "bench.peers.torch_engine",
    "bench.peers.sklearn_engine",
    "bench.peers.numpy_engine",
    "bench.estimator_engine",
    "bench.peers.sklearn_estimator",
    "bench.mpi_engine",
)
REFERENCE_FLOOR = 0.20  # s: the dense floor of row 1 on the machine for which the times of row 9 are stated
PASSES = ("epoch", "predict")  # of whose time one pass over the rows is the dense floor


@dataclass(frozen=True)
class Workload:
    """One thing to time. `rows` samples are trained on `epochs` times, or predicted `calls` times, in one repeat.

    data is a name of bench.datasets; batch None is the whole set; momentum is Nesterov's, 0 is plain SGD; optimizer is
    sgd, adam or lbfgs; dropout is that of the input and of the hidden layers. What is timed is the task:

    epoch, predict    one pass
    call              the whole call of the training
    and of an estimator, which has scikit-learn's defaults for all but layers and epochs:
    fit               the whole call; rows and epochs are its own
    fixed             what a fit costs beyond its steps
    predict_proba     a call
    search            a GridSearchCV of 12 candidates by 5 folds, with 2 processes
    """

    layers: tuple[int, ...] = (784, 200, 50, 10)
    data: str = "mnist"
    rows: int = 60_000
    batch: int | None = 128
    task: str = "epoch"
    activation: str = "relu"
    output_activation: str = "identity"
    loss: str = "softmax_ce"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    shuffle: bool = True
    epochs: int = 1
    calls: int = 1
    optimizer: str = "sgd"
    dropout: tuple[float, ...] = ()
    weighted: bool = False
    validation: float | None = None

    @property
    def flops(self) -> float:
        """Dense floating-point operations of one pass over the rows.

        With P weights, P1 of them in the first layer: 2P forward, 2P for the weight gradients, 2(P - P1) for the
        deltas, which need not reach the input.
        """
        sizes = [a * b for a, b in pairwise(self.layers)]
        a_sample = 2 * sum(sizes) if self.task == "predict" else 2 * (2 * sum(sizes) + sum(sizes[1:]))
        return float(a_sample) * self.rows

    def small(self) -> Workload:
        """The same with little data: to see that everything runs, not to measure."""
        return replace(self, rows=min(self.rows, 2048), calls=min(self.calls, 100), epochs=min(self.epochs, 3))


@dataclass(frozen=True)
class Entry:
    """Who runs a workload: a module with `prepare(job)`, in an environment of its own, with that many threads."""

    name: str
    engine: str = FASTFC
    threads: int = 2
    dtype: str = "float32"
    variant: str = ""
    env: tuple[tuple[str, str], ...] = ()
    workload: Workload | None = None  # other than the row's
    beside: str = ""  # what the machine does to it meanwhile: see bench.conditions

    @property
    def is_peer(self) -> bool:
        return self.engine.startswith("bench.peers.")


@dataclass(frozen=True)
class Claim:
    """A figure to reach by `entry`.

    floor      its time is at most `limit` times the dense floor
    peak       it does at least `limit` times the GEMM peak
    faster     the fastest of `against` takes at least `limit` times as long
    within     it takes at most `limit` times as long as the fastest of `against`
    seconds    it takes at most `limit` seconds
    scaled     the same, on a machine whose dense floor is REFERENCE_FLOOR; elsewhere in proportion
    megabytes  it needs at most so many
    memory     it needs at most `limit` times as much memory as `against`
    longer     it takes at most `limit` seconds more than `against`
    """

    measure: str
    limit: float
    against: tuple[str, ...] = ()
    entry: str = "fastfc"


@dataclass(frozen=True)
class Row:
    number: str
    title: str
    workload: Workload
    entries: tuple[Entry, ...] = ()
    claims: tuple[Claim, ...] = ()
    kind: str = "repeats"  # or recipes, startup, memory, growth, first fit, fit memory: see bench.report
