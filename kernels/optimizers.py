"""Optimisers as data: what each keeps beside the parameters, its numbers for every step, and its formula.

A kind of optimiser is a NamedTuple of the numbers that one step needs, its *rule*. Beside it stand, in the tables at the end,
the names of its state arrays, its formula, and which of its numbers must be 0 for a parameter without gradient to stay where it
is, or None where it never does. Formulas are plain arithmetic: the reference backend applies them to NumPy arrays, the fused one
to vectors of LLVM, while the gradient of the weights is still in registers.

    formula(w, state, gradient, rule) -> w, state        state a sequence of as many as the kind has names
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np


class Rule(NamedTuple):
    """The numbers of a step (numbers,), and the kind whose they are."""

    numbers: np.ndarray
    kind: Any


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
STAYS: dict[type, tuple[str, ...] | None] = {
    Sgd: ("decay",),
    Momentum: None,
    Adam: None,
    Adaptive: ("decay",),
    Accumulate: (),
}
KINDS: dict[str, type] = {kind.__name__: kind for kind in STATES}


@cache
def with_l1(kind: Any) -> Any:
    """`kind` with one number more, l1: the factor of the penalty l1 * sum(|w|), whose slope at 0 is taken as 0."""
    base, names = FORMULAS[kind], STAYS[kind]

    def formula(w, state, gradient, rule):
        return base(w, state, gradient + rule.l1 * np.sign(w), rule)

    stays = None if names is None else (*names, "l1")
    return _registered(f"{kind.__name__}L1", (*kind._fields, "l1"), STATES[kind], formula, stays)


@cache
def averaged(kind: Any) -> Any:
    """`kind` with one state more, the exponential moving average of the parameters after each step, and one number more:
    average = average + fresh_average (w - average)."""
    base = FORMULAS[kind]

    def formula(w, state, gradient, rule):
        moved, kept = base(w, state[:-1], gradient, rule)
        average = state[-1] + rule.fresh_average * (moved - state[-1])
        return moved, (*kept, average)

    names = (*kind._fields, "fresh_average")
    return _registered(f"{kind.__name__}Averaged", names, (*STATES[kind], "average"), formula, None)


def _registered(
    name: str, numbers: tuple[str, ...], states: tuple[str, ...], formula: Callable[..., Any], stays: tuple[str, ...] | None
) -> Any:
    kind: Any = namedtuple(name, numbers)  # type: ignore[misc]
    STATES[kind], FORMULAS[kind], STAYS[kind], KINDS[name] = states, formula, stays, kind
    return kind


WEIGHTS, BIASES = range(2)  # what has factors of its own


Number = float | Callable[[np.ndarray, np.ndarray], np.ndarray]  # of (rates, steps counted from 1), each (steps,)


@dataclass(frozen=True)
class Optimizer:
    """A kind, and the numbers of its rule, by name; `rate` is the learning rate where it is not among them.

    rate_factors  what the rate is multiplied by, for each layer, or () for 1; bias_factor the same for all biases
    scaled        names of the numbers that these factors multiply
    """

    kind: Any
    numbers: tuple[tuple[str, Number], ...]
    rate_factors: tuple[float, ...] = ()
    bias_factor: float = 1.0
    scaled: tuple[str, ...] = ("rate", "shrink")

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the arrays that are kept for each array of parameters."""
        return STATES[self.kind]

    def rules(self, rates: np.ndarray, first: int = 0, totals: np.ndarray | None = None) -> np.ndarray:
        """(steps, numbers of a rule) for steps first, first + 1, ... of the training, whose learning rates are `rates` (steps,).

        totals (steps,): the sum of the weights of each batch, over which the penalties L1 and L2 then count.
        """
        columns, count = {"rate": rates, **dict(self.numbers)}, first + 1.0 + np.arange(len(rates))
        rules = np.empty((len(rates), len(self.kind._fields)), rates.dtype)
        for i, name in enumerate(self.kind._fields):
            column = columns[name]
            rules[:, i] = column(rates.astype(np.float64), count) if callable(column) else column
            if totals is not None and name in ("decay", "l1"):
                rules[:, i] /= totals
        return rules

    def factors(self, layers: int, dtype: np.dtype) -> np.ndarray:
        """(layers, 2, numbers of a rule) of what each number of a rule is multiplied by, for weights and biases: no L1 or L2
        on biases."""
        factors = np.ones((layers, 2, len(self.kind._fields)), dtype)
        for i, name in enumerate(self.kind._fields):
            if name in self.scaled:
                factors[:, :, i] *= np.array(self.rate_factors or 1.0).reshape(-1, 1)
                factors[:, BIASES, i] *= self.bias_factor
            if name in ("decay", "shrink", "l1"):
                factors[:, BIASES, i] = 0
        return factors

    def with_l1(self, factor: float) -> Optimizer:
        """The same with the penalty factor * sum(|w|) on the weights."""
        return replace(self, kind=with_l1(self.kind), numbers=(*self.numbers, ("l1", factor)))

    def averaged(self, decay: float) -> Optimizer:
        """The same, which keeps an average of the parameters, with the decay d a step.

        With t steps done before, d is the smaller of `decay` and (1 + t) / (10 + t), so that the first parameters are
        soon forgotten (TensorFlow's ExponentialMovingAverage).
        """
        fresh: Number = lambda rates, t: 1 - np.minimum(decay, t / (9 + t))  # noqa: E731  # t counts from 1
        return replace(self, kind=averaged(self.kind), numbers=(*self.numbers, ("fresh_average", fresh)))


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


