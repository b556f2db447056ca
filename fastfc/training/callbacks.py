"""Callbacks: objects that are called as a training goes on, and those that fastfc has ready.

A callback has any of these methods:

    on_train_begin(result)    before the first epoch: the TrainResult as it stands, with the history of a checkpoint
    on_steps(epoch, samples done, samples, losses)    as `on_steps` of `fastfc.train`
    on_epoch_end(record)      an EpochRecord; result.model is then the network of that epoch. True ends the training
    on_train_end(result)      the TrainResult, complete; not called after an exception
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fastfc.errors import InvalidType, invalid
from fastfc.machine.interrupts import Interrupts
from fastfc.results import EpochRecord, TrainResult
from fastfc.training.monitor import Monitor
from fastfc.training.running import RunningFile
from fastfc.validation import whole

HOOKS = ("on_train_begin", "on_steps", "on_epoch_end", "on_train_end")


@dataclass
class EarlyStopping(Monitor):
    """Ends a training when a number has not become better for some epochs.

    monitor, min_delta, mode   as `fastfc.training.monitor.Monitor` has them
    patience      epochs in a row that are not the best, after which training ends
    restore_best  whether the result, however training ends, is the network of the best epoch or of the last
    """

    monitor: str = "validation_loss"
    patience: int = 5
    min_delta: float = 0.0
    restore_best: bool = True
    mode: str | None = None
    kept: list[np.ndarray] = field(default_factory=list, init=False, repr=False, compare=False)  # weights, then biases

    def __post_init__(self) -> None:
        self.check_options()
        whole("patience", self.patience, 1)
        if not isinstance(self.restore_best, bool):
            raise InvalidType(f"restore_best: given {self.restore_best!r}, expected True or False")

    @property
    def identity(self) -> dict[str, object]:
        """What a training that goes on from a checkpoint must have alike: patience may change."""
        names = ("monitor", "min_delta", "restore_best", "mode")
        return {name: getattr(self, name) for name in names}

    @property
    def is_over(self) -> bool:
        return self.waited >= self.patience

    def on_train_begin(self, result: TrainResult) -> None:
        self.begin(result.history)
        self.model = result.model

    def on_epoch_end(self, record: EpochRecord) -> bool:
        if self.follow(record) and self.restore_best:
            self.kept = [*self.model.weights, *self.model.biases]
        return self.is_over

    def on_train_end(self, result: TrainResult) -> None:
        result.best_epoch = self.best_epoch
        if self.kept:
            layers = len(result.model.weights)
            result.model.weights, result.model.biases = self.kept[:layers], self.kept[layers:]
            result.is_restored = True


@dataclass
class BestCheckpoint(Monitor):
    """Saves the network of the best epoch so far to `path`, as `Network.save` does.

    monitor, min_delta, mode   as `fastfc.training.monitor.Monitor` has them
    """

    path: str | os.PathLike[str]
    monitor: str = "validation_loss"
    min_delta: float = 0.0
    mode: str | None = None

    def __post_init__(self) -> None:
        _check_file("BestCheckpoint", self.path)
        self.check_options()

    def on_train_begin(self, result: TrainResult) -> None:
        self.begin(result.history)
        self.model = result.model

    def on_epoch_end(self, record: EpochRecord) -> None:
        if self.follow(record):
            self.model.save(self.path)


class CSVLog:
    """Writes one line an epoch to `path`: the fields of EpochRecord, and a column for each metric of one's own.

    What is not measured is left empty. A training that goes on from a checkpoint begins with the epochs of that.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        _check_file("CSVLog", path)
        self.path = path

    def on_train_begin(self, result: TrainResult) -> None:
        self.is_empty = True
        open(self.path, "w").close()  # what was there before goes
        for record in result.history:
            self.on_epoch_end(record)

    def on_epoch_end(self, record: EpochRecord) -> None:
        row = asdict(record)
        row |= row.pop("metrics")
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            if self.is_empty:
                lines.writerow(row)
            lines.writerow(row.values())
        self.is_empty = False


def _check_file(what: str, path: Any) -> None:
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidType(f"{what}: given {path!r}, expected the name of a file")
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path) or not os.path.isdir(folder):
        raise invalid(what, repr(os.fspath(path)), "a file in an existing folder")


@dataclass
class Listeners:
    """All that is called as one training goes on, by hook, in the order in which it was added."""

    steps_per_call: int | None = None
    functions: dict[str, list[Callable[..., object]]] = field(default_factory=lambda: {hook: [] for hook in HOOKS})

    def add(self, callback: Any) -> None:
        for hook, functions in self.functions.items():
            function = getattr(callback, hook, None)
            if function is not None:
                functions.append(function)

    def call(self, hook: str, interrupts: Interrupts, *arguments: object) -> bool:
        """Call all of a hook; whether one of them returned True. Ctrl-C ends a user's, and waits for our own."""
        returned = []
        for function in self.functions[hook]:
            is_own = isinstance(getattr(function, "__self__", None), (Monitor, CSVLog, RunningFile))
            returned.append(function(*arguments) if is_own else interrupts.call(function, *arguments))
        return any(value is True for value in returned)


def check_callbacks(given: Any) -> list[Any]:
    """`given` as a list of objects of which each has a hook. Raises InvalidType."""
    if given is None:
        return []
    if not isinstance(given, (list, tuple)):
        raise InvalidType(f"callbacks: given {type(given).__name__}, expected a list of objects")
    for k, callback in enumerate(given):
        hooks = [getattr(callback, hook, None) for hook in HOOKS]
        if isinstance(callback, type) or not any(hooks) or not all(h is None or callable(h) for h in hooks):
            expected = f"an object with methods among {', '.join(HOOKS)}"
            raise InvalidType(f"callbacks[{k}]: given {callback!r}, expected {expected}")
    return list(given)


def check_early_stopping(given: Any) -> EarlyStopping:
    """An EarlyStopping, from a patience or from one. Raises InvalidType or InvalidArgument."""
    if isinstance(given, EarlyStopping):
        return given
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)):
        raise InvalidType(f"early_stopping: given {given!r}, expected a number of epochs, or an EarlyStopping")
    whole("early_stopping", given, 1)
    return EarlyStopping(patience=int(given))
