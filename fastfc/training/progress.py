"""What is said while things run: lines of less than 80 columns, and a bar below them where there is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from fastfc.results import EpochRecord, test_score, validation_score

COLUMNS = 80


def epoch_line(record: EpochRecord, epochs: int) -> str:
    """`record` as one line of less than 80 columns; the time in seconds.

    Metrics of one's own, and beside a validation set the test score, are left out where there is no room for them.
    """
    width = len(str(epochs))
    parts = [f"epoch {record.epoch:{width}}/{epochs}", f"loss {record.loss:.4f}"]
    score, more = test_score(record), []
    if record.validation_loss is not None:
        judged = validation_score(record)
        parts.append(f"validation loss {record.validation_loss:.4f}" + (f", {judged[0]} {judged[1]}" if judged else ""))
        more = [f"test {score[1]}"] if score else []
    else:
        parts += [f"test loss {record.test_loss:.4f}"] if record.test_loss is not None else []
        parts += [f"test {score[0]} {score[1]}"] if score else []
    seconds = f"{record.seconds:.3f} s"
    for part in [*(f"{name} {value:.4f}" for name, value in record.metrics.items()), *more]:
        if len("  ".join([*parts, part, seconds])) < COLUMNS:
            parts.append(part)
    return "  ".join([*parts, seconds])


class Progress:
    """Prints `epoch_line` to standard output after each epoch. On a terminal, a bar on standard error counts samples.

    A context manager: leaving it removes the bar. `samples` is the number of training samples in the first epoch, `later`
    in each of the others, where that differs.
    """

    def __init__(self, epochs: int, samples: int, later: int | None = None) -> None:
        self.epochs, self.later = epochs, later or samples
        self.total = samples + (epochs - 1) * self.later
        self._bar: Any = None
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

    def say(self, line: str) -> None:
        """On standard output, above the bar."""
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.write(line, file=sys.stdout)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
