"""What an epoch is judged by: samples that are not trained on, and metrics of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from fastfc.errors import InvalidType, invalid
from fastfc.network import Network
from fastfc.results import EpochRecord
from fastfc.training.callbacks import EarlyStopping
from fastfc.validation import number, parts_of

VALIDATION = 1  # key of the generator that draws the validation set, beside that of the training
COPIED = 2**26  # bytes up to which a share for validation is copied
GATHERED = 8192  # samples of a larger one that are brought together at a time, in each epoch

Metric = Callable[[np.ndarray, np.ndarray], float]


class HeldOut(NamedTuple):
    """Samples that are not trained on: X (n, features) and targets as the kernels take them, y as it was given.

    weights  (n,) what each counts for, or None for 1
    rows     (n,) where in X, which has more, they are; None: X has no others
    """

    X: Any
    targets: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None = None
    rows: np.ndarray | None = None

    def outputs(self, model: Network, threads: int) -> np.ndarray:
        """(n, outputs) what the network gives for them."""
        if self.rows is None:
            return model._outputs(self.X, threads)
        starts = range(0, len(self.rows), GATHERED)
        return np.concatenate([model._outputs(self.X[self.rows[i : i + GATHERED]], threads) for i in starts])


@dataclass(frozen=True)
class Watch:
    """What is measured at the end of each epoch, and the stopping that follows from it.

    validation  share of the samples, (X, y), (X, y, sample_weight), or None
    metrics     function of (y, predicted) by name
    """

    validation: Any = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    stopping: EarlyStopping | None = None


def check_metrics(given: Any) -> dict[str, Metric]:
    """`given` as functions by name. Raises InvalidType or InvalidArgument."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidType(f"metrics: given {type(given).__name__}, expected a dict of functions by name")
    taken = {one.name for one in fields(EpochRecord)}
    for name, metric in given.items():
        if not isinstance(name, str) or not name or name in taken:
            raise invalid("metrics", f"the name {name!r}", "another one, of your own")
        if not callable(metric):
            raise InvalidType(f"metrics: given {metric!r} as {name!r}, expected a function of (y, predicted)")
    return dict(given)


def check_validation(given: Any) -> None:
    """Raise unless `given` is a share of the samples, a tuple of arrays, or None."""
    if isinstance(given, (tuple, list)) or given is None:
        return
    if isinstance(given, bool) or not isinstance(given, (int, float, np.integer, np.floating)):
        raise InvalidType(f"validation: given {type(given).__name__}, expected a share of the samples, or (X, y)")
    number("validation", given, above=0, below=1)


def split(share: float, classes: np.ndarray | None, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of n samples to train on, and a share of them for validation, both in order.

    classes (n,): of each class the same share is drawn; None: of all samples together.
    Raises InvalidArgument if the samples of a class would all be on one side.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(VALIDATION,)))
    groups = [np.arange(n)] if classes is None else [np.flatnonzero(classes == c) for c in np.unique(classes)]
    drawn = []
    for group in groups:
        count = round(share * len(group))
        if not 0 < count < len(group):
            of_class = "" if classes is None else f" of class {classes[group[0]]}"
            given = f"{share}, which is {count} of {len(group)} samples{of_class}"
            raise invalid("validation", given, "a share with samples on both sides, of each class")
        drawn.append(rng.permutation(group)[:count])
    held = np.sort(np.concatenate(drawn))
    return np.setdiff1d(np.arange(n), held), held


def classes_of(targets: np.ndarray, loss: str, regression: bool) -> np.ndarray | None:
    """(n,) the class of each sample of checked targets; None where they are numbers, or several labels a sample."""
    if targets.ndim == 1:
        return targets
    if loss == "softmax_ce":
        return targets.argmax(axis=1)
    return None if regression or targets.shape[1] > 1 else (targets[:, 0] > 0.5).astype(np.int64)


def divided(X: Any, rows: np.ndarray) -> tuple[Any, np.ndarray | None]:
    """(X, rows) of a HeldOut: a copy of the rows alone where it is small."""
    size = sum(part.nbytes for part in parts_of(X)) / X.shape[0]
    return (X[rows], None) if size * len(rows) <= COPIED else (X, rows)


def check_classes(held: np.ndarray | None, trained: np.ndarray | None) -> None:
    """Raise InvalidArgument unless a validation set has each class that is trained on; (n,) classes, or None where there are none."""
    if held is None or trained is None:
        return
    missing = np.setdiff1d(trained, held)
    if len(missing):
        raise invalid("validation", f"no sample of class {missing[0]}", "some of each class of the training data")


def evaluate(
    model: Network, held: HeldOut, metrics: Mapping[str, Metric], threads: int
) -> tuple[float, float, dict[str, float]]:
    """Mean loss, which may not be finite, score, and each metric, of one forward pass. Metrics of one's own see no weights."""
    outputs = held.outputs(model, threads)
    loss, score = model._judge(outputs, held.targets, held.weights)
    values = {}
    for name, metric in metrics.items():
        value = metric(held.y, model._predicted(outputs))
        number(f"metrics {name!r}", value)
        values[name] = float(value)
    return loss, score, values
