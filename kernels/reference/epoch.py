"""Whole epochs, as the derivation has them: forward, loss, backward, update, for one batch after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfc.kernels.optimizers import BIASES, WEIGHTS, Rule, clip
from fastfc.kernels.plan import Epoch, Plan
from fastfc.kernels.reference import activations, batch, dense, dropout, losses
from fastfc.kernels.reference.optimizers import step

Arrays = list[np.ndarray]
HEADS = {
    "softmax_ce": losses.softmax_cross_entropy,
    "sigmoid_bce": losses.sigmoid_cross_entropy,
    "mse": losses.mean_squared_error,
    "mae": losses.mean_absolute_error,
    "huber": losses.huber,
    "poisson": losses.poisson,
}


class Trainer:
    """One training: its parameters and the optimiser's state, which are copies, and the data, which is only read.

    X        (n, features) uint8 or plan.dtype, C-contiguous, or a scipy CSR matrix of one of these
    targets  (n,) int64 labels, or (n, outputs) of plan.dtype
    state    "weights": (fan_in, fan_out) for each layer; "biases": (fan_out,); and by the names that the optimiser has for its
             state, arrays of the shapes of all weights, then of all biases, or nothing, for zeros
    threads, input_kernel   choices of the fused backend; NumPy's BLAS has its own threads, and dense is all it knows
    """

    def __init__(
        self, plan: Plan, X: Any, targets: np.ndarray, state: dict[str, Arrays], threads: int, input_kernel: str
    ) -> None:
        self.threads = threads
        self.plan, self.X, self.targets = plan, X, targets
        self.fill(state)
        self.layers, parameters = len(self.weights), self._parameters()
        self.block = np.zeros(sum(p.size for p in parameters), plan.dtype)
        self.gradients = _views(self.block, parameters)
        self.factors = plan.optimizer.factors(self.layers, plan.dtype)
        self.scale = np.array([plan.scale if X.dtype == np.uint8 else 1], plan.dtype)
        self.a = [np.empty((plan.batch_size, size), plan.dtype) for size in plan.layers]
        self.delta = [np.empty((plan.batch_size, size), plan.dtype) for size in plan.layers[1:]]
        rows = [plan.batch_size * plan.keeps_slopes(l + 1) for l in range(self.layers)]  # none where they are not kept
        self.slopes = [np.empty((n, size), plan.dtype) for n, size in zip(rows, plan.layers[1:], strict=True)]
        self.target = np.empty((plan.batch_size, plan.layers[-1]), plan.dtype)
        self.codes = np.empty((plan.batch_size, plan.layers[0]), X.dtype)
        self.none = [np.zeros((1, size), plan.dtype) for size in plan.layers[1:]]

    def run(self, epoch: Epoch, start: int, stop: int) -> None:
        """Steps `start` to `stop` of an epoch: the gradient of each batch, and the update."""
        for s in range(start, stop):
            if len(epoch.penalties):
                epoch.penalties[s] = sum(np.square(w, dtype=np.float64).sum() for w in self.weights)
            if self.plan.clip_norm is not None:
                clip(self.gradient(epoch, s), self.plan.clip_norm)
                self.apply(epoch, s)
                continue
            a, delta = self._back(epoch, s)
            for l in range(self.layers):
                weights, of_biases = self._rule(epoch, s, l, WEIGHTS), self._rule(epoch, s, l, BIASES)
                dense.update(a[l], delta[l], self.none[l], self.weights[l], self.kept[l], weights)
                summed = delta[l].sum(axis=0, keepdims=True)
                step(self.biases[l], self.kept[self.layers + l], summed, of_biases)

    def gradient(self, epoch: Epoch, s: int) -> np.ndarray:
        """The gradient of the batch of step `s`, of all layers in one flat array, `block`, which may be changed before `apply`."""
        a, delta = self._back(epoch, s)
        for l in range(self.layers):
            np.dot(a[l].T, delta[l], out=self.gradients[l])
            delta[l].sum(axis=0, keepdims=True, out=self.gradients[self.layers + l])
        return self.block

    def apply(self, epoch: Epoch, s: int, stop: int | None = None) -> None:
        """The update of step `s` along what that array holds. With stop == s none."""
        for l in range(self.layers if stop != s else 0):
            for which, k in ((WEIGHTS, l), (BIASES, self.layers + l)):
                rule = self._rule(epoch, s, l, which)
                step(self._parameters()[k], self.kept[k], self.gradients[k], rule)

    def parameters(self) -> np.ndarray:
        """A copy of all parameters in one flat array, laid out as `gradient` gives it. Only with plan.keeps_gradient."""
        return np.concatenate([p.ravel() for p in self._parameters()])

    def place(self, flat: np.ndarray) -> None:
        """The parameters become those of such an array."""
        views = self.views(flat)
        for own, given in zip(self._parameters(), [*views["weights"], *views["biases"]], strict=True):
            own[:] = given

    def views(self, flat: np.ndarray) -> dict[str, Arrays]:
        """Where in such an array the "weights" and the "biases" of each layer are: views of it."""
        arrays = _views(flat, self._parameters())
        return {"weights": arrays[: self.layers], "biases": [b[0] for b in arrays[self.layers :]]}

    def fill(self, state: dict[str, Arrays]) -> None:
        """The parameters and the optimiser's state become those of `state`, as it is given to a Trainer."""
        dtype, names = self.plan.dtype, self.plan.optimizer.states
        self.weights = [w.astype(dtype) for w in state["weights"]]
        self.biases = [b[None].astype(dtype) for b in state["biases"]]
        self.kept = [np.zeros((len(names), *p.shape), dtype) for p in self._parameters()]  # (states, ...) for each
        for k, name in enumerate(names):
            for kept, given in zip(self.kept, state.get(name, []), strict=name in state):
                kept[k] = given

    def state(self) -> dict[str, Arrays]:
        """Copies of the parameters and of the optimiser's state, as they are given to a Trainer."""
        kept = {
            name: [k[i].copy() for k in self.kept[: self.layers]] + [k[i][0].copy() for k in self.kept[self.layers :]]
            for i, name in enumerate(self.plan.optimizer.states)
        }
        return {"weights": [w.copy() for w in self.weights], "biases": [b[0].copy() for b in self.biases], **kept}

    def close(self) -> None:
        """Nothing to release here."""

    def _parameters(self) -> Arrays:
        return [*self.weights, *self.biases]

    def _rule(self, epoch: Epoch, s: int, layer: int, which: int) -> Rule:
        return Rule(epoch.rules[s] * self.factors[layer, which], self.plan.optimizer.kind)

    def _back(self, epoch: Epoch, s: int) -> tuple[Arrays, Arrays]:
        """The batch of step s through the network and back: what goes into each layer, and dL/dz of each."""
        plan, size = self.plan, self.plan.batch_size
        part = slice(s * size, min((s + 1) * size, len(epoch.order)))
        m, order = part.stop - part.start, epoch.order[part]
        a, delta, slopes = ([array[:m] for array in arrays] for arrays in (self.a, self.delta, self.slopes))
        target = self._load(order, epoch.shifts[part], a[0])

        numbers = order + epoch.first_sample
        self._drop(a[0], a[0][:0], numbers, epoch.dropout_key, 0)
        for l in range(self.layers):
            dense.forward(a[l], self.weights[l], self.biases[l], a[l + 1])
            activations.activate(a[l + 1], slopes[l], plan.activations[l])
            if l + 1 < self.layers:
                self._drop(a[l + 1], slopes[l], numbers, epoch.dropout_key, l + 1)

        HEADS[plan.loss](a[-1], target, epoch.scale[part], delta[-1], epoch.losses[part], plan.huber_delta)
        for l in range(self.layers - 1, -1, -1):
            if len(slopes[l]):
                activations.multiply(slopes[l], delta[l])
            else:
                activations.chain(a[l + 1], delta[l], plan.activations[l])
            if l:
                dense.backward(delta[l], self.weights[l].T, delta[l - 1])
        return a, delta

    def _drop(self, a: np.ndarray, slopes: np.ndarray, samples: np.ndarray, key: int, layer: int) -> None:
        rate = self.plan.dropout_rate(layer)
        if rate:
            dropout.drop(a, slopes, samples, key, layer, rate)

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


def _views(block: np.ndarray, like: Arrays) -> Arrays:
    """A flat array cut into arrays of these shapes."""
    ends = np.cumsum([array.size for array in like])
    return [block[end - array.size : end].reshape(array.shape) for array, end in zip(like, ends, strict=True)]
