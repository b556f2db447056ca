"""What a training gives: the model, and the record of how it came about."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fastfc.network import Network
from fastfc.settings import Settings


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a training.

    epoch    1-based
    loss     mean over the samples as they were trained on (nats, or as the loss has it), each counting as its weight, without
             the penalties; with lbfgs, of the parameters at the end of the epoch
    penalty  weight_decay / 2 * sum(w²) + l1 * sum(|w|) at the end of the epoch; with decay_per_batch over the mean weight of a batch
    test_loss, test_accuracy   at the end of the epoch; None without test data
    lr       learning rate of the last step
    seconds  of training; evaluation is not counted
    test_r2  in place of test_accuracy, which is then None, where the network is a regression
    validation_loss, validation_accuracy, validation_r2   the same of the validation set; None without one
    metrics  those of one's own, by name, of the validation set, or without one of the test set
    threads  that computed, in the most of its steps; None in a checkpoint of a version that did not note it
    """

    epoch: int
    loss: float
    penalty: float
    test_loss: float | None
    test_accuracy: float | None
    lr: float
    seconds: float
    test_r2: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_r2: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    threads: int | None = None


def test_score(record: Any) -> tuple[str, str] | None:
    """("accuracy", "98.77 %") or ("R2", "0.9877"), as `record` has test_accuracy or test_r2; None if it has neither."""
    return _score(record.test_accuracy, record.test_r2)


def validation_score(record: EpochRecord) -> tuple[str, str] | None:
    """The same of the validation set."""
    return _score(record.validation_accuracy, record.validation_r2)


def _score(accuracy: float | None, r2: float | None) -> tuple[str, str] | None:
    if accuracy is not None:
        return "accuracy", f"{100 * accuracy:.2f} %"
    return None if r2 is None else ("R2", f"{r2:.4f}")


@dataclass
class TrainResult:
    """What a training gives.

    model            the trained Network
    history          one EpochRecord an epoch
    train_seconds    of training: making the state, and all epochs; without compiling, checking and evaluating
    compile_seconds  until the kernels were ready: compiled, or read from the cache
    threads          that computed the last epoch
    input_kernel     "sparse" or "dense" first layer, and input_kernel_reason why
    samples          how many are trained on: those held out for validation are not
    interrupted      whether Ctrl-C or max_seconds ended it early: the model is what it was then
    out_of_time      whether it was max_seconds
    stopped_early    whether early stopping, a callback, or lbfgs, which found nothing left to gain, ended it before the last epoch
    best_epoch       with early stopping, the epoch (1-based) whose monitored number was the best; else None
    is_restored      whether the model is that of best_epoch, and not of the last
    state            what the optimiser keeps, by name, after the last step: arrays as the Trainer has them, and "steps", how
                     many it has done; with `ema` the parameters too, of which the model has the average.
                     `fastfc.train(network=result.model, state=result.state)` goes on with it
    """

    model: Network
    settings: Settings
    backend: str
    threads: int
    seed: int
    data_name: str
    input_kernel: str
    input_kernel_reason: str
    samples: int = 0
    history: list[EpochRecord] = field(default_factory=list)
    train_seconds: float = 0.0
    compile_seconds: float = 0.0
    interrupted: bool = False
    out_of_time: bool = False
    stopped_early: bool = False
    best_epoch: int | None = None
    is_restored: bool = False
    state: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def dtype(self) -> str:
        return self.settings.dtype

    @property
    def test_accuracy(self) -> float | None:
        """Of the model after its epoch; None without test data, and of a regression."""
        record = self.record
        return record.test_accuracy if record else None

    @property
    def test_r2(self) -> float | None:
        """Of the model after its epoch; None without test data, and of a classifier."""
        record = self.record
        return record.test_r2 if record else None

    @property
    def record(self) -> EpochRecord | None:
        """Of the epoch that the model is of: the last, or with early stopping the best; None before the first."""
        if self.is_restored and self.best_epoch is not None:
            return self.history[self.best_epoch - 1]
        return self.history[-1] if self.history else None

    def to_dict(self) -> dict[str, Any]:
        """All but the parameters, as JSON can hold it."""
        from fastfc.machine.info import versions

        return {
            "backend": self.backend,
            "dtype": self.dtype,
            "threads": self.threads,
            "layers": list(self.model.layers),
            "data": self.data_name,
            "seed": self.seed,
            "input_kernel": self.input_kernel,
            "input_kernel_reason": self.input_kernel_reason,
            "history": [asdict(record) for record in self.history],
            "test_accuracy": self.test_accuracy,
            "test_r2": self.test_r2,
            "train_seconds": self.train_seconds,
            "compile_seconds": self.compile_seconds,
            "interrupted": self.interrupted,
            "stopped_early": self.stopped_early,
            "best_epoch": self.best_epoch,
            "settings": json_settings(self.settings),
            "versions": versions(),
        }


def json_settings(settings: Settings) -> dict[str, Any]:
    schedule = settings.schedule
    shown = replace(settings, schedule="constant") if callable(schedule) else settings
    plain = {**asdict(shown), "schedule": getattr(schedule, "__name__", "callable") if callable(schedule) else schedule}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}
