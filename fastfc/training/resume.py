"""Going on with a training from its checkpoint: what must be the same, and what is taken up."""

from __future__ import annotations

import os
import reprlib
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastfc.errors import invalid
from fastfc.machine.terminal import counted
from fastfc.results import EpochRecord, TrainResult, json_settings
from fastfc.storage.checkpoint import FILE_NAME, read_checkpoint, write_checkpoint
from fastfc.validation import parts_of

LENGTH = ("epochs", "schedule")  # settings that may change: what counts is the rates of the epochs that are done


@dataclass(frozen=True)
class CheckpointPlan:
    """A checkpoint in `folder` after each `every` epochs, and after the last."""

    folder: str | os.PathLike[str]
    every: int

    def is_due(self, epoch: int, epochs: int) -> bool:
        return epoch % self.every == 0 or epoch == epochs


def digest(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)


@dataclass
class Snapshot:
    """What of a training changes from epoch to epoch.

    epoch      how many epochs are done
    state      of the Trainer, and as other names for arrays of the same shapes the average and the best parameters
    history    one record for each of them
    generator  state of the bit generator
    losses     (samples,) of each sample, when it was last trained on; None where training does not need them
    """

    epoch: int
    state: dict[str, list[np.ndarray]]
    history: list[EpochRecord]
    generator: Any
    losses: np.ndarray | None


class Checkpoints:
    """The checkpoint of one training.

    X, targets  the data, of which a digest is made here, once
    rates       (steps,) planned learning rates of all epochs
    steps_until how many steps there are until the end of an epoch
    more        what else must be the same, as JSON can hold it
    """

    def __init__(
        self,
        plan: CheckpointPlan,
        result: TrainResult,
        X: Any,
        targets: np.ndarray,
        rates: np.ndarray,
        steps_until: Callable[[int], int],
        more: dict[str, Any],
    ) -> None:
        settings = json_settings(result.settings)
        self.length = {key: settings.pop(key) for key in LENGTH}
        self.identity = {
            **settings,
            "backend": result.backend,
            "seed": result.seed,
            "layers": list(result.model.layers),
            "scale": result.model.scale,
            "data": [digest(array) for array in (*parts_of(X), targets)],
            **more,
        }
        self.plan, self.rates, self.steps_until = plan, rates.copy(), steps_until

    def write(self, snapshot: Snapshot) -> None:
        """Put `snapshot` in place of the checkpoint that is there. Raises files.WriteError."""
        content = {
            "state": snapshot.state,
            "losses": [] if snapshot.losses is None else [snapshot.losses],
            "epoch": snapshot.epoch,
            "history": [asdict(record) for record in snapshot.history],
            "generator": snapshot.generator,
            "settings": {**self.identity, **self.length, "rates": self._rates_digest(snapshot.epoch)},
        }
        write_checkpoint(self.plan.folder, content)

    def read(self) -> Snapshot | None:
        """What the checkpoint has; None where there is none yet.

        Raises ModelFileError for a damaged one, and InvalidArgument for one that this training cannot go on from.
        """
        if not os.path.exists(os.path.join(self.plan.folder, FILE_NAME)):
            return None
        found = read_checkpoint(self.plan.folder)
        self._check(found["epoch"], found["settings"])
        try:
            history = [EpochRecord(**record) for record in found["history"]]
        except TypeError:
            history = []
        if [(r.epoch, type(r.metrics)) for r in history] != [(k, dict) for k in range(1, found["epoch"] + 1)]:
            raise invalid("checkpoint", "a history of other records", "one of this training")
        losses = found["losses"][0] if found["losses"] else None
        return Snapshot(found["epoch"], found["state"], history, found["generator"], losses)

    def _check(self, done: int, settings: dict[str, Any]) -> None:
        own = self.identity
        ranks, now = (found.get("ranks", 1) for found in (settings, own))
        if ranks != now:
            raise invalid("checkpoint", f"one of a training in {ranks} processes", f"one of {now}, as there are now")
        different = sorted(key for key in own if key not in settings or settings[key] != own[key])
        if different:
            raise invalid("checkpoint", f"one of a training with other {', '.join(different)}", "one of this training")
        epochs = self.length["epochs"]
        if done > epochs:
            raise invalid("epochs", epochs, f"at least {done}, which the checkpoint has")
        if settings.get("rates") != self._rates_digest(done):
            before = " epochs of ".join(reprlib.repr(settings.get(key)) for key in LENGTH)
            now = f"{epochs} epochs of {self.length['schedule']!r}"
            given = f"{counted(done, 'epoch')} at the learning rates of {before}"
            raise invalid("checkpoint", given, f"the rates of {now}, which differ; schedule 'constant' can be extended")

    def _rates_digest(self, epoch: int) -> int:
        return digest(self.rates[: self.steps_until(epoch)])
