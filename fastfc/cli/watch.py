"""`fastfc watch`: the curves of a training while it runs, as its folder shows them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fastfc.cli.common import HISTORY, RUNNING
from fastfc.errors import FastFCError, invalid
from fastfc.machine.terminal import columns, counted, is_terminal, wrapped

if TYPE_CHECKING:
    from fastfc.results import EpochRecord

NEEDED = {
    "backend", "best_epoch", "compile_seconds", "data", "dtype", "history", "input_kernel", "interrupted", "layers", "seed",
    "settings", "stopped_early", "test_accuracy", "test_r2", "threads", "train_seconds", "versions",
}  # fmt: skip
POLL_SECONDS = 0.2
BESIDE_PLOTS = 9  # lines of a screen that are not rows of the two plots
HIGHEST_PLOT = 8  # rows


def watch(options: argparse.Namespace) -> None:
    """Show each new epoch until the training is over. Raises FastFCError where that did not end as it should."""
    folder = options.folder
    show = _Screen(folder) if is_terminal(sys.stdout) else _Lines()
    stamp, content = None, None
    while True:
        before, stamp = stamp, _stamp(folder)
        if content is None or stamp != before:
            was, content = content, read(folder)
            if content is None:
                if was:
                    raise FastFCError(f"{folder}: the training ended before its first epoch")
                expected = "the folder that a running or finished `fastfc train --out RUN` writes to"
                raise invalid("RUN", f"{str(folder)!r}, without {HISTORY} or {RUNNING}", expected)
            show(content)
            if "running" not in content:
                break
        elif _is_gone(content["running"]) and _stamp(folder) == stamp:
            epochs = counted(len(content["history"]), "epoch")
            gone = f"process {content['running']['pid']} is gone, killed after {epochs} or more"
            raise FastFCError(f"{folder}: {gone}: it has saved no network")
        time.sleep(POLL_SECONDS)
    if "error" in content:
        raise FastFCError(f"{folder}: the training ended by an error: {content['error']}")
    print(wrapped(_ending(content)))


def _stamp(folder: Path) -> tuple[str, int, int] | None:
    """Another one after each write of what `read` reads."""
    for name in (RUNNING, HISTORY):
        with suppress(FileNotFoundError, NotADirectoryError):
            found = os.stat(folder / name)
            return name, found.st_ino, found.st_mtime_ns
    return None


def read(folder: Path) -> dict[str, Any] | None:
    """What the folder has of its last training; None where it has nothing. Raises InvalidArgument for other files."""
    for name in (RUNNING, HISTORY):
        with suppress(FileNotFoundError, NotADirectoryError):
            return content_of(folder / name)
    return None


def content_of(path: Path) -> dict[str, Any]:
    """`TrainResult.to_dict` as a file has it, with EpochRecords. Raises InvalidArgument for other files, OSError where there is none."""
    from fastfc.results import EpochRecord

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise invalid(str(path), f"a file that is not JSON ({error})", f"the {HISTORY} of a training") from None
    try:
        content["history"] = [EpochRecord(**record) for record in content["history"]]
        is_one = content.keys() >= NEEDED or content.keys() == {"history", "running"}
    except (TypeError, KeyError):
        is_one = False
    if not is_one:
        raise invalid(str(path), "other content", f"the {HISTORY} of a training")
    return content


def _is_gone(process: dict[str, Any]) -> bool:
    """Whether a process of this machine has ended; of others that cannot be said, nor on Windows, where asking would end it."""
    if os.name != "posix" or process["host"] != platform.node():
        return False
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        return False
    return False


def _ending(content: dict[str, Any]) -> str:
    from fastfc.results import test_score

    early = "stopped early after" if content["stopped_early"] or content["interrupted"] else "trained"
    text = f"{early} {counted(len(content['history']), 'epoch')} in {content['train_seconds']:.2f} s"
    score = test_score(SimpleNamespace(**content))
    return f"{text}; test {score[0]} {score[1]}" if score else text


def _epoch_line(record: EpochRecord, content: dict[str, Any]) -> str:
    from fastfc.training.progress import epoch_line

    return epoch_line(record, content["settings"]["epochs"], columns())


class _Lines:
    """A line an epoch."""

    def __init__(self) -> None:
        self.shown = 0

    def __call__(self, content: dict[str, Any]) -> None:
        for record in content["history"][self.shown :]:
            print(_epoch_line(record, content), flush=True)
        self.shown = len(content["history"])


class _Screen:
    """The curves, each time over those before."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.height = folder, 0

    def __call__(self, content: dict[str, Any]) -> None:
        lines = self._lines(content)
        # Up to the first line, and from there all is cleared.
        back = f"\x1b[{self.height}F\x1b[J" if self.height else ""
        sys.stdout.write(back + "\n".join(lines) + "\n")
        sys.stdout.flush()
        self.height = len(lines)

    def _lines(self, content: dict[str, Any]) -> list[str]:
        from fastfc.reports.textplot import plot

        width = columns() - 1
        if not content["history"]:
            return [f"{self.folder}: no epoch yet"[:width]]
        how = f"{'-'.join(map(str, content['layers']))}, {content['backend']} {content['dtype']}, on {content['data']}"
        lines = [f"{self.folder}: {how}"[:width], _epoch_line(content["history"][-1], content)]
        rows = (shutil.get_terminal_size().lines - BESIDE_PLOTS) // 2
        for what, series in _series(content["history"]).items():
            lines += ["", *plot(what, series, width, min(max(rows, 2), HIGHEST_PLOT))]
        return lines


def _series(history: list[EpochRecord]) -> dict[str, dict[str, list[float | None]]]:
    """What there is to plot: by loss and score, then by the part of the data, a value an epoch."""
    found: dict[str, dict[str, list[float | None]]] = {"loss": {"training": [record.loss for record in history]}}
    for what, name in (("loss", "loss"), ("accuracy (%)", "accuracy"), ("R2", "r2")):
        for part in ("test", "validation"):
            values = [getattr(record, f"{part}_{name}") for record in history]
            if any(value is not None for value in values):
                factor = 100 if name == "accuracy" else 1
                found.setdefault(what, {})[part] = [None if v is None else factor * v for v in values]
    return found
