"""What both backends are told to compute: names become the small integers that compiled code can branch on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RELU, TANH, SIGMOID, IDENTITY = range(4)
ACTIVATIONS = {"relu": RELU, "tanh": TANH, "sigmoid": SIGMOID, "identity": IDENTITY}

SOFTMAX_CE, SIGMOID_BCE, MSE = range(3)
LOSSES = {"softmax_ce": SOFTMAX_CE, "sigmoid_bce": SIGMOID_BCE, "mse": MSE}

GROUP = 4  # samples, or neighbouring features, that the sparse first layer takes together

LOWEST = -3e38  # a float of either width that is still finite


@dataclass(frozen=True)
class Plan:
    """One training, as the kernels see it.

    layers       (inputs, hidden ..., outputs)
    activations  one code for each layer of weights; the last one is the output's (IDENTITY where the loss has its own)
    loss         SOFTMAX_CE, SIGMOID_BCE or MSE
    rule         (5,) coefficients (b, c, d, e, decay) of the update, which a step's learning rate completes, see `reference.momentum.step`
    smoothing    label smoothing
    mean         whether the gradient is averaged over the batch, or summed
    batch_size   samples a step
    scale        factor for uint8 input
    image_shape  (height, width) of a sample, for shifts
    background   the most common value of the input: it comes in from outside when an image is shifted
    """

    layers: tuple[int, ...]
    activations: tuple[int, ...]
    loss: int
    rule: tuple[float, float, float, float, float]
    smoothing: float
    mean: bool
    batch_size: int
    scale: float
    dtype: np.dtype
    image_shape: tuple[int, int] | None
    background: float = 0.0

    def off_and_on(self) -> tuple[float, float]:
        """What label smoothing makes of the targets 0 and 1."""
        spread = self.smoothing / (2 if self.loss == SIGMOID_BCE else self.layers[-1])
        return spread, 1 - self.smoothing + spread


def momentum_rule(kind: str, momentum: float, weight_decay: float) -> tuple[float, float, float, float, float]:
    """The coefficients (b, c, d, e, decay) that make `step` the named kind of momentum.

    Sources: ema, report 001 (v = (1 - b) g + b v); heavy ball, Polyak 1964; Nesterov, in the form of Sutskever et al. 2013
    that PyTorch and scikit-learn use (the step is g + b v with the new v).
    """
    b = float(momentum)
    return {
        "none": (0.0, 0.0, 1.0, 0.0, weight_decay),
        "ema": (b, 1.0 - b, 0.0, 1.0, weight_decay),
        "heavy_ball": (b, 1.0, 0.0, 1.0, weight_decay),
        "nesterov": (b, 1.0, 1.0, b, weight_decay),
    }[kind]
