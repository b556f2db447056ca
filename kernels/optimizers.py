"""Optimisers as data: what each keeps beside the parameters, its numbers for every step, and its formula.

A kind of optimiser is a NamedTuple of the numbers that one step needs, its *rule*. Beside it stand, in the tables at the end,
the names of its state arrays, its formula, and when a parameter without gradient stays where it is. Formulas
are plain arithmetic: the reference backend applies them to NumPy arrays, the fused one compiles them for single numbers
(the biases) and emits them on vectors, while the gradient of the weights is still in registers.

    formula(w, state, gradient, rule) -> w, state        state a sequence of as many as the kind has names
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Sgd(NamedTuple):
    """Gradient descent. decay: the L2 factor, of the penalty decay/2 * sum(w²)."""

    rate: float
    decay: float


def sgd(w, state, gradient, rule):
    return w - rule.rate * (gradient + rule.decay * w), state


class Momentum(NamedTuple):
    """Gradient descent with a velocity v:  v = keep v + fresh g,  w = w - rate (direct g + through v)."""

    rate: float
    decay: float
    keep: float
    fresh: float
    direct: float
    through: float


def momentum(w, state, gradient, rule):
    g = gradient + rule.decay * w
    v = rule.keep * state[0] + rule.fresh * g
    return w - rule.rate * (rule.direct * g + rule.through * v), (v,)


class Accumulate(NamedTuple):
    """No step: the "parameters" are a gradient, to which that of further samples is added."""


def accumulate(w, state, gradient, rule):
    return w + gradient, state


def _stays_without_decay(rule):
    return rule.decay == 0


def _never_stays(rule):
    return False


def _always_stays(rule):
    return True


STATES: dict[type, tuple[str, ...]] = {Sgd: (), Momentum: ("velocity",), Accumulate: ()}
FORMULAS: dict[type, Callable[..., Any]] = {Sgd: sgd, Momentum: momentum, Accumulate: accumulate}
STAYS: dict[type, Callable[[Any], bool]] = {
    Sgd: _stays_without_decay,
    Momentum: _never_stays,
    Accumulate: _always_stays,
}

WEIGHTS, BIASES = range(2)  # what has factors of its own


@dataclass(frozen=True)
class Optimizer:
    """A kind, and the numbers of its rule that are the same in every step (all but the rate)."""

    kind: Any
    numbers: tuple[tuple[str, float], ...]

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the arrays that are kept for each array of parameters."""
        return STATES[self.kind]

    def rules(self, rates: np.ndarray, first: int = 0) -> np.ndarray:
        """(steps, numbers of a rule) for steps first, first + 1, ... of the training, whose learning rates are `rates` (steps,)."""
        columns = {"rate": rates, **dict(self.numbers)}
        rules = np.empty((len(rates), len(self.kind._fields)), rates.dtype)
        for i, name in enumerate(self.kind._fields):
            rules[:, i] = columns[name]
        return rules

    def factors(self, layers: int, dtype: np.dtype) -> np.ndarray:
        """(layers, 2, numbers of a rule) of what each number of a rule is multiplied by, for weights and biases: no L2 on biases."""
        factors = np.ones((layers, 2, len(self.kind._fields)), dtype)
        factors[:, BIASES, self.kind._fields.index("decay")] = 0
        return factors


def of_momentum(kind: str, momentum: float, weight_decay: float) -> Optimizer:
    """The optimiser of a named kind of momentum b.

    Sources: ema, report 001 (v = (1 - b) g + b v); heavy ball, Polyak 1964; Nesterov, in the form of Sutskever et al. 2013
    that PyTorch and scikit-learn use (the step is g + b v with the new v).
    """
    if kind == "none":
        return Optimizer(Sgd, (("decay", weight_decay),))
    b = float(momentum)
    numbers = {
        "ema": (b, 1.0 - b, 0.0, 1.0),
        "heavy_ball": (b, 1.0, 0.0, 1.0),
        "nesterov": (b, 1.0, 1.0, b),
    }[kind]
    return Optimizer(Momentum, (("decay", weight_decay), *zip(Momentum._fields[2:], numbers, strict=True)))
