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
    loss     mean over the samples as they were trained on (nats, or squared error), without the L2 penalty
    penalty  weight_decay / 2 * sum(w²) at the end of the epoch
    test_loss, test_accuracy   at the end of the epoch; None without test data
    lr       learning rate of the last step
    seconds  of training; evaluation is not counted
    test_r2  in place of test_accuracy, which is then None, where the network is a regression
    """

    epoch: int
    loss: float
    penalty: float
    test_loss: float | None
    test_accuracy: float | None
    lr: float
    seconds: float
    test_r2: float | None = None


def test_score(record: Any) -> tuple[str, str] | None:
    """("accuracy", "98.77 %") or ("R2", "0.9877"), as `record` has test_accuracy or test_r2; None if it has neither."""
    if record.test_accuracy is not None:
        return "accuracy", f"{100 * record.test_accuracy:.2f} %"
    return None if record.test_r2 is None else ("R2", f"{record.test_r2:.4f}")


@dataclass
class TrainResult:
    """What a training gives.

    model            the trained Network
    history          one EpochRecord an epoch
    train_seconds    of training: making the state, and all epochs; without compiling, checking and evaluating
    compile_seconds  until the kernels were ready: compiled, or read from the cache
    threads          that computed
    input_kernel     "sparse" or "dense" first layer, and input_kernel_reason why
    interrupted      whether Ctrl-C or max_seconds ended it early: the model is what it was then
    out_of_time      whether it was max_seconds
    """

    model: Network
    settings: Settings
    backend: str
    threads: int
    seed: int
    data_name: str
    input_kernel: str
    input_kernel_reason: str
    history: list[EpochRecord] = field(default_factory=list)
    train_seconds: float = 0.0
    compile_seconds: float = 0.0
    interrupted: bool = False
    out_of_time: bool = False

    @property
    def dtype(self) -> str:
        return self.settings.dtype

    @property
    def test_accuracy(self) -> float | None:
        """After the last epoch; None without test data, and of a regression."""
        return self.history[-1].test_accuracy if self.history else None

    @property
    def test_r2(self) -> float | None:
        """After the last epoch; None without test data, and of a classifier."""
        return self.history[-1].test_r2 if self.history else None

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
            "settings": json_settings(self.settings),
            "versions": versions(),
        }


def json_settings(settings: Settings) -> dict[str, Any]:
    schedule = settings.schedule
    shown = replace(settings, schedule="constant") if callable(schedule) else settings
    plain = {**asdict(shown), "schedule": getattr(schedule, "__name__", "callable") if callable(schedule) else schedule}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}
