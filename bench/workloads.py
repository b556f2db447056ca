"""What is measured, as data: workloads, who runs them, and the figure that each has to reach.

Nothing but the standard library is imported here: the workers of every environment read this table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

FASTFC, JAX, TORCH, SKLEARN, NUMPY = (
    "bench.fastfc_engine",
    "bench.peers.jax_engine",
    "bench.peers.torch_engine",
    "bench.peers.sklearn_engine",
    "bench.peers.numpy_engine",
)
REFERENCE_FLOOR = 0.20  # s: the dense floor of row 1 on the machine for which the times of row 9 are stated


@dataclass(frozen=True)
class Workload:
    """One thing to time. `rows` samples are trained on `epochs` times, or predicted `calls` times, in one repeat.

    data is a name of bench.datasets; batch None is the whole set; momentum is Nesterov's, 0 is plain SGD.
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
        return replace(self, rows=min(self.rows, 2048), calls=min(self.calls, 100))


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
    kind: str = "repeats"  # or recipes, startup, memory, growth: see bench.report


fastfc = Entry("fastfc")
jax = Entry("JAX", JAX)
torch = Entry("PyTorch", TORCH)
compiled = Entry("PyTorch compiled", TORCH, variant="compile")
sklearn = Entry("scikit-learn", SKLEARN)
sklearn_csr = Entry("scikit-learn CSR", SKLEARN, variant="csr")
numpy32 = Entry("numpy float32", variant="numpy")
numpy64 = Entry("numpy float64", variant="numpy", dtype="float64")
numpy_wide = Entry("numpy float32, AVX-512 BLAS", variant="numpy", env=(("OPENBLAS_CORETYPE", "SkylakeX"),))
fastfc_avx2 = Entry("fastfc built for AVX2", env=(("NUMBA_CPU_NAME", "haswell"), ("NUMBA_CPU_FEATURES", "")))
by_hand = Entry("NumPy by hand", NUMPY)


def one_thread(entry: Entry) -> Entry:
    return replace(entry, name=f"{entry.name}, 1 thread", threads=1)


MNIST = Workload()
MNIST_EPOCHS = replace(MNIST, epochs=3)  # the first after a pause is a little slower than the others
NORMAL = replace(MNIST, data="normal", lr=0.01)
NORMAL_EPOCHS = replace(NORMAL, epochs=3)
STANDARDISED = replace(MNIST_EPOCHS, data="standardised")
MIDDLE = Workload((784, 1024, 1024, 10), data="normal", rows=12_800, lr=0.01)
WIDE = Workload((784, 2048, 2048, 10), data="normal", rows=5_120, batch=256, lr=0.01)
SAMPLEWISE = Workload((784, 100, 50, 10), rows=2_000, batch=1, activation="tanh", output_activation="tanh", loss="mse",
                      lr=0.1, momentum=0.0)  # fmt: skip
FULL_BATCH = replace(MNIST, batch=None, lr=0.01, momentum=0.0, weight_decay=1e-3, shuffle=False, epochs=2)
PREDICT_ONE = replace(MNIST, data="one image", rows=1, task="predict", calls=2_000)
PREDICT_TEST = replace(MNIST, data="test images", rows=10_000, task="predict", calls=5)

