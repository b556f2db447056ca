"""The backend's Trainer as an estimator uses it: samples and solver in, the loss of an epoch out, as scikit-learn counts it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import xlogy

from fastfc.backend import load_backend
from fastfc.estimators.prediction import Form, Parameters, plan_of
from fastfc.estimators.solvers import Solver
from fastfc.kernels.plan import GROUP, Epoch, Plan
from fastfc.training.input_kernel import LEAST_FEATURES, MOST, background_of, choose_input_kernel
from fastfc.training.limits import Limits
from fastfc.training.sampling import dropout_key

SAMPLED = 128  # rows that are looked at to choose the input kernel
SLICE_SECONDS = 0.1  # longer epochs return so often, to listen for Ctrl-C and look at the clock
QUICK = 10_000_000  # multiplications, and
QUICK_STEPS = 200  # steps, of an epoch that is surely shorter
NO_SHIFTS, NO_PENALTIES = np.zeros((0, 2), np.int8), np.zeros(0)


@dataclass
class Samples:
    """What is trained on, as the kernels take it.

    X        (n, features) uint8 or the dtype of the training, C-contiguous, or CSR of them
    targets  (n,) int64 labels, or (n, outputs) numbers
    weights  (n,) float64, or None for 1
    rows     (m,) those of the samples that are trained on
    """

    X: Any
    targets: np.ndarray
    weights: np.ndarray | None
    rows: np.ndarray


@dataclass(frozen=True)
class Regularization:
    """alpha is the L2 factor, over the sum of the weights of a batch; dropout the rates of input and hidden layers, or ();
    smoothing of the targets of classes; seed of the masks of dropout."""

    alpha: float
    dropout: tuple[float, ...] = ()
    smoothing: float = 0.0
    seed: int = 0


class Fitting:
    """One fit: the Trainer with its samples, and the arrays that all epochs share.

    keeps_gradient  whether the Trainer is asked for gradients, and makes no steps
    """

    def __init__(
        self,
        samples: Samples,
        parameters: Parameters,
        form: Form,
        terms: Regularization,
        solver: Solver,
        batch_size: int,
        threads: int,
        keeps_gradient: bool = False,
    ) -> None:
        dtype, features = parameters.dtype, parameters.layers[0]
        self.samples, self.form, self.terms, self.solver = samples, form, terms, solver
        self.n, self.steps = len(samples.rows), math.ceil(len(samples.rows) / batch_size)
        self.starts = np.arange(0, self.n, batch_size)
        self.sizes = np.diff(self.starts, append=self.n)
        self.optimizer = solver.optimizer(terms.alpha)
        kernel, background = input_kernel(samples.X, features) if form.backend == "numba" else ("dense", 0.0)
        self.plan = replace(
            plan_of(parameters.layers, form, dtype),
            optimizer=self.optimizer,
            smoothing=terms.smoothing,
            batch_size=batch_size,
            background=background,
            keeps_gradient=keeps_gradient,
            dropout=terms.dropout,
        )
        self.loss = Loss(self.plan, samples.targets)
        state = {"weights": parameters.weights, "biases": parameters.biases, **solver.state}
        targets = self.loss.smoothed(samples.targets)
        self.trainer = load_backend(form.backend)[0](self.plan, samples.X, targets, state, threads, kernel)
        self.losses = np.zeros(self.n, dtype)
        has_penalty = any(name == "decay" and value for name, value in self.optimizer.numbers)
        self.penalties = np.zeros(self.steps) if has_penalty else NO_PENALTIES
        self.totals = self.sizes.astype(np.float64)
        rules = np.zeros((self.steps, len(self.optimizer.kind._fields)), dtype)
        # Filled anew for each epoch, and always the same arrays: the Trainer need not look where they are.
        self.filled = Epoch(samples.rows.copy(), NO_SHIFTS, rules, self._scale(np.ones(self.n)), self.losses, 0, self.penalties)
        self.is_quick = self.n * parameters.size < QUICK and self.steps < QUICK_STEPS
        self.steps_a_call = 1

    def epoch(self, order: np.ndarray, number: int, limits: Limits) -> float | None:
        """The loss of epoch `number` on the samples in `order` (m,); None where the limits cut it short."""
        weights, epoch = None, self.filled
        if self.samples.weights is not None:
            weights = self.samples.weights[order]
            totals = np.add.reduceat(weights, self.starts)
            self.totals = np.where(totals == 0, np.inf, totals)  # a batch without weight moves nothing
            epoch.scale[:] = self._scale(weights)
        epoch.order[:] = order
        epoch.rules[:] = self.solver.rules(self.optimizer, self.totals, self.plan.dtype, weights is None)
        if self.terms.dropout:
            epoch = epoch._replace(dropout_key=dropout_key(self.terms.seed, number))
        return self._mean_loss(order, weights) if self._run(epoch, limits) else None

    def _scale(self, weights: np.ndarray) -> np.ndarray:
        """(m,) what the gradient of each sample is multiplied by: its share of the weight of its batch."""
        return (weights * self.loss.of_gradient / self.totals.repeat(self.sizes)).astype(self.plan.dtype)

    def _run(self, epoch: Epoch, limits: Limits) -> bool:
        """All steps, unless the limits allow only some of them."""
        if self.is_quick:
            self.trainer.run(epoch, 0, self.steps)
            return True
        done = 0
        while done < self.steps:
            stop, began = min(done + self.steps_a_call, self.steps), time.perf_counter()
            self.trainer.run(epoch, done, stop)
            took = time.perf_counter() - began
            self.steps_a_call = max(1, int((stop - done) * SLICE_SECONDS / max(took, 1e-6)))
            done = stop
            if done < self.steps and limits.is_over():
                return False
        return True

    def _mean_loss(self, order: np.ndarray, weights: np.ndarray | None) -> float:
        """The mean over the samples of the losses of their batches, each a mean by weight and its share of the penalty."""
        losses, half_alpha = self.loss.of_samples(self.losses, order), self.terms.alpha / 2
        if weights is None:
            total = np.add.reduce(losses, dtype=np.float64) + half_alpha * np.add.reduce(self.penalties)
            return float(total) / self.n
        sums = np.add.reduceat(losses * weights, self.starts)
        if len(self.penalties):
            sums += half_alpha * self.penalties
        return float((sums / self.totals * self.sizes).sum()) / self.n

    def parameters(self) -> Parameters:
        """Copies of what they are now."""
        state = self.trainer.state()
        return Parameters(state["weights"], state["biases"])

    def finish(self) -> Parameters:
        """The last parameters. The solver keeps what it needs to go on."""
        state = self.trainer.state()
        self.solver.state = {name: state[name] for name in self.optimizer.states}
        return Parameters(state["weights"], state["biases"])

    def close(self) -> None:
        self.trainer.close()


class Loss:
    """scikit-learn's losses from those of the kernels, for targets (n,) or (n, outputs) before smoothing.

    Its cross-entropies hold the probabilities eps away from 0 and 1. Its regressions have half the squared error, and half the
    deviance of Poisson, summed over the outputs in the gradient; the kernels' are means over the outputs.

    of_gradient  factor of the gradient
    """

    def __init__(self, plan: Plan, targets: np.ndarray) -> None:
        outputs, self.plan = plan.layers[-1], plan
        self.is_class = plan.loss in ("softmax_ce", "sigmoid_bce")
        self.factor, self.of_gradient = {"mse": (0.5, outputs / 2), "poisson": (outputs, outputs)}.get(plan.loss, (1, 1))
        eps, columns = float(np.finfo(plan.dtype).eps), outputs if plan.loss == "sigmoid_bce" else 1
        self.bounds = -math.log1p(-eps) * columns, -math.log(eps) * columns
        self.constants: np.ndarray | None = None  # (n,) what depends on the targets alone
        if plan.loss == "poisson":
            t = targets.astype(np.float64)
            self.constants = (xlogy(t, t) - t).sum(axis=1)

    def of_samples(self, losses: np.ndarray, order: np.ndarray) -> np.ndarray:
        """(m,) of the samples in `order`, from the kernels' losses (m,), which may be overwritten."""
        if self.is_class:
            if not self.plan.smoothing:
                np.minimum(np.maximum(losses, self.bounds[0], out=losses), self.bounds[1], out=losses)
            return losses
        if self.constants is None:
            return self.factor * losses
        return self.factor * losses.astype(np.float64) + self.constants[order]

    def smoothed(self, targets: np.ndarray) -> np.ndarray:
        """As the Trainer takes them, which smooths labels by itself."""
        if targets.ndim == 1 or not self.plan.smoothing:
            return targets
        off, on = self.plan.off_and_on()
        return (off + (on - off) * targets).astype(self.plan.dtype)


def input_kernel(X: Any, features: int) -> tuple[str, float]:
    """("sparse" or "dense", the most common value of X): how the first layer is multiplied, by a look at some rows."""
    if features < LEAST_FEATURES:
        return "dense", 0.0
    if not isinstance(X, np.ndarray) and GROUP * X.nnz <= MOST * X.shape[0] * features:  # what GROUP rows need together, at most
        return "sparse", 0.0
    some = X[np.linspace(0, X.shape[0] - 1, min(X.shape[0], SAMPLED)).astype(np.int64)]
    background = background_of(some)
    return choose_input_kernel(some, "auto", background)[0], background
