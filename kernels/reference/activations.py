"""Activation functions and their derivatives.

The derivative is written in terms of the activation a = f(z) itself, so that z need not be kept:

    relu      f(z) = max(0, z)             f' = 1 where a > 0, else 0
    tanh      f(z) = tanh(z)               f' = 1 - a²
    sigmoid   f(z) = 1 / (1 + exp(-z))     f' = a (1 - a)
    identity  f(z) = z                     f' = 1
"""

from __future__ import annotations

import numpy as np

from fastfc.kernels.plan import RELU, SIGMOID, TANH


def activate(z: np.ndarray, activation: int) -> None:
    """z (batch, units) becomes f(z), in place."""
    if activation == RELU:
        np.maximum(z, 0, out=z)
    elif activation == TANH:
        np.tanh(z, out=z)
    elif activation == SIGMOID:  # through tanh: no exponential that could overflow
        z *= 0.5
        np.tanh(z, out=z)
        z += 1
        z *= 0.5


def chain(a: np.ndarray, delta: np.ndarray, activation: int) -> None:
    """The chain rule through f: delta (batch, units) = dL/da becomes dL/dz = dL/da * f'(z), in place; a = f(z)."""
    if activation == RELU:
        delta *= a > 0
    elif activation == TANH:
        delta *= 1 - a * a
    elif activation == SIGMOID:
        delta *= a * (1 - a)
