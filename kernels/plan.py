"""What both backends are told to compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastfc.kernels.optimizers import Optimizer

ACTIVATIONS = (
    "relu",
    "tanh",
    "sigmoid",
    "identity",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "gelu_tanh",
    "silu",
    "mish",
    "softplus",
)
# Whose derivative is computed from a = f(z); for the others f'(z) itself is kept.
FROM_OUTPUT = frozenset(("relu", "tanh", "sigmoid", "identity", "leaky_relu", "elu", "selu", "softplus"))

LOSSES = ("softmax_ce", "sigmoid_bce", "mse", "mae", "huber", "poisson")
FROM_LOGITS = frozenset(("softmax_ce", "sigmoid_bce", "poisson"))  # whose last layer has the loss's own activation
REGRESSIONS = ("mse", "mae", "huber", "poisson")  # whose targets are numbers

GROUP = 4  # samples, or neighbouring features, that the sparse first layer takes together
LOWEST = -3e38  # a float of either width that is still finite


class Epoch(NamedTuple):
    """What an epoch trains on: order (n,) which sample comes when; shifts (n, 2) in that order, or empty; rules (steps, numbers)
    of the optimiser; scale (n,) of the gradient of each sample's loss, in that order, see `Plan.scales`; losses (n,), in that
    order, which are written; dropout_key, 0 <= key < 2**64, from which all masks of the epoch follow; penalties (steps,) float64,
    which are written, or empty: the sum of the squares of all weights before each step; first_sample, by which the numbers of the
    samples that dropout goes by are larger than where they are in X."""

    order: np.ndarray
    shifts: np.ndarray
    rules: np.ndarray
    scale: np.ndarray
    losses: np.ndarray
    dropout_key: int = 0
    penalties: np.ndarray = np.zeros(0)
    first_sample: int = 0


@dataclass(frozen=True)
class Plan:
    """One training, as the kernels see it.

    layers       (inputs, hidden ..., outputs)
    activations  one of ACTIVATIONS for each layer of weights; the last one is the output's ("identity" where the loss has its own)
    loss         one of LOSSES
    optimizer    kind of update and its numbers
    smoothing    label smoothing
    mean         whether the gradient is averaged over the batch, or summed
    batch_size   samples a step
    scale        factor for uint8 input
    image_shape  (height, width) of a sample, for shifts
    background   the most common value of the input: it comes in from outside when an image is shifted
    keeps_gradient  whether the gradient can be asked for and changed before the update
    dropout      share of the input, and of what each hidden layer gives, that is dropped: len(layers) - 1 rates, or () for none
    huber_delta  difference up to which huber is the squared error
    clip_norm    largest norm of the gradient of all parameters together, or None
    """

    layers: tuple[int, ...]
    activations: tuple[str, ...]
    loss: str
    optimizer: Optimizer
    smoothing: float
    mean: bool
    batch_size: int
    scale: float
    dtype: np.dtype
    image_shape: tuple[int, int] | None
    background: float = 0.0
    keeps_gradient: bool = False
    dropout: tuple[float, ...] = ()
    huber_delta: float = 1.0
    clip_norm: float | None = None

    def totals(self, n: int, weights: np.ndarray | None = None) -> np.ndarray:
        """(steps,) float64: the sum of the weights (n,), by default 1, of each batch of n samples; 1 where it is 0."""
        starts = np.arange(0, n, self.batch_size)
        if weights is None:
            return np.diff([*starts, n]).astype(np.float64)
        totals = np.add.reduceat(weights, starts, dtype=np.float64)
        return np.where(totals == 0, 1, totals)

    def scales(self, n: int, weights: np.ndarray | None = None) -> np.ndarray:
        """(n,) what the gradients of the losses of n samples, one batch after the other, are multiplied by.

        Each sample counts as its weight (n,), by default 1: over the sum of the batch's weights where the gradient is their
        mean. A batch whose weights are all 0 has no gradient.
        """
        each = np.ones(n) if weights is None else weights
        if not self.mean or not n:
            return each.astype(self.dtype)
        sizes = np.diff([*np.arange(0, n, self.batch_size), n])
        return (each / self.totals(n, weights).repeat(sizes)).astype(self.dtype)

    def off_and_on(self) -> tuple[float, float]:
        """What label smoothing makes of the targets 0 and 1."""
        spread = self.smoothing / (2 if self.loss == "sigmoid_bce" else self.layers[-1])
        return spread, 1 - self.smoothing + spread

    def dropout_rate(self, layer: int) -> float:
        """Share that is dropped of the input (0) or of what hidden layer 1, 2, ... gives."""
        return self.dropout[layer] if self.dropout else 0.0

    def keeps_slopes(self, layer: int) -> bool:
        """Whether f'(z) of layer 1, 2, ... is kept: it cannot be had from f(z), or f(z) is dropped in part."""
        is_hidden = layer < len(self.layers) - 1
        return self.activations[layer - 1] not in FROM_OUTPUT or (is_hidden and self.dropout_rate(layer) > 0)
