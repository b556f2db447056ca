"""The parameters of an estimator, and what they give for samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from fastfc.backend import load_backend
from fastfc.exchange import LOSSES, activations_of
from fastfc.kernels.optimizers import of_momentum
from fastfc.kernels.plan import Plan

FLOATS = np.dtype(np.float32), np.dtype(np.float64)
UINT8 = np.dtype(np.uint8)
KEPT = 4  # predictors that wait for their next call: each may hold a copy of all parameters


class Form(NamedTuple):
    """What a network is beside its parameters: names of the hidden layers' activations, one for all or one for each, and of the
    output's, both as scikit-learn has them; and the backend that computes it."""

    activation: str | tuple[str, ...]
    out_activation: str
    backend: str


def plan_of(layers: Sequence[int], form: Form, dtype: np.dtype) -> Plan:
    """The network for the kernels: without training, and with uint8 as the numbers that they are."""
    return Plan(
        layers=tuple(layers),
        activations=(*activations_of(form.activation, len(layers) - 2), "identity"),
        loss=LOSSES[form.out_activation],
        optimizer=of_momentum("none", 0.0, 0.0),
        smoothing=0.0,
        mean=True,
        batch_size=1,
        scale=1.0,
        dtype=dtype,
        image_shape=None,
    )


def wider(one: np.dtype, other: np.dtype) -> np.dtype:
    """float32 or float64: in which numbers of these two are multiplied."""
    both = one if one == other else np.result_type(one, other)
    return both if both in FLOATS else FLOATS[both.itemsize > 4]


def kernel_inputs(X: Any, dtype: np.dtype) -> Any:
    """X (n, features) as the kernels take it: C-contiguous uint8 or `dtype`, or CSR of `dtype` that has no place twice."""
    if isinstance(X, np.ndarray):
        if X.dtype == dtype and X.flags.c_contiguous and X.flags.aligned:
            return X
        return np.require(X, X.dtype if X.dtype == UINT8 else dtype, ["C", "A"])
    X = X.astype(dtype, copy=False)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


class Parameters:
    """weights (fan_in, fan_out) and biases (fan_out,) of each layer, and the predictors that were made of them.

    Who is given the lists may change what is in them at any time. From then on the predictors are good only as long as the
    numbers are those that they were made of, of which copies are kept; before, nobody can have changed them.
    """

    def __init__(self, weights: list[np.ndarray], biases: list[np.ndarray]) -> None:
        self.weights, self.biases = weights, biases
        self._given_away = False
        self._dtype: np.dtype | None = None
        self._copies: list[np.ndarray] = []
        self._idle: dict[Any, deque[Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"weights": self.weights, "biases": self.biases}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def give_away(self) -> Parameters:
        """Itself, for whoever asks for the lists."""
        if not self._given_away:
            self._given_away, self._idle = True, {}
        return self

    @property
    def dtype(self) -> np.dtype:
        """float32, or float64 where any of them is not."""
        if self._dtype is None or self._given_away:
            self._dtype = FLOATS[any(p.dtype != np.float32 for p in chain(self.weights, self.biases))]
        return self._dtype

    @property
    def layers(self) -> list[int]:
        return [len(self.weights[0]), *(w.shape[1] for w in self.weights)]

    @property
    def size(self) -> int:
        """How many numbers the weights are."""
        return sum(w.size for w in self.weights)

    def are_finite(self) -> bool:
        return all(np.isfinite(p).all() for p in chain(self.weights, self.biases))

    def outputs(self, X: Any, form: Form, dtype: np.dtype, threads: int) -> tuple[np.ndarray, bool]:
        """(n, outputs) what the network gives; and whether all of X is finite, or it is sparse. X (n, features) uint8 or `dtype`,
        or CSR of them."""
        if self._given_away:
            self._look_for_changes()
        key = (form, dtype, threads)
        idle = self._idle.get(key)
        if idle is None:
            idle = self._idle.setdefault(key, deque(maxlen=KEPT))
        try:
            predictor = idle.pop()  # each has scratch memory that serves one call at a time
        except IndexError:
            predictor = self._predictor(form, dtype, threads)
        outputs, all_finite = predictor.outputs(X, finished=True), predictor.all_finite
        idle.append(predictor)
        return outputs, all_finite

    def _predictor(self, form: Form, dtype: np.dtype, threads: int) -> Any:
        plan, layers = plan_of(self.layers, form, dtype), len(self.weights)
        own = [np.ascontiguousarray(p, dtype) for p in self._copies or chain(self.weights, self.biases)]
        return load_backend(form.backend)[1](plan, own[:layers], own[layers:], threads)

    def _look_for_changes(self) -> None:
        now = [*self.weights, *self.biases]
        if len(now) != len(self._copies) or not all(map(np.array_equal, now, self._copies)):
            self._copies, self._idle = [np.array(p) for p in now], {}
