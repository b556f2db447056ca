"""The step of gradient descent, with and without momentum, and with L2."""

from __future__ import annotations

import numpy as np


def step(parameters: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, rule: np.ndarray) -> None:
    """Move the parameters w and their velocity v along the gradient, in place; arrays of one shape.

        g = gradient + decay w         L2: the gradient of decay/2 * sum(w²)
        v = b v + c g
        w = w - lr (d g + e v)

    with rule = (b, c, d, e, decay, lr):  none (0, 0, 1, 0),  ema (b, 1-b, 0, 1),  heavy ball (b, 1, 0, 1),
    Nesterov (b, 1, 1, b).
    """
    b, c, d, e, decay, lr = rule
    g = gradient + decay * parameters
    velocity *= b
    velocity += c * g
    parameters -= lr * (d * g + e * velocity)
