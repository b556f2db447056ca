"""L-BFGS-B of scipy on the loss and the gradient of all samples at once."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import scipy
import scipy.optimize
from sklearn.utils.optimize import _check_optimize_result

from fastfc.estimators.callbacks import Tasks
from fastfc.estimators.fitting import NO_PENALTIES, Fitting
from fastfc.estimators.prediction import Parameters

# scipy 1.15 took away what L-BFGS-B printed.
PRINTS = tuple(int(part) for part in scipy.__version__.split(".")[:2]) < (1, 15)


class Objective:
    """The mean loss of a `Fitting` of all samples, and its gradient, as functions of all weights, then all biases, packed
    into one vector (numbers,) of the dtype of the training. scipy's own vectors are float64 beside it."""

    def __init__(self, fitting: Fitting) -> None:
        samples, self.fitting, self.trainer = fitting.samples, fitting, fitting.trainer
        self.weights, self.order = samples.weights, samples.rows
        self.total = float(fitting.n if self.weights is None else self.weights.sum())
        self.epoch = fitting.filled._replace(penalties=NO_PENALTIES)
        if self.weights is not None:
            self.epoch.scale[:] = self.weights * (fitting.loss.of_gradient / self.total)
        self.flat = self.trainer.parameters()  # as the trainer lays them out
        self.parts = self._parts(self.flat)
        self.of_weights = sum(part.size for part in self.parts[: len(self.parts) // 2])

    def _parts(self, flat: np.ndarray) -> list[np.ndarray]:
        views = self.trainer.views(flat)
        return [*views["weights"], *views["biases"]]

    def start(self) -> np.ndarray:
        return np.concatenate([part.ravel() for part in self.parts])

    def unpacked(self, packed: np.ndarray) -> Parameters:
        ends = np.cumsum([part.size for part in self.parts])
        arrays = [packed[end - p.size : end].reshape(p.shape).copy() for end, p in zip(ends, self.parts, strict=True)]
        return Parameters(arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :])

    def __call__(self, packed: np.ndarray) -> tuple[float, np.ndarray]:
        end = 0
        for part in self.parts:
            begin, end = end, end + part.size
            part[:] = packed[begin:end].reshape(part.shape)
        self.trainer.place(self.flat)
        parts = self._parts(self.trainer.gradient(self.epoch, 0))
        gradient = np.concatenate([part.ravel() for part in parts])
        weights, alpha = packed[: self.of_weights], self.fitting.terms.alpha
        gradient[: self.of_weights] += alpha / self.total * weights
        losses = self.fitting.loss.of_samples(self.epoch.losses, self.order)
        mean = np.average(losses, weights=self.weights)
        return float(mean + alpha / 2 * weights.dot(weights) / self.total), gradient


def train(estimator: Any, fitting: Fitting, tasks: Tasks | None) -> None:
    """As many iterations as it takes, or max_iter, max_fun, max_seconds or a callback allow. The estimator gets its parameters,
    n_iter_ and loss_; a ConvergenceWarning says where max_iter or max_fun were not enough."""
    objective = Objective(fitting)
    watch = Watch(objective, tasks, estimator.max_seconds)
    options = {"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol}
    if PRINTS:
        options["iprint"] = 1 if estimator.verbose else -1
    with np.errstate(all="ignore"):
        result = scipy.optimize.minimize(
            objective,
            objective.start(),
            method="L-BFGS-B",
            jac=True,
            options=options,
            callback=watch if tasks or estimator.max_seconds is not None else None,
        )
    stopped = watch.has_stopped
    estimator.n_iter_ = result.nit if stopped else _check_optimize_result("lbfgs", result, estimator.max_iter)
    estimator.loss_ = result.fun
    estimator._parameters = objective.unpacked(result.x)


class Watch:
    """Callbacks and the clock, after each iteration."""

    def __init__(self, objective: Objective, tasks: Tasks | None, max_seconds: float | None) -> None:
        self.objective, self.tasks, self.has_stopped = objective, tasks, False
        self.end = np.inf if max_seconds is None else time.perf_counter() + max_seconds
        if tasks:
            tasks.begin()

    def __call__(self, packed: np.ndarray) -> None:
        is_enough = time.perf_counter() >= self.end
        if self.tasks:
            is_enough |= self.tasks.end(lambda: self.objective.unpacked(packed))
        if is_enough:
            self.has_stopped = True
            raise StopIteration
        if self.tasks:
            self.tasks.begin()
