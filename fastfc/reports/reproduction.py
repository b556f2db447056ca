"""What running a recipe again gives, beside what was reported."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc.data import Dataset
from fastfc.recipes import Recipe
from fastfc.results import TrainResult


@dataclass(frozen=True, eq=False)
class OwnImages:
    """Digits of the test set drawn as pictures, and what a network reads in them.

    labels               (n,) what they are
    originals, readings  (n,) what the network reads before and after; -1 where no digit was found
    pixels               (n, 784) uint8, the drawings as `fastfc.images.prepare` hands them to the network
    """

    labels: NDArray[np.int64]
    originals: NDArray[np.int64]
    readings: NDArray[np.int64]
    pixels: NDArray[np.uint8]

    @property
    def accuracy_before(self) -> float:
        return float((self.originals == self.labels).mean())

    @property
    def accuracy_after(self) -> float:
        return float((self.readings == self.labels).mean())


@dataclass(frozen=True, eq=False)
class Reproduction:
    """One recipe, trained.

    data            what it trained and tested on
    train_accuracy, test_accuracy   of the trained network, shares; the second None without test data
    train_seconds   of training; for a recipe with `time_all`, of a training on all samples
    test_seconds    of predicting the test samples
    own_images      of "003-own-image" only
    """

    recipe: Recipe
    data: Dataset
    result: TrainResult
    train_accuracy: float
    test_accuracy: float | None
    train_seconds: float
    test_seconds: float | None
    own_images: OwnImages | None = None

    @property
    def loss(self) -> list[float]:
        """Of each epoch, as the report counts it: with the L2 penalty where it does."""
        return [record.loss + record.penalty * self.recipe.penalty for record in self.result.history]

    @property
    def speed_up(self) -> float | None:
        """Reported over own training time, for as many epochs."""
        reported = self.recipe.reported.get("train_seconds")
        share = self.epochs / self.recipe.settings.epochs
        return None if reported is None else share * reported / self.train_seconds

    @property
    def epochs(self) -> int:
        """That were trained: those of the recipe, unless it was shortened."""
        return len(self.result.history)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it. Reported loss and accuracy: [epoch from 1, value]; own loss: one value an epoch."""
        ours: dict[str, Any] = {
            "train_accuracy": self.train_accuracy,
            "test_accuracy": self.test_accuracy,
            "train_seconds": self.train_seconds,
            "loss": self.loss,
        }
        if self.own_images:
            ours["originals_accuracy"] = self.own_images.accuracy_before
            ours["drawings_accuracy"] = self.own_images.accuracy_after
        return {"reported": self.recipe.reported, "ours": ours, "assumptions": list(self.recipe.assumptions)}


def data_name(data: Dataset) -> str:
    """Of a file or folder, the last part."""
    return textwrap.shorten(os.path.basename(data.name.rstrip("/")) or data.name, 40)
