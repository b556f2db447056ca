"""What is said while things run: lines that fit the terminal, and a bar below them where there is one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from fastfc.machine.terminal import COLUMNS, columns, is_terminal, wants_colour
from fastfc.results import EpochRecord, TrainResult, test_score, validation_score

NARROW = 64  # columns below which a bar has no room for all that it says


def epoch_line(record: EpochRecord, epochs: int, width: int = COLUMNS) -> str:
    """`record` as one line of less than `width` columns: with a validation set its loss and score, else those of the test set.

    Where there is no room, the time in seconds is left out, then the loss of that set and the name of the score.
    """
    score, digits = _score(record), len(str(epochs))
    brief = f"epoch {record.epoch:{digits}}/{epochs}  loss {record.loss:.4f}"
    line = brief
    if score:
        name, value = score
        if record.validation_loss is not None:
            line += f"  validation loss {record.validation_loss:.4f}, {name} {value}"
        else:
            line += f"  test loss {record.test_loss:.4f}  test {name} {value}"
        brief += f"  {value}"
    lines = (f"{line}  {record.seconds:.3f} s", line)
    return next((one for one in lines if len(one) < width), brief)


def _score(record: EpochRecord) -> tuple[str, str] | None:
    return validation_score(record) or test_score(record)


class ProgressBar:
    """A callback that prints `epoch_line` to standard output after each epoch. On a terminal, a bar on standard error counts
    samples, and shows the last loss and score, samples a second, and the time that is left.

    A context manager: leaving it removes the bar, as the end of a training does.
    """

    def __init__(self) -> None:
        self.epochs, self.total, self.later = 0, 0, 0
        self._bar: Any = None
        self._score = ""

    def start(self, result: TrainResult) -> None:
        """Of a training that is yet to begin: while kernels are compiled, the bar says so."""
        self.epochs, self.later = result.settings.epochs, result.settings.later_size(result.samples)
        self.total, self._score = result.samples + (self.epochs - 1) * self.later, ""
        self._open("compiling |{bar}|", 0)

    def on_train_begin(self, result: TrainResult) -> None:
        """The clock of the bar starts here, at the epochs that a checkpoint has."""
        if self._bar is not None:
            for record in result.history[-1:]:
                self._note(record)
            done = len(result.history)
            self._open(self._text(done + 1, ""), done and result.samples + (done - 1) * self.later)

    def on_steps(self, epoch: int, samples_done: int, samples: int, losses: Sequence[float]) -> None:
        """After some steps: `samples_done` of `samples` in this epoch (1-based), and the mean loss of each step."""
        if self._bar is None:
            return
        self._bar.bar_format = self._text(epoch, f"loss {losses[-1]:.4f}  " if len(losses) else "")
        self._bar.update(self.total - (self.epochs - epoch) * self.later - samples + samples_done - self._bar.n)

    def _open(self, text: str, done: int) -> None:
        self.close()
        if is_terminal(sys.stderr):
            from tqdm import tqdm

            shape = {"unit": " samples", "unit_scale": True, "leave": False, "dynamic_ncols": True}
            colour = "cyan" if wants_colour(sys.stderr) else None
            self._bar = tqdm(bar_format=text, total=self.total, initial=done, colour=colour, **shape)

    def _text(self, epoch: int, loss: str) -> str:
        """What tqdm shows: its own parts are in braces."""
        head, score = f"epoch {epoch}/{self.epochs} |{{bar}}|", f"{self._score}  " if self._score else ""
        if columns(sys.stderr) < NARROW:
            return f"{head} {loss}{{remaining}}"
        return f"{head} {loss}{score}{{rate_fmt}}  {{remaining}} left"

    def on_epoch_end(self, record: EpochRecord) -> None:
        self._note(record)
        self.say(epoch_line(record, self.epochs, columns()))

    def _note(self, record: EpochRecord) -> None:
        name, value = _score(record) or ("", "")
        self._score = f"{name} {value}" if name == "R2" else value

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
