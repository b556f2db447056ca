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


class Adam(NamedTuple):
    """Moving averages m of the gradient and v of its square:  w = w - shrink w - rate m / (root sqrt(v) + epsilon).

    rate and root hold the corrections of the averages' start from 0, shrink the decoupled decay.
    """

    rate: float
    decay: float
    shrink: float
    keep_mean: float
    fresh_mean: float
    keep_square: float
    fresh_square: float
    root: float
    epsilon: float


def adam(w, state, gradient, rule):
    g = gradient + rule.decay * w
    m = rule.keep_mean * state[0] + rule.fresh_mean * g
    v = rule.keep_square * state[1] + rule.fresh_square * (g * g)
    return w - rule.shrink * w - rule.rate * m / (rule.root * np.sqrt(v) + rule.epsilon), (m, v)


class Adaptive(NamedTuple):
    """A rate for each parameter by the average, or the sum, v of its squared gradients:  w = w - rate g / (sqrt(v) + epsilon)."""

    rate: float
    decay: float
    keep_square: float
    fresh_square: float
    epsilon: float


def adaptive(w, state, gradient, rule):
    g = gradient + rule.decay * w
    v = rule.keep_square * state[0] + rule.fresh_square * (g * g)
    return w - rule.rate * g / (np.sqrt(v) + rule.epsilon), (v,)


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


STATES: dict[type, tuple[str, ...]] = {
    Sgd: (),
    Momentum: ("velocity",),
    Adam: ("mean", "mean_square"),
    Adaptive: ("square",),
    Accumulate: (),
}
FORMULAS: dict[type, Callable[..., Any]] = {
    Sgd: sgd,
    Momentum: momentum,
    Adam: adam,
    Adaptive: adaptive,
    Accumulate: accumulate,
}
STAYS: dict[type, Callable[[Any], bool]] = {
    Sgd: _stays_without_decay,
    Momentum: _never_stays,
    Adam: _never_stays,
    Adaptive: _stays_without_decay,
    Accumulate: _always_stays,
}

WEIGHTS, BIASES = range(2)  # what has factors of its own


Number = float | Callable[[np.ndarray, np.ndarray], np.ndarray]  # of (rates, steps counted from 1), each (steps,)


@dataclass(frozen=True)
class Optimizer:
    """A kind, and the numbers of its rule, by name; `rate` is the learning rate where it is not among them.

    rate_factors  what the rate is multiplied by, for each layer, or () for 1; bias_factor the same for all biases
    """

    kind: Any
    numbers: tuple[tuple[str, Number], ...]
    rate_factors: tuple[float, ...] = ()
    bias_factor: float = 1.0

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the arrays that are kept for each array of parameters."""
        return STATES[self.kind]

    def rules(self, rates: np.ndarray, first: int = 0) -> np.ndarray:
        """(steps, numbers of a rule) for steps first, first + 1, ... of the training, whose learning rates are `rates` (steps,)."""
        columns, count = {"rate": rates, **dict(self.numbers)}, first + 1.0 + np.arange(len(rates))
        rules = np.empty((len(rates), len(self.kind._fields)), rates.dtype)
        for i, name in enumerate(self.kind._fields):
            column = columns[name]
            rules[:, i] = column(rates.astype(np.float64), count) if callable(column) else column
        return rules

    def factors(self, layers: int, dtype: np.dtype) -> np.ndarray:
        """(layers, 2, numbers of a rule) of what each number of a rule is multiplied by, for weights and biases: no L2 on biases."""
        factors = np.ones((layers, 2, len(self.kind._fields)), dtype)
        for i, name in enumerate(self.kind._fields):
            if name in ("rate", "shrink"):
                factors[:, :, i] *= np.array(self.rate_factors or 1.0).reshape(-1, 1)
                factors[:, BIASES, i] *= self.bias_factor
            if name in ("decay", "shrink"):
                factors[:, BIASES, i] = 0
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


def of_adam(beta1: float, beta2: float, epsilon: float, decay: float = 0.0, decoupled: bool = False) -> Optimizer:
    """Adam (Kingma and Ba 2015), with the decay in the gradient, or decoupled from it: AdamW (Loshchilov and Hutter 2019)."""
    numbers: dict[str, Number] = {
        "rate": lambda rates, t: rates / (1 - beta1**t),
        "decay": 0.0 if decoupled else decay,
        "shrink": lambda rates, t: rates * (decay if decoupled else 0.0),
        "keep_mean": beta1,
        "fresh_mean": 1 - beta1,
        "keep_square": beta2,
        "fresh_square": 1 - beta2,
        "root": lambda rates, t: 1 / np.sqrt(1 - beta2**t),
        "epsilon": epsilon,
    }
    return Optimizer(Adam, tuple(numbers.items()))


def of_squares(keep: float, fresh: float, epsilon: float, decay: float = 0.0) -> Optimizer:
    """RMSprop (Hinton 2012) with keep = rho, fresh = 1 - rho; Adagrad (Duchi et al. 2011) with both 1."""
    numbers = ("decay", decay), ("keep_square", keep), ("fresh_square", fresh), ("epsilon", epsilon)
    return Optimizer(Adaptive, numbers)