ROWS = (
    Row(
        "1", "MNIST epoch, 784-200-50-10, batch 128, Nesterov, shuffled", MNIST_EPOCHS,
        (fastfc, jax, torch, compiled, sklearn, sklearn_csr, numpy32, numpy_wide, numpy64, fastfc_avx2),
        (Claim("floor", 0.5), Claim("faster", 3.5, ("JAX",)), Claim("faster", 5, ("PyTorch",)),
         Claim("faster", 5, ("scikit-learn",)), Claim("faster", 10, ("numpy float64",))),
    ),
    Row(
        "2", "the same on 1 thread", MNIST_EPOCHS,
        (one_thread(fastfc), fastfc, one_thread(jax), one_thread(torch), one_thread(sklearn), one_thread(numpy32)),
        (Claim("floor", 0.5, entry="fastfc, 1 thread"), Claim("faster", 1.8, ("fastfc, 1 thread",))),
    ),
    Row(
        "3", "the same shapes, dense input (standard normal)", NORMAL_EPOCHS,
        (fastfc, jax, torch, compiled, sklearn, numpy32, numpy_wide, numpy64),
        (Claim("floor", 1.25), Claim("faster", 1.4, ("JAX",))),
    ),
    Row(
        "4", "standardised MNIST, against row 1 with the same epoch", STANDARDISED,
        (fastfc, replace(fastfc, name="fastfc, MNIST as it is", workload=MNIST_EPOCHS), jax),
        (Claim("within", 1.15, ("fastfc, MNIST as it is",)),),
    ),
    Row(
        "5a", "784-1024-1024-10, batch 128, dense input", MIDDLE,
        (fastfc, jax, torch, compiled, sklearn, numpy32, numpy_wide),
        (Claim("peak", 0.85), Claim("faster", 1, ("JAX", "PyTorch", "PyTorch compiled", "scikit-learn"))),
    ),
    Row(
        "5b", "784-2048-2048-10, batch 256, dense input", WIDE,
        (fastfc, jax, torch, compiled, sklearn, numpy32, numpy_wide),
        (Claim("peak", 0.90), Claim("faster", 1, ("JAX", "PyTorch", "PyTorch compiled", "scikit-learn"))),
    ),
    Row(
        # Two threads may not help the others here: the claims are against the better of one and two.
        "6", "per-sample SGD, 784-100-50-10, tanh, MSE, 2,000 steps", SAMPLEWISE,
        (fastfc, jax, one_thread(jax), one_thread(torch), numpy32, one_thread(numpy32), numpy64),
        (Claim("faster", 4, ("JAX", "JAX, 1 thread")), Claim("faster", 40, ("numpy float32", "numpy float32, 1 thread"))),
    ),
    Row(
        "7", "full-batch gradient descent, 60,000 rows a step", FULL_BATCH,
        (fastfc, jax, torch, numpy32, numpy64),
        (Claim("faster", 3, ("JAX",)),),
    ),
    Row(
        "8a", "predict one sample from Python", PREDICT_ONE,
        (fastfc, replace(fastfc, name="fastfc, uint8", variant="uint8"), by_hand, jax, torch, sklearn),
        (Claim("seconds", 5e-6), Claim("faster", 2, ("NumPy by hand",))),
    ),
    Row(
        "8b", "predict 10,000 test images", PREDICT_TEST,
        (fastfc, by_hand, jax, torch, sklearn),
        (Claim("faster", 3, ("PyTorch",)),),
    ),
    Row(
        "9", "time to test accuracy on MNIST, training only, 5 seeds", MNIST, (),
        (Claim("scaled", 0.25, entry="97.06 %"), Claim("scaled", 0.5, entry="98.0 %"),
         Claim("scaled", 2.5, entry="99.0 %")),
        kind="recipes",
    ),
    Row(
        "10", "start-up: to the end of the first epoch of MNIST", MNIST, (),
        (Claim("seconds", 10, entry="empty kernel cache"), Claim("seconds", 1.2, entry="warm"),
         Claim("seconds", 0.15, entry="import fastfc")),
        kind="startup",
    ),
    Row(
        "11", "peak memory of training MNIST from uint8", MNIST, (),
        (Claim("megabytes", 350, entry="warm"),),
        kind="memory",
    ),
    Row("12", "growth in rows, width, batch and density", MNIST, (fastfc, numpy32), kind="growth"),
)  # fmt: skip

# Row 9: recipe, and the test accuracy that every seed has to reach.
RECIPES = {"97.06 %": ("fast-97", 0.9706), "98.0 %": ("fast-98", 0.98), "99.0 %": ("fast-99", 0.99)}

# Row 12: one option varies, the others are row 1's (the widths: 784-h-h-10).
GROWTH_ROWS = (6_000, 60_000, 600_000)
GROWTH_HIDDEN = (50, 200, 512, 1024, 2048, 4096)
GROWTH_BATCH = (1, 8, 32, 128, 512, 2048, 8192)
GROWTH_DENSITY = (0.02, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


def select(numbers: str | None) -> tuple[Row, ...]:
    """The rows named in a list such as "1,3,8" ("8" takes 8a and 8b); all of them without a list."""
    if not numbers:
        return ROWS
    wanted = [number.strip() for number in numbers.split(",")]
    rows = tuple(row for row in ROWS if row.number in wanted or row.number.rstrip("ab") in wanted)
    known = {row.number for row in ROWS} | {row.number.rstrip("ab") for row in ROWS}
    unknown = [number for number in wanted if number not in known]
    if unknown:
        raise ValueError(f"rows: given {', '.join(unknown)}, expected some of {', '.join(row.number for row in ROWS)}")
    return rows
