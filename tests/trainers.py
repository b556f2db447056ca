"""Either backend's Trainer, one step at a time: what the tests of gradients and of whole trainings share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastfc.backend import load_backend
from fastfc.kernels.plan import Epoch
from fastfc.network import Network
from fastfc.settings import Settings
from fastfc.training.input_kernel import background_of
from fastfc.validation import check_targets

NO_SHIFTS = np.zeros((0, 2), np.int8)
# What computes: a backend, and how it multiplies the first layer.
COMPUTATIONS = {"numpy": ("numpy", "dense"), "numba dense": ("numba", "dense"), "numba sparse": ("numba", "sparse")}


class Training:
    """A Trainer of the named computation on (X, y), starting from the parameters of `network`, and `kept` of the optimiser's."""

    def __init__(
        self,
        computation: str,
        network: Network,
        X: Any,
        y: Any,
        batch_size: int | None = None,
        threads: int = 1,
        kept: dict[str, Sequence[np.ndarray]] | None = None,
        keeps_gradient: bool = False,
        **settings: Any,
    ) -> None:
        backend, kernel = COMPUTATIONS[computation]
        self.n = X.shape[0]
        self.batch_size = batch_size or self.n
        targets, _ = check_targets(y, self.n, network.layers[-1], network.loss, network.dtype)
        settings = {"hidden": network.layers[1:-1], "loss": network.loss, **settings}
        self.plan = replace(network.plan(Settings(**settings), self.batch_size), background=background_of(X))
        self.plan = replace(self.plan, keeps_gradient=keeps_gradient or self.plan.keeps_gradient)
        trainer, _ = load_backend(backend)
        state = {"weights": network.weights, "biases": network.biases, **(kept or {})}
        self.trainer = trainer(self.plan, X, targets, state, threads, kernel)
        self.losses = np.full(self.n, np.nan, network.dtype)
        self.steps = -(-self.n // self.batch_size)

    def run(
        self,
        rates: float | np.ndarray,
        order: np.ndarray | None = None,
        shifts: np.ndarray = NO_SHIFTS,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        """Steps `start` to `stop` of an epoch, with one rate or one for each step."""
        self.trainer.run(self.epoch(rates, order, shifts), start, self.steps if stop is None else stop)

    def epoch(
        self,
        rates: float | np.ndarray,
        order: np.ndarray | None = None,
        shifts: np.ndarray = NO_SHIFTS,
        weights: np.ndarray | None = None,
    ) -> Epoch:
        order = np.arange(self.n) if order is None else order
        each = np.broadcast_to(rates, self.steps).astype(self.losses.dtype)
        return Epoch(order, shifts, self.plan.optimizer.rules(each), self.plan.scales(len(order), weights), self.losses)

    def parameters(self) -> list[np.ndarray]:
        """Weights, biases and the arrays of the optimiser, one after the other."""
        return [array for arrays in self.trainer.state().values() for array in arrays]

    def digest(self) -> str:
        """SHA-256 of all parameters and of the losses."""
        digest = hashlib.sha256(self.losses.tobytes())
        for array in self.parameters():
            digest.update(array.tobytes())
        self.trainer.close()
        return digest.hexdigest()


def assert_same(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], tolerance: float) -> None:
    """Arrays agree to `tolerance`, relative to the largest number of each."""
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(), err_msg=f"array {i}")
