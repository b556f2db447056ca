"""L-BFGS on the whole set: scipy's, on the loss and the gradient that the kernels give."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from fastfc.errors import invalid
from fastfc.kernels.plan import Epoch

LINE_SEARCH = 20  # evaluations an iteration, at most: scipy's maxls


class Stopped(Exception):
    """Raised by who watches, to end the iterations in the midst of one."""


def check_scipy() -> None:
    """Raise InvalidArgument where scipy is not installed, which nothing else needs."""
    if importlib.util.find_spec("scipy") is None:
        raise invalid("optimizer", "'lbfgs' without scipy", "it to be installed: pip install 'fastfc[lbfgs]'")


class Objective:
    """f(x) = the loss of the whole set, as Epoch.scale adds it up, + decay/2 sum(w²) over the weights; and its gradient.

    x (numbers,) float64 are the parameters as Trainer.parameters gives them; the Trainer then has those of the last call.
    watch  is called after each evaluation
    """

    def __init__(self, trainer: Any, epoch: Epoch, decay: float, watch: Callable[[], None]) -> None:
        self.trainer, self.epoch, self.decay, self.watch = trainer, epoch, decay, watch
        start = trainer.parameters()
        self.dtype, self.at = start.dtype, start.astype(np.float64)
        self.is_weight = np.zeros(start.shape)
        for weights in trainer.views(self.is_weight)["weights"]:
            weights[:] = 1

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        self.at = x.copy()
        with np.errstate(all="ignore"):  # what is not finite is found in the losses
            self.trainer.place(x.astype(self.dtype))
            gradient = self.trainer.gradient(self.epoch, 0).astype(np.float64)
            loss = float(self.epoch.scale.astype(np.float64) @ self.epoch.losses.astype(np.float64))
            slope = self.decay * self.is_weight * x
            value = loss + float(slope @ x) / 2
        self.watch()
        return value, gradient + slope


def minimise(objective: Objective, iterations: int, tolerance: float, after: Callable[[], bool]) -> None:
    """From where the objective's Trainer is, until no element of the gradient is above `tolerance`, the objective hardly falls
    (scipy's ftol), `iterations` are done, or `after`, which is called at the end of each, gives True.

    Liu and Nocedal 1989; Byrd et al. 1995.
    """
    from scipy.optimize import minimize

    def callback(x: np.ndarray) -> None:
        if not np.array_equal(x, objective.at):
            objective(x)
        if after():
            raise StopIteration

    evaluations = (1 + iterations) * (1 + LINE_SEARCH)
    options = {"maxiter": iterations, "maxfun": evaluations, "maxls": LINE_SEARCH, "gtol": tolerance}
    minimize(objective, objective.at, jac=True, method="L-BFGS-B", callback=callback, options=options)
