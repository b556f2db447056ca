"""What both backends are told to compute: names become the small integers that compiled code can branch on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastfc.kernels.optimizers import Optimizer

RELU, TANH, SIGMOID, IDENTITY = range(4)
ACTIVATIONS = {"relu": RELU, "tanh": TANH, "sigmoid": SIGMOID, "identity": IDENTITY}

SOFTMAX_CE, SIGMOID_BCE, MSE = range(3)
LOSSES = {"softmax_ce": SOFTMAX_CE, "sigmoid_bce": SIGMOID_BCE, "mse": MSE}

GROUP = 4  # samples, or neighbouring features, that the sparse first layer takes together
LOWEST = -3e38  # a float of either width that is still finite


class Epoch(NamedTuple):
    """What an epoch trains on: order (n,) which sample comes when; shifts (n, 2) in that order, or empty; rules (steps, numbers)
    of the optimiser; scale (n,) of the gradient of each sample's loss, in that order, see `Plan.scales`; losses (n,), in that
    order, which are written."""

    order: np.ndarray
    shifts: np.ndarray
    rules: np.ndarray
    scale: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True)
class Plan:
    """One training, as the kernels see it.

    layers       (inputs, hidden ..., outputs)
    activations  one code for each layer of weights; the last one is the output's (IDENTITY where the loss has its own)
    loss         SOFTMAX_CE, SIGMOID_BCE or MSE
    optimizer    kind of update and its numbers
    smoothing    label smoothing
    mean         whether the gradient is averaged over the batch, or summed
    batch_size   samples a step
    scale        factor for uint8 input
    image_shape  (height, width) of a sample, for shifts
    keeps_gradient  whether the gradient can be asked for and changed before the update
    background   the most common value of the input: it comes in from outside when an image is shifted
    """

    layers: tuple[int, ...]
    activations: tuple[int, ...]
    loss: int
    optimizer: Optimizer
    smoothing: float
    mean: bool
    batch_size: int
    scale: float
    dtype: np.dtype
    image_shape: tuple[int, int] | None
    background: float = 0.0
    keeps_gradient: bool = False

    def scales(self, n: int, weights: np.ndarray | None = None) -> np.ndarray:
        """(n,) what the gradients of the losses of n samples, one batch after the other, are multiplied by.

        Each sample counts as its weight (n,), by default 1: over the sum of the batch's weights where the gradient is their
        mean. A batch whose weights are all 0 has no gradient.
        """
        each, starts = np.ones(n) if weights is None else weights, np.arange(0, n, self.batch_size)
        if not self.mean or not n:
            return each.astype(self.dtype)
        totals = np.add.reduceat(each, starts)
        return (each / np.where(totals == 0, 1, totals).repeat(np.diff([*starts, n]))).astype(self.dtype)

    def off_and_on(self) -> tuple[float, float]:
        """What label smoothing makes of the targets 0 and 1."""
        spread = self.smoothing / (2 if self.loss == SIGMOID_BCE else self.layers[-1])
        return spread, 1 - self.smoothing + spread
