"""Additions to optimisers: L1, averages, the rate inside the velocity, scikit-learn's Adam and its L2 a batch, written out here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc.kernels.optimizers import KINDS, STATES, STAYS, Adam, Momentum, Sgd, averaged, of_adam, of_momentum, with_l1
from fastfc.network import Network
from tests.small import BACKENDS, SMALL, blobs, digest
from tests.trainers import COMPUTATIONS, Training

computations = pytest.mark.parametrize("computation", COMPUTATIONS)
LR, DECAY, L1, EMA = [0.1, 0.05, 0.2, 0.01, 0.03], 0.05, 0.02, 0.7
X, TARGET = 2.0, 0.5  # y = w x + b and E = (y - t)²: the gradients are 2 (y - t) x and 2 (y - t)

Steps = Iterator[tuple[float, float]]
Rule = Callable[[float, int], float]  # of a gradient, penalties included, and the step 0, 1, ...: by how much a parameter moves


def by_hand(rules: tuple[Rule, Rule], decay: float, l1: float) -> Steps:
    """w and b after each step; each has a rule of its own, with a memory."""
    w, b = 1.5, -0.25
    for t in range(len(LR)):
        slope = 2 * (w * X + b - TARGET)
        penalty = decay * w + l1 * ((w > 0) - (w < 0))
        w, b = w + rules[0](slope * X + penalty, t), b + rules[1](slope, t)
        yield w, b


def assert_steps(computation: str, expected: Steps, **settings: Any) -> Training:
    network = Network((1, 1), loss="mse", weights=[[[1.5]]], biases=[[-0.25]], dtype="float64")
    one = Training(computation, network, np.full((1, 1), X), [[TARGET]], **settings)
    for t, (w, b) in enumerate(expected):
        rules = one.plan.optimizer.rules(np.array([LR[t]]), t)
        one.trainer.run(one.epoch(LR[t])._replace(rules=rules), 0, 1)
        found = one.trainer.state()
        assert found["weights"][0].item() == pytest.approx(w, rel=1e-12)
        assert found["biases"][0].item() == pytest.approx(b, rel=1e-12)
    return one


def velocity(kind: str, mu: float, factor: float = 1.0) -> Rule:
    """v = mu v - lr g; w + v, or Nesterov's w + mu v - lr g; ema's velocity takes (1 - mu) of the gradient."""
    v = 0.0

    def move(g: float, t: int) -> float:
        nonlocal v
        lr = LR[t] * factor
        v = mu * v - lr * (1 - mu if kind == "ema" else 1) * g
        return mu * v - lr * g if kind == "nesterov" else v

    return move


@computations
@pytest.mark.parametrize("kind", ["heavy_ball", "nesterov", "ema"])
def test_the_rate_may_be_inside_the_velocity(kind: str, computation: str) -> None:
    """As scikit-learn has it: what is under way is not changed by a change of the rate."""
    settings = {"momentum_kind": kind, "momentum": 0.8, "weight_decay": DECAY, "bias_rate": 0.5, "velocity_has_rate": True}
    expected = by_hand((velocity(kind, 0.8), velocity(kind, 0.8, 0.5)), DECAY, 0.0)
    one = assert_steps(computation, expected, **settings)
    assert list(one.trainer.state()) == ["weights", "biases", "velocity"]


def test_at_one_rate_both_velocities_are_the_same_training() -> None:
    data, options = blobs(60), {**SMALL, "schedule": "constant", "backend": "numpy"}
    for kind in ("heavy_ball", "nesterov", "ema"):
        models = [
            fastfc.train(data, momentum_kind=kind, velocity_has_rate=inside, **options).model for inside in (False, True)
        ]
        np.testing.assert_allclose(models[0].weights[0], models[1].weights[0], rtol=1e-9)
        assert digest(models[0]) != digest(models[1])


def scikit_adam(beta1: float, beta2: float, epsilon: float) -> Rule:
    m = v = 0.0

    def move(g: float, t: int) -> float:
        nonlocal m, v
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        return -LR[t] * sqrt(1 - beta2 ** (t + 1)) / (1 - beta1 ** (t + 1)) * m / (sqrt(v) + epsilon)

    return move


@pytest.mark.parametrize("inside", [True, False])
def test_epsilon_may_be_inside_adams_correction(inside: bool) -> None:
    """As scikit-learn has it. With an epsilon of the size of the gradients, the two forms are far apart."""
    expected = list(by_hand((scikit_adam(0.8, 0.95, 0.3), scikit_adam(0.8, 0.95, 0.3)), DECAY, 0.0))
    optimizer = of_adam(0.8, 0.95, 0.3, DECAY, epsilon_inside=inside)
    rules = [Adam(*rule) for rule in optimizer.rules(np.array(LR))]
    w, b, kept = 1.5, -0.25, [(0.0, 0.0), (0.0, 0.0)]
    formula = fastfc.kernels.optimizers.FORMULAS[Adam]
    found = []
    for rule in rules:
        slope = 2 * (w * X + b - TARGET)
        w, kept[0] = formula(w, kept[0], slope * X, rule)
        b, kept[1] = formula(b, kept[1], slope, rule._replace(decay=0.0))
        found.append((w, b))
    assert np.allclose(found, expected, rtol=1e-12) == inside


def plain(t_rate: Callable[[int], float]) -> Rule:
    return lambda g, t: -t_rate(t) * g


def adagrad(epsilon: float) -> Rule:
    total = 0.0

    def move(g: float, t: int) -> float:
        nonlocal total
        total += g * g
        return -LR[t] * g / (sqrt(total) + epsilon)

    return move


def adam(beta1: float, beta2: float, epsilon: float) -> Rule:
    m = v = 0.0

    def move(g: float, t: int) -> float:
        nonlocal m, v
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        return -LR[t] * (m / (1 - beta1 ** (t + 1))) / (sqrt(v / (1 - beta2 ** (t + 1))) + epsilon)

    return move


OPTIMIZERS: dict[str, tuple[dict[str, Any], Callable[[], Rule]]] = {
    "sgd": ({"momentum_kind": "none"}, lambda: plain(lambda t: LR[t])),
    "adagrad": ({"optimizer": "adagrad", "epsilon": 1e-3}, lambda: adagrad(1e-3)),
    "adam": ({"optimizer": "adam", "betas": (0.8, 0.9), "epsilon": 1e-3}, lambda: adam(0.8, 0.9, 1e-3)),
}


# Each rule is compiled for each computation: in `make test` numba has those that other tests have compiled.
FEW = {("l1", "sgd", "numba dense"), ("l1", "adam", "numba dense"), ("l1", "sgd", "numba sparse")}
FEW |= {("average", "adagrad", computation) for computation in COMPUTATIONS}


def each(what: str) -> pytest.MarkDecorator:
    """Every optimiser by every computation."""
    every = [(name, computation) for name in OPTIMIZERS for computation in COMPUTATIONS]
    slow = [computation != "numpy" and (what, name, computation) not in FEW for name, computation in every]
    parameters = [pytest.param(*one, marks=pytest.mark.slow if long else ()) for one, long in zip(every, slow, strict=True)]
    return pytest.mark.parametrize(("name", "computation"), parameters)


@each("l1")
def test_l1_adds_the_sign_of_the_weights_to_their_gradient(name: str, computation: str) -> None:
    settings, rule = OPTIMIZERS[name]
    assert_steps(computation, by_hand((rule(), rule()), DECAY, L1), weight_decay=DECAY, l1=L1, **settings)


@each("average")
def test_an_average_follows_the_parameters(name: str, computation: str) -> None:
    """With what the optimiser keeps beside it, and with L1 below it."""
    settings, rule = OPTIMIZERS[name]
    steps = list(by_hand((rule(), rule()), DECAY, L1))
    average = np.array([1.5, -0.25])
    for t, parameters in enumerate(steps):
        d = min(EMA, (1 + t) / (10 + t))
        average = d * average + (1 - d) * np.array(parameters)
    kept = {"average": [np.full((1, 1), 1.5), np.full(1, -0.25)]}
    one = assert_steps(computation, iter(steps), weight_decay=DECAY, l1=L1, ema=EMA, kept=kept, **settings)
    found = one.trainer.state()["average"]
    assert [a.item() for a in found] == pytest.approx(average, rel=1e-12)
    assert [a.shape for a in found] == [(1, 1), (1,)]


def test_kinds_are_made_once_and_known_by_name() -> None:
    assert with_l1(Sgd) is with_l1(Sgd) is KINDS["SgdL1"] and averaged(with_l1(Adam)) is KINDS["AdamL1Averaged"]
    assert STATES[averaged(Momentum)] == ("velocity", "average") and STATES[with_l1(Momentum)] == ("velocity",)
    assert with_l1(Sgd)._fields == ("rate", "decay", "l1") and STAYS[averaged(Sgd)] is None
    assert of_momentum("none", 0.0, 0.1).with_l1(0.2).factors(1, np.dtype(float)).tolist() == [[[1, 1, 1], [1, 0, 0]]]


def test_penalties_may_be_over_the_weights_of_each_batch() -> None:
    optimizer, rates = of_momentum("none", 0.0, 0.5).with_l1(0.25), np.array([0.1, 0.2])
    rules = optimizer.rules(rates, 7, np.array([4.0, 2.0]))
    assert rules.tolist() == [[0.1, 0.125, 0.0625], [0.2, 0.25, 0.125]]
    decoupled = of_adam(0.9, 0.99, 1e-8, 0.5, decoupled=True)
    names = Adam._fields
    assert decoupled.rules(rates, 0, np.array([4.0, 2.0]))[:, names.index("shrink")].tolist() == [0.05, 0.1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, 50)], ids=["plain", "weighted"])
def test_l2_a_batch_is_alpha_over_its_weights(backend: str, weights: np.ndarray | None) -> None:
    """A training whose batches have 20, 20 and 10 samples, against one step after the other with a penalty of its own."""
    data, alpha, l1 = blobs(50, features=6), 0.8, 0.3
    options: dict[str, Any] = {"hidden": (5,), "momentum_kind": "none", "schedule": "constant", "dtype": "float64", "lr": 0.1}
    options |= {"shuffle": False, "epochs": 1, "backend": backend, "input_kernel": "dense"}
    start = fastfc.Network((6, 5, 3), dtype="float64", seed=3)
    whole = fastfc.train(
        data, network=start, sample_weight=weights, batch_size=20, weight_decay=alpha, l1=l1, decay_per_batch=True, **options
    )
    model, totals = start, []
    for rows in (slice(0, 20), slice(20, 40), slice(40, 50)):
        own = None if weights is None else weights[rows]
        part = (data[0][rows], data[1][rows])
        totals.append(len(part[1]) if own is None else own.sum())
        penalties = {"weight_decay": alpha / totals[-1], "l1": l1 / totals[-1]}
        model = fastfc.train(part, network=model, sample_weight=own, batch_size=None, **penalties, **options).model
    for a, b in zip(whole.model.weights, model.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    squares = sum((w**2).sum() for w in whole.model.weights)
    sizes = sum(abs(w).sum() for w in whole.model.weights)
    assert whole.history[0].penalty == pytest.approx((alpha / 2 * squares + l1 * sizes) / np.mean(totals), rel=1e-12)
