"""The forward pass alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfc.kernels.plan import Plan
from fastfc.kernels.reference import activations, dense

CHUNK = 1024  # samples at a time

FINISH = {
    "softmax_ce": activations.softmax,
    "sigmoid_bce": activations.sigmoid,
    "poisson": activations.exponential,
}


class Predictor:
    """What a network with these parameters gives; weights (fan_in, fan_out), biases (fan_out,)."""

    def __init__(self, plan: Plan, weights: list[np.ndarray], biases: list[np.ndarray], threads: int) -> None:
        self.plan, self.weights, self.biases = plan, weights, [b[None] for b in biases]

    def outputs(self, X: Any, finished: bool = False) -> np.ndarray:
        """(n, outputs): f(z) of the last layer, and if `finished` what the loss makes of that: probabilities, or expected counts.

        X (n, features) uint8, plan.dtype, or CSR of them; of an array, `all_finite` then tells whether all its numbers are.
        """
        self.all_finite = not isinstance(X, np.ndarray) or bool(np.isfinite(X).all())
        plan = self.plan
        out = np.empty((X.shape[0], plan.layers[-1]), plan.dtype)
        for start in range(0, X.shape[0], CHUNK):
            x = X[start : start + CHUNK]
            if not isinstance(x, np.ndarray):
                x = x.toarray()
            if x.dtype == np.uint8:
                x = x * plan.dtype.type(plan.scale)
            for weights, bias, activation in zip(self.weights, self.biases, plan.activations, strict=True):
                a = np.empty((len(x), weights.shape[1]), plan.dtype)
                dense.forward(x, weights, bias, a)
                activations.activate(a, a[:0], activation)
                x = a
            out[start : start + CHUNK] = x
        if finished and plan.loss in FINISH:
            FINISH[plan.loss](out)
        return out

    def label(self, x: np.ndarray) -> np.ndarray:
        """(1,) int64: which output is the largest for x (1, features), uint8 or plan.dtype; -1 if that or x is not finite."""
        with np.errstate(all="ignore"):
            outputs = self.outputs(x)
        return outputs.argmax(axis=1) if self.all_finite and np.isfinite(outputs).all() else np.array([-1])
