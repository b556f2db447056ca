"""A network's loss written out once more, and its gradient by central differences: nothing here is taken from the library.

parameters  weights (fan_in, fan_out) of each layer, then biases (fan_out,)
x (batch, features); y (batch, outputs), the shares of the classes, or numbers
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import erf, log_softmax, xlogy

SELU = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "identity": lambda z: z,
    "leaky_relu": lambda z: np.where(z > 0, z, z / 100),
    "elu": lambda z: np.where(z > 0, z, np.exp(z) - 1),
    "selu": lambda z: SELU[0] * np.where(z > 0, z, SELU[1] * (np.exp(z) - 1)),
    "gelu": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
    "gelu_tanh": lambda z: z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "mish": lambda z: z * np.tanh(np.log(1 + np.exp(z))),
    "softplus": lambda z: np.log(1 + np.exp(z)),
}
LOSSES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {  # of what the last layer gives, targets, huber's delta
    "softmax_ce": lambda z, t, delta: -(t * log_softmax(z, axis=1)).sum(axis=1),
    "sigmoid_bce": lambda z, t, delta: -(xlogy(t, s := 1 / (1 + np.exp(-z))) + xlogy(1 - t, 1 - s)).sum(axis=1),
    "mse": lambda y, t, delta: ((y - t) ** 2).mean(axis=1),
    "mae": lambda y, t, delta: abs(y - t).mean(axis=1),
    "huber": lambda y, t, delta: np.where(
        abs(y - t) <= delta, (y - t) ** 2 / 2, delta * abs(y - t) - delta**2 / 2
    ).mean(axis=1),
    "poisson": lambda z, t, delta: (np.exp(z) - t * z).mean(axis=1),
}  # fmt: skip


@dataclass(frozen=True)
class Function:
    """What a training minimises, but for its penalties.

    activations  of each hidden layer, and of the output
    masks        for the input and each hidden layer (batch, units), or ()
    scale        (batch,) what the loss of each sample is multiplied by
    """

    activations: tuple[str, ...]
    loss: str
    scale: np.ndarray
    masks: Sequence[np.ndarray] = ()
    huber_delta: float = 1.0

    def losses(self, parameters: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(batch,)"""
        layers = len(self.activations)
        for l, name in enumerate(self.activations):
            x = x * self.masks[l] if self.masks else x
            x = FUNCTIONS[name](x @ parameters[l] + parameters[layers + l])
        return LOSSES[self.loss](x, y, self.huber_delta)

    def value(self, parameters: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray) -> float:
        return float(self.scale @ self.losses(parameters, x, y))

    def gradients(self, parameters: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray, h: float = 1e-5) -> list[np.ndarray]:
        """Of each of the parameters, by central differences."""
        own = [p.copy() for p in parameters]
        gradients = [np.empty_like(p) for p in own]
        for p, gradient in zip(own, gradients, strict=True):
            for i in np.ndindex(p.shape):
                kept = p[i]
                p[i] = kept + h
                above = self.value(own, x, y)
                p[i] = kept - h
                gradient[i] = (above - self.value(own, x, y)) / (2 * h)
                p[i] = kept
        return gradients