def of_velocity(kind: str, momentum: float, weight_decay: float) -> Optimizer:
    """`of_momentum` with the rate inside the velocity, where a change of the rate finds what is already under way as it was.

    v = b v - lr g and w = w + v, or by Nesterov w = w + b v - lr g (Sutskever et al. 2013, as scikit-learn has it); "ema"
    with (1 - b) lr for lr.
    """
    b, share = float(momentum), 1 - momentum if kind == "ema" else 1.0
    is_nesterov = kind == "nesterov"
    numbers: dict[str, Number] = {
        "rate": 1.0,
        "decay": weight_decay,
        "keep": b,
        "fresh": lambda rates, t: -share * rates,
        "direct": lambda rates, t: rates if is_nesterov else np.zeros_like(rates),
        "through": -b if is_nesterov else -1.0,
    }
    return Optimizer(Momentum, tuple(numbers.items()), scaled=("fresh", "direct"))


def of_adam(
    beta1: float, beta2: float, epsilon: float, decay: float = 0.0, decoupled: bool = False, epsilon_inside: bool = False
) -> Optimizer:
    """Adam (Kingma and Ba 2015), with the decay in the gradient, or decoupled from it: AdamW (Loshchilov and Hutter 2019).

    epsilon_inside  epsilon is added before the correction of the average of squares, and corrected with it: the faster form
                    at the end of section 2 of the paper, which scikit-learn has
    """
    numbers: dict[str, Number] = {
        "rate": lambda rates, t: rates * (np.sqrt(1 - beta2**t) if epsilon_inside else 1.0) / (1 - beta1**t),
        "decay": 0.0 if decoupled else decay,
        "shrink": lambda rates, t: rates * (decay if decoupled else 0.0),
        "keep_mean": beta1,
        "fresh_mean": 1 - beta1,
        "keep_square": beta2,
        "fresh_square": 1 - beta2,
        "root": 1.0 if epsilon_inside else lambda rates, t: 1 / np.sqrt(1 - beta2**t),
        "epsilon": epsilon,
    }
    return Optimizer(Adam, tuple(numbers.items()))


def of_squares(keep: float, fresh: float, epsilon: float, decay: float = 0.0) -> Optimizer:
    """RMSprop (Hinton 2012) with keep = rho, fresh = 1 - rho; Adagrad (Duchi et al. 2011) with both 1."""
    numbers = ("decay", decay), ("keep_square", keep), ("fresh_square", fresh), ("epsilon", epsilon)
    return Optimizer(Adaptive, numbers)


def clip(gradient: np.ndarray, most: float) -> None:
    """To a norm of at most `most` (Pascanu et al. 2013), in place, in the form of torch.nn.utils.clip_grad_norm_."""
    norm = np.sqrt(np.square(gradient, dtype=np.float64).sum())
    gradient *= min(1.0, float(most / (norm + 1e-6)))
