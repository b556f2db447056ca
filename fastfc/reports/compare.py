"""The same training on each backend, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Unpack

import numpy as np

from fastfc.backend import BACKENDS
from fastfc.data import load_data
from fastfc.errors import invalid
from fastfc.renamed import old_keywords
from fastfc.results import TrainResult, test_score
from fastfc.settings import SettingsDict
from fastfc.train import train
from fastfc.validation import one_of, whole

PAUSE = 0.25  # seconds before a training, in which the threads of the BLAS used before it fall asleep: until then they hold a core


@dataclass(frozen=True)
class BackendRow:
    """One backend: seconds an epoch (the median), how many times as fast as the first backend, and how far from it.

    largest differences: of the losses of the epochs, relative (absolute where a loss is 0), and of the final weights, absolute.
    """

    backend: str
    seconds_an_epoch: float
    ratio: float
    compile_seconds: float
    test_accuracy: float | None
    test_r2: float | None
    loss_difference: float
    weight_difference: float


@dataclass(frozen=True)
class Comparison:
    """Rows in the order of the backends; `results` are the last training of each."""

    rows: list[BackendRow]
    results: list[TrainResult]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"rows": [asdict(row) for row in self.rows], "results": [result.to_dict() for result in self.results]}

    def __str__(self) -> str:
        first = self.results[0]
        layers = "-".join(map(str, first.model.layers))
        size = first.settings.batch_size or "whole set"
        scores = [test_score(row) or ("accuracy", "-") for row in self.rows]
        lines = [
            f"{first.data_name}: {layers}, batch {size}, {first.dtype}, {first.threads} threads",
            f"{'backend':10}{'s an epoch':>12}{'ratio':>8}{scores[0][0]:>11}{'loss differs':>14}{'weights differ':>16}",
        ]
        for row, (_, score) in zip(self.rows, scores, strict=True):
            lines.append(
                f"{row.backend:10}{row.seconds_an_epoch:12.4f}{row.ratio:8.2f}{score:>11}"
                f"{row.loss_difference:14.1e}{row.weight_difference:16.1e}"
            )
        return "\n".join(lines)


@old_keywords
def compare(  # type: ignore[misc]  # epochs has a default of its own
    data: Any = None,
    test_data: Any = None,
    *,
    backends: Sequence[str] = ("numpy", "numba"),
    epochs: int = 1,
    repeats: int = 3,
    threads: int | None = None,
    seed: int = 0,
    **settings: Unpack[SettingsDict],
) -> Comparison:
    """Train the same on each of `backends`, `repeats` times in turn, and compare times and results.

    Seconds an epoch are the median over all epochs of all repeats; compiling is not counted. The other arguments are
    those of `fastfc.train`, which says what is raised.
    """
    if isinstance(backends, str) or not backends:
        raise invalid("backends", repr(backends), "a sequence of names among " + ", ".join(BACKENDS))
    for name in backends:
        one_of("backends", name, tuple(BACKENDS))
    whole("repeats", repeats, 1)
    dataset = load_data(data, test_data)
    seconds: dict[str, list[float]] = {name: [] for name in backends}
    compiling: dict[str, float] = {}
    results: dict[str, TrainResult] = {}
    for _ in range(repeats):
        for name in backends:
            time.sleep(PAUSE)
            r = train(
                dataset,
                backend=name,
                threads=threads,
                seed=seed,
                on_interrupt="raise",
                **{**settings, "epochs": epochs},
            )
            seconds[name] += [record.seconds for record in r.history]
            compiling.setdefault(name, r.compile_seconds)
            results[name] = r
    first = results[backends[0]]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [
        BackendRow(
            backend=name,
            seconds_an_epoch=medians[name],
            ratio=medians[backends[0]] / medians[name],
            compile_seconds=compiling[name],
            test_accuracy=r.test_accuracy,
            test_r2=r.test_r2,
            loss_difference=max(
                abs(a.loss - b.loss) / (abs(a.loss) or 1) for a, b in zip(first.history, r.history, strict=True)
            ),
            weight_difference=max(
                float(np.abs(a - b).max()) for a, b in zip(first.model.weights, r.model.weights, strict=True)
            ),
        )
        for name, r in results.items()
    ]
    return Comparison(rows, list(results.values()))
