"""What is said while things run: lines of less than 80 columns, and a bar below them where there is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from fastfc.results import EpochRecord, TrainResult, test_score, validation_score

COLUMNS = 80


def epoch_line(record: EpochRecord, epochs: int) -> str:
    """`record` as one line of less than 80 columns: with a validation set its loss and score, else those of the test set.

    The time in seconds is left out where there is no room for it.
    """
    width = len(str(epochs))
    parts = [f"epoch {record.epoch:{width}}/{epochs}", f"loss {record.loss:.4f}"]
    tested, validated = test_score(record), validation_score(record)
    if record.validation_loss is not None and validated:
        parts.append(f"validation loss {record.validation_loss:.4f}, {validated[0]} {validated[1]}")
    elif record.test_loss is not None and tested:
        parts += [f"test loss {record.test_loss:.4f}", f"test {tested[0]} {tested[1]}"]
    line, seconds = "  ".join(parts), f"  {record.seconds:.3f} s"
    return line + seconds if len(line + seconds) < COLUMNS else line


class ProgressBar:
    """A callback that prints `epoch_line` to standard output after each epoch. On a terminal, a bar on standard error counts
    samples.

    A context manager: leaving it removes the bar, as the end of a training does.
    """

    def __init__(self) -> None:
        self.epochs, self.total, self.later = 0, 0, 0
        self._bar: Any = None

    def start(self, result: TrainResult) -> None:
        """Of a training that is yet to begin: while kernels are compiled, the bar says so."""
        self.close()
        self.epochs, self.later = result.settings.epochs, result.settings.later_size(result.samples)
        self.total = result.samples + (self.epochs - 1) * self.later
        if sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            shape = {"unit": "sample", "unit_scale": True, "leave": False, "dynamic_ncols": True}
            self._bar = tqdm(desc="compiling", total=self.total, **shape)

    def on_steps(self, epoch: int, samples_done: int, samples: int, losses: Sequence[float]) -> None:
        """After some steps: `samples_done` of `samples` in this epoch (1-based), and the mean loss of each step."""
        if self._bar is None:
            return
        self._bar.set_description(f"epoch {epoch}/{self.epochs}", refresh=False)
        if len(losses):
            self._bar.set_postfix_str(f"loss {losses[-1]:.4f}", refresh=False)
        self._bar.update(self.total - (self.epochs - epoch) * self.later - samples + samples_done - self._bar.n)

    def on_epoch_end(self, record: EpochRecord) -> None:
        self.say(epoch_line(record, self.epochs))

    def on_train_end(self, result: TrainResult) -> None:
        self.close()

    def say(self, line: str) -> None:
        """On standard output, above the bar."""
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.write(line, file=sys.stdout)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
