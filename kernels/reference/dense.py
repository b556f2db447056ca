"""A fully connected layer: forward, backward and update.

For one layer with input x, weights W, bias b, and a loss L:

    forward    z = x W + b
    backward   dL/dx = dL/dz W^T
    update     dL/dW = x^T dL/dz,  dL/db = sum over the batch of dL/dz

`delta` stands for dL/dz, as δz does in report 000. Between the layers stand the functions of `activations`.
"""

from __future__ import annotations

import numpy as np

from fastfc.kernels.optimizers import Rule
from fastfc.kernels.reference.optimizers import step


def forward(x: np.ndarray, weights: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    """out (batch, fan_out) = x W + b;  x (batch, fan_in), weights (fan_in, fan_out), bias (1, fan_out)."""
    np.dot(x, weights, out=out)
    out += bias


def backward(delta: np.ndarray, weights_t: np.ndarray, out: np.ndarray) -> None:
    """out (batch, fan_in) = delta W^T;  delta (batch, fan_out), weights_t (fan_out, fan_in)."""
    np.dot(delta, weights_t, out=out)


def update(
    x: np.ndarray,
    delta: np.ndarray,
    gradient: np.ndarray,
    weights: np.ndarray,
    state: np.ndarray,
    rule: Rule,
) -> None:
    """One step of the weights along gradient + x^T delta;  x (batch, fan_in), delta (batch, fan_out).

    gradient (fan_in, fan_out), or one row for all, is what earlier parts of the batch gave; state (states, fan_in, fan_out)
    and rule are those of `optimizers.step`.
    """
    step(weights, state, gradient + np.dot(x.T, delta), rule)
