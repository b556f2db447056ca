"""Optimisers as data: formulas against ones written out here, and the gradient apart from the update."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastfc.kernels import optimizers
from fastfc.kernels.optimizers import FORMULAS, STATES, STAYS, Accumulate, of_momentum
from fastfc.network import Network
from tests.trainers import COMPUTATIONS, Training

computations = pytest.mark.parametrize("computation", COMPUTATIONS)
LAYERS = (33, 20, 9, 4)


def training(computation: str, kind: str, dtype: str = "float64", **options: Any) -> Training:
    rng = np.random.default_rng(0)
    X = rng.integers(1, 256, (700, LAYERS[0])) * (rng.random((700, LAYERS[0])) < 0.3)
    network = Network(LAYERS, activation="tanh", dtype=dtype, seed=1)
    settings = {"momentum_kind": kind, "momentum": 0.8, "weight_decay": 0.01}
    return Training(computation, network, X.astype(np.uint8), rng.integers(0, 4, 700), **settings, **options)


def test_every_kind_is_described_whole() -> None:
    kinds = set(STATES)
    assert kinds == set(FORMULAS) == set(STAYS)
    assert kinds == {value for value in vars(optimizers).values() if hasattr(value, "_fields")}


@pytest.mark.parametrize("kind", [kind for kind in STATES if kind is not Accumulate])
def test_numbers_of_a_step_follow_the_rates_and_spare_the_biases_l2(kind: type) -> None:
    name = {"Sgd": "none", "Momentum": "nesterov"}[kind.__name__]
    optimizer, rates = of_momentum(name, 0.9, 0.25), np.array([0.5, 0.25, 0.125])
    rules = [kind(*rule) for rule in optimizer.rules(rates)]
    assert [rule.rate for rule in rules] == rates.tolist()
    assert {rule.decay for rule in rules} == {0.25}
    factors = optimizer.factors(3, np.dtype("float64"))
    assert factors.shape == (3, 2, len(kind._fields))
    assert (factors == 0).sum() == 3 and not factors[:, optimizers.BIASES, kind._fields.index("decay")].any()


@computations
@pytest.mark.parametrize("batch_size", [64, 600])
@pytest.mark.parametrize("kind", ["none", "nesterov"])
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
