"""One number of each epoch, and how long ago it was best: what stopping, saving and lowering the rate wait for."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from fastfc.errors import InvalidType, invalid
from fastfc.results import EpochRecord
from fastfc.validation import number, one_of

MODES = ("min", "max")


class Monitor:
    """What follows one number from epoch to epoch.

    monitor     its name: a field of EpochRecord, or a metric of one's own
    min_delta   by how much a number must be better than the best so far to be the best
    mode        "min" or "max", which is better; None: by the name, which a metric of one's own cannot do
    best        the best so far, and best_epoch the epoch that had it (1-based); None before the first
    waited      epochs since
    """

    monitor: str
    min_delta: float
    mode: str | None
    best: float | None = None
    best_epoch: int | None = None
    waited: int = 0

    def check_options(self) -> None:
        """Raise InvalidType or InvalidArgument for a monitor, min_delta or mode that cannot be used."""
        if not isinstance(self.monitor, str):
            raise InvalidType(f"monitor: given {self.monitor!r}, expected the name of what is measured")
        number("min_delta", self.min_delta, at_least=0)
        if self.mode is not None:
            one_of("mode", self.mode, MODES)

    def check_name(self, measured: Collection[str], metrics: Collection[str]) -> None:
        """Raise InvalidArgument unless the training measures `monitor`: in all, and by metrics of one's own."""
        if self.monitor not in measured:
            known = ", ".join(measured)
            raise invalid("monitor", repr(self.monitor), f"one of {known}; a validation set adds its own")
        if self.monitor in metrics and self.mode is None:
            raise invalid("mode", None, f"'min' or 'max', which of {self.monitor!r} is better")

    def begin(self, history: Iterable[EpochRecord]) -> None:
        """Forget another training, and go through the epochs that this one has behind it."""
        self.best, self.best_epoch, self.waited = None, None, 0
        for record in history:
            self.follow(record)

    def follow(self, record: EpochRecord) -> bool:
        """Take the next epoch into account; whether it is the best."""
        value: Any = record.metrics.get(self.monitor, getattr(record, self.monitor, None))
        number(f"{self.monitor} of epoch {record.epoch}", value)  # a checkpoint may have anything
        is_best = self.best is None or self._gain(value, self.best) > self.min_delta
        if is_best:
            self.best, self.best_epoch, self.waited = value, record.epoch, 0
        else:
            self.waited += 1
        return is_best

    def _gain(self, value: float, best: float) -> float:
        mode = self.mode or ("min" if self.monitor.endswith(("loss", "penalty")) else "max")
        return best - value if mode == "min" else value - best
