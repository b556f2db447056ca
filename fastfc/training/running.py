"""The file that says how a training stands while it runs: `fastfc watch` reads it."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fastfc.machine.terminal import announce
from fastfc.results import EpochRecord, TrainResult
from fastfc.storage.files import atomic_write

PAUSE = 0.25  # seconds at least from one write to the next
SHARE = 0.01  # of the time, at most, that writing takes


class RunningFile:
    """A callback, and a context around a training and what is saved of it.

    It writes `TrainResult.to_dict` with the epochs so far, and "running": the "pid" of this process and its "host". At the
    end of the context the file goes; after an exception, if training had begun, it stays, with "error" in place of "running".
    Each write replaces the file at once, without waiting for the disk. The first that fails is said; training goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.due, self.has_failed = path, 0.0, False
        self.content: dict[str, Any] = {"running": {"pid": os.getpid(), "host": platform.node()}}
        self.epochs: list[str] = []  # each as JSON, which is made once

    def __enter__(self) -> Self:
        self._write()
        return self

    def on_train_begin(self, result: TrainResult) -> None:
        self.content |= result.to_dict()
        self.epochs = [json.dumps(record) for record in self.content.pop("history")]
        self._write()

    def on_epoch_end(self, record: EpochRecord) -> None:
        self.epochs.append(json.dumps(asdict(record)))
        if time.perf_counter() >= self.due:
            self._write()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and "settings" in self.content:
            del self.content["running"]
            self.content["error"] = " ".join(str(error).split()) or type(error).__name__
            self._write()
        else:
            self._try(lambda: self.path.unlink(missing_ok=True))

    def _write(self) -> None:
        start = time.perf_counter()
        data = f'{json.dumps(self.content)[:-1]}, "history": [{", ".join(self.epochs)}]}}'.encode()
        self._try(lambda: atomic_write(self.path, data, durable=False))
        now = time.perf_counter()
        self.due = now + max(PAUSE, (now - start) / SHARE)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            if not self.has_failed:
                announce(f"{error}; `fastfc watch` does not see this training")
            self.has_failed = True
