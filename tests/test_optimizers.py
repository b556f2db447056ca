"""Optimisers as data: formulas against ones written out here, and the gradient apart from the update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastfc.kernels import optimizers
from fastfc.kernels.optimizers import FORMULAS, KINDS, STATES, STAYS, of_momentum
from fastfc.network import Network
from tests.trainers import COMPUTATIONS, Training

computations = pytest.mark.parametrize("computation", COMPUTATIONS)
LAYERS = (33, 20, 9, 4)


def training(computation: str, kind: str, dtype: str = "float64", **options: Any) -> Training:
    rng = np.random.default_rng(0)
    X = rng.integers(1, 256, (700, LAYERS[0])) * (rng.random((700, LAYERS[0])) < 0.3)
    network = Network(LAYERS, activation="tanh", dtype=dtype, seed=1)
    settings = {"momentum_kind": kind, "momentum": 0.8, "weight_decay": 0.01}
    settings |= {"hidden": LAYERS[1:-1]}
    return Training(computation, network, X.astype(np.uint8), rng.integers(0, 4, 700), **settings, **options)


def test_every_kind_is_described_whole() -> None:
    kinds = set(STATES)
    assert kinds == set(FORMULAS) == set(STAYS)
    assert kinds >= {value for value in vars(optimizers).values() if hasattr(value, "_fields")} - {optimizers.Rule}
    assert {name: kind for name, kind in KINDS.items() if kind.__name__ == name} == KINDS and set(KINDS.values()) == kinds


@pytest.mark.parametrize("kind", ["none", "nesterov"])
def test_numbers_of_a_step_follow_the_rates_and_spare_the_biases_l2(kind: str) -> None:
    optimizer, rates = of_momentum(kind, 0.9, 0.25), np.array([0.5, 0.25, 0.125])
    rules = [optimizer.kind(*rule) for rule in optimizer.rules(rates)]
    assert [rule.rate for rule in rules] == rates.tolist()
    assert {rule.decay for rule in rules} == {0.25}
    factors = optimizer.factors(3, np.dtype("float64"))
    assert factors.shape == (3, 2, len(optimizer.kind._fields))
    assert (factors == 0).sum() == 3 and not factors[:, optimizers.BIASES, optimizer.kind._fields.index("decay")].any()


# What the papers and PyTorch's documentation write, on one parameter after the other: theta, gradients g_1 ... g_T, rates.
BETA1, BETA2, EPSILON, RHO, DECAY = 0.8, 0.95, 1e-3, 0.9, 0.05


def adam(theta: float, gradients: list[float], rates: list[float], decoupled: bool = False) -> float:
    m = v = 0.0
    for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), 1):
        if decoupled:
            theta = theta - lr * DECAY * theta
        else:
            g = g + DECAY * theta
        m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g**2
        theta = theta - lr * (m / (1 - BETA1**t)) / ((v / (1 - BETA2**t)) ** 0.5 + EPSILON)
    return theta


def adamw(theta: float, gradients: list[float], rates: list[float]) -> float:
    return adam(theta, gradients, rates, decoupled=True)


def rmsprop(theta: float, gradients: list[float], rates: list[float]) -> float:
    v = 0.0
    for g, lr in zip(gradients, rates, strict=True):
        g = g + DECAY * theta
        v = RHO * v + (1 - RHO) * g**2
        theta = theta - lr * g / (v**0.5 + EPSILON)
    return theta


def adagrad(theta: float, gradients: list[float], rates: list[float]) -> float:
    total = 0.0
    for g, lr in zip(gradients, rates, strict=True):
        g = g + DECAY * theta
        total += g**2
        theta = theta - lr * g / (total**0.5 + EPSILON)
    return theta


def sgd(theta: float, gradients: list[float], rates: list[float]) -> float:
    v = 0.0
    for g, lr in zip(gradients, rates, strict=True):
        g = g + DECAY * theta
        v = 0.7 * v + g
        theta = theta - lr * (g + 0.7 * v)
    return theta


@pytest.mark.parametrize(("formula", "computation"), [
    pytest.param(formula, computation, id=f"{formula.__name__}-{computation}", marks=pytest.mark.slow if is_long else ())
    for formula in (sgd, adam, adamw, rmsprop, adagrad)
    for computation in COMPUTATIONS
    for is_long in [formula in (rmsprop, adagrad) and computation == "numba sparse"]  # no other test needs these kernels
])  # fmt: skip
def test_an_optimiser_does_what_its_source_writes(formula: Callable[..., float], computation: str) -> None:
    """y = w x + b and E = (y - t)², with x = 2: the gradients are 4 (y - t) and 2 (y - t), worked out here."""
    settings = {"optimizer": formula.__name__, "betas": (BETA1, BETA2), "epsilon": EPSILON, "rho": RHO}
    settings |= {"momentum": 0.7, "momentum_kind": "nesterov", "weight_decay": DECAY, "bias_rate": 0.5}
    network = Network((1, 1), loss="mse", weights=[[[1.5]]], biases=[[-0.25]], dtype="float64")
    x, target, rates = 2.0, 0.5, [0.1, 0.05, 0.2, 0.01]
    one = Training(computation, network, np.full((1, 1), x), [[target]], **settings)
    given: tuple[list[float], list[float]] = [], []
    w, b = 1.5, -0.25
    for t, rate in enumerate(rates):
        slope = 2 * (w * x + b - target)
        given[0].append(slope * x)
        given[1].append(slope)
        epoch = one.epoch(rate)
        rules = one.plan.optimizer.rules(np.array([rate]), t)
        one.trainer.run(epoch._replace(rules=rules), 0, 1)
        w, b = (p.item() for p in one.parameters()[:2])
        assert w == pytest.approx(formula(1.5, given[0], rates[: t + 1]), rel=1e-12)
        with_no_decay = pytest.MonkeyPatch()
        with_no_decay.setitem(globals(), "DECAY", 0.0)
        assert b == pytest.approx(formula(-0.25, given[1], [r / 2 for r in rates[: t + 1]]), rel=1e-12)
        with_no_decay.undo()


def test_each_layer_has_a_rate_of_its_own() -> None:
    """A layer whose factor is 0 stays where it is, L2 and all."""
    for computation in COMPUTATIONS:
        one = training(computation, "nesterov", layer_rates=(1.0, 0.0, 2.0))
        before = one.parameters()
        one.run(0.1)
        moved = [not np.array_equal(a, b) for a, b in zip(before[:6], one.parameters()[:6], strict=True)]
        assert moved == [True, False, True] * 2


@computations
@pytest.mark.parametrize("batch_size", [64, 600])
@pytest.mark.parametrize("kind", [pytest.param("none", marks=pytest.mark.slow), "nesterov"])
def test_gradient_and_update_apart_are_the_step(kind: str, batch_size: int, computation: str) -> None:
    """In the fused backend with the same bits, where the batch has one part: 600 samples have three."""
    options: dict[str, Any] = {"batch_size": batch_size, "threads": 2}
    whole = training(computation, kind, **options)
    apart = training(computation, kind, keeps_gradient=True, **options)
    also = training(computation, kind, keeps_gradient=True, **options)
    whole.run(0.05)
    also.run(0.05)
    epoch = apart.epoch(0.05)
    for s in range(apart.steps):
        apart.trainer.gradient(epoch, s)
        apart.trainer.apply(epoch, s)
    for name, a, b, c in zip("wwwbbbvvvvvv", whole.parameters(), apart.parameters(), also.parameters(), strict=False):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14, err_msg=name)
        np.testing.assert_array_equal(a, c)
        if batch_size == 64:
            np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(whole.losses, apart.losses, rtol=1e-13)


@computations
def test_the_gradient_can_be_read_and_replaced(computation: str) -> None:
    """A block of zeros leaves the weights to L2 alone; twice the gradient moves them twice as far."""
    steps = {}
    for factor in (0.0, 1.0, 2.0):
        one = training(computation, "none", keeps_gradient=True, threads=2)
        before = one.trainer.state()
        epoch = one.epoch(0.5)
        block = one.trainer.gradient(epoch, 0)
        assert block.ndim == 1 and block.flags.c_contiguous and block.any()
        assert all(np.array_equal(a, b) for a, b in zip(before["weights"], one.trainer.state()["weights"], strict=True))
        block *= factor
        one.trainer.apply(epoch, 0)
        after = one.trainer.state()
        steps[factor] = [a - b for name in ("weights", "biases") for a, b in zip(before[name], after[name], strict=True)]
        one.trainer.close()
    for k, w in enumerate(before["weights"]):
        np.testing.assert_allclose(steps[0.0][k], 0.5 * 0.01 * w, atol=1e-15)
    for none, once, twice in zip(*steps.values(), strict=True):
        np.testing.assert_allclose(twice - none, 2 * (once - none), rtol=1e-9, atol=1e-14)


@computations
def test_the_state_that_is_given_is_the_state_that_is_taken(computation: str) -> None:
    one = training(computation, "nesterov", threads=2)
    one.run(0.1)
    state = one.trainer.state()
    assert list(state) == ["weights", "biases", "velocity"]
    assert [a.shape for a in state["velocity"]] == [a.shape for a in (*state["weights"], *state["biases"])]
    other = training(computation, "nesterov", kept={"velocity": state["velocity"]})
    again = other.trainer.state()["velocity"]
    assert all(np.array_equal(a, b) for a, b in zip(state["velocity"], again, strict=True))
