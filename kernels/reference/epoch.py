"""Whole epochs, as the derivation has them: forward, loss, backward, update, for one batch after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfc.kernels.plan import MSE, SIGMOID_BCE, SOFTMAX_CE, Plan
from fastfc.kernels.reference import batch, dense, losses
from fastfc.kernels.reference.optimizers import step

Arrays = list[np.ndarray]


class Trainer:
    """One training: its parameters and the optimiser's state, which are copies, and the data, which is only read.

    X           (n, features) uint8 or plan.dtype, C-contiguous, or a scipy CSR matrix of one of these
    targets     (n,) int64 labels, or (n, outputs) of plan.dtype
    state       "weights": (fan_in, fan_out) for each layer; "biases": (fan_out,); and perhaps "velocity": of the weights,
                then of the biases, without which they are zeros
    threads, input_kernel   choices of the fused backend; NumPy's BLAS has its own threads, and dense is all it knows
    """

    def __init__(
        self,
        plan: Plan,
        X: Any,
        targets: np.ndarray,
        state: dict[str, Arrays],
        threads: int,
        input_kernel: str,
    ) -> None:
        self.plan, self.X, self.targets = plan, X, targets
        self.W = [w.astype(plan.dtype) for w in state["weights"]]
        self.b = [b[None].astype(plan.dtype) for b in state["biases"]]
        layers = len(self.W)
        zeros = [np.zeros_like(p) for p in self.W + self.b]
        self.V = (
            [v.reshape(z.shape).astype(plan.dtype) for v, z in zip(state["velocity"], zeros, strict=True)]
            if "velocity" in state
            else zeros
        )
        self.rules = np.array(
            [(*plan.rule, 0), (*plan.rule[:4], 0, 0)], plan.dtype
        )  # of the weights and, without L2, the biases
        self.scale = np.array([plan.scale if X.dtype == np.uint8 else 1], plan.dtype)
        self.a = [np.empty((plan.batch_size, size), plan.dtype) for size in plan.layers]
        self.delta = [np.empty((plan.batch_size, size), plan.dtype) for size in plan.layers[1:]]
        self.target = np.empty((plan.batch_size, plan.layers[-1]), plan.dtype)
        self.codes = np.empty((plan.batch_size, plan.layers[0]), X.dtype)
        self.none = [np.zeros((1, size), plan.dtype) for size in plan.layers[1:]]
        self.layers = layers

    def run(
        self, order: np.ndarray, shifts: np.ndarray, rates: np.ndarray, sample_losses: np.ndarray, start: int, stop: int
    ) -> None:
        """Steps `start` to `stop` of an epoch.

        order (n,) which sample comes when; shifts (n, 2) in that order, or empty; rates (steps,) learning rates;
        sample_losses (n,), in that order, is written.
        """
        size = self.plan.batch_size
        for s in range(start, stop):
            part = slice(s * size, min((s + 1) * size, len(order)))
            self._step(order[part], shifts[part], rates[s], sample_losses[part])

    def state(self) -> dict[str, Arrays]:
        """Copies of the parameters and of the optimiser's state, as they are given to a Trainer."""
        return {
            "weights": [w.copy() for w in self.W],
            "biases": [b[0].copy() for b in self.b],
            "velocity": [v.copy() for v in self.V[: self.layers]] + [v[0].copy() for v in self.V[self.layers :]],
        }

    def close(self) -> None:
        """Nothing to release here."""

    def _step(self, order: np.ndarray, shifts: np.ndarray, rate: float, sample_losses: np.ndarray) -> None:
        plan, last, m = self.plan, self.layers - 1, len(order)
        a, delta = [x[:m] for x in self.a], [d[:m] for d in self.delta]
        target = self._load(order, shifts, a[0])

        for l in range(self.layers):
            dense.forward(a[l], self.W[l], self.b[l], plan.activations[l], a[l + 1])

        scale = 1 / m if plan.mean else 1.0
        if plan.loss == SOFTMAX_CE:
            losses.softmax_cross_entropy(a[-1], target, scale, delta[-1], sample_losses)
        elif plan.loss == SIGMOID_BCE:
            losses.sigmoid_cross_entropy(a[-1], target, scale, delta[-1], sample_losses)
        elif plan.loss == MSE:
            losses.mean_squared_error(a[-1], target, plan.activations[-1], scale, delta[-1], sample_losses)

        for l in range(last, 0, -1):
            dense.backward(delta[l], self.W[l].T, a[l], plan.activations[l - 1], delta[l - 1])

        self.rules[:, 5] = rate
        for l in range(self.layers):
            dense.update(a[l], delta[l], self.none[l], self.W[l], self.V[l], self.rules[0])
            step(self.b[l], self.V[self.layers + l], delta[l].sum(axis=0, keepdims=True), self.rules[1])

    def _load(self, order: np.ndarray, shifts: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The batch: its samples into x, and its targets."""
        codes, target = self.codes[: len(order)], self.target[: len(order)]
        if not isinstance(self.X, np.ndarray):
            batch.gather_csr(self.X.data, self.X.indices, self.X.indptr, order, codes)
        elif len(shifts):
            assert self.plan.image_shape
            batch.gather_shifted(self.X, order, *self.plan.image_shape, shifts, codes, self.plan.background)
        else:
            batch.gather(self.X, order, codes)
        batch.multiply_by(codes, self.scale, x)
        if self.targets.ndim == 1:
            batch.one_hot(self.targets, order, *self.plan.off_and_on(), target)
        else:
            batch.gather(self.targets, order, target)
        return target
