"""Steps of either backend against gradients by central differences, for every activation, loss, penalty and dropout."""

from __future__ import annotations

import functools
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from fastfc.network import Network
from tests.masks import mask
from tests.oracle import FUNCTIONS, LOSSES, Function
from tests.trainers import COMPUTATIONS, Training

LAYERS, BATCH, DECAY, MOMENTUM, LR, HUBER, KEY = (17, 5, 4, 3), 6, 0.03, 0.8, 0.07, 0.3, 0x123456789ABCDEF
OF_OUTPUT = ("mse", "mae", "huber")  # losses of f(z), for any f
HEADS = [(loss, "identity") for loss in LOSSES]
# Every hidden activation with every loss, and every activation of the output with each loss that lets it.
NETWORKS = [*product(FUNCTIONS, HEADS), *product(["tanh"], product(OF_OUTPUT, [f for f in FUNCTIONS if f != "identity"]))]
RATES = (0.3, 0.5, 0.25)  # of dropout: the input, and both hidden layers
computations = pytest.mark.parametrize("computation", COMPUTATIONS)

Problem = tuple[list[np.ndarray], np.ndarray, np.ndarray, Function, list[np.ndarray]]


@functools.cache
def problem(hidden: str, head: tuple[str, str], drops: bool = False) -> Problem:
    """Parameters, x, y, the mean loss of a batch as a function, and its gradient."""
    rng = np.random.default_rng(4)
    weights = [rng.standard_normal(shape) / np.sqrt(shape[0]) for shape in pairwise(LAYERS)]
    parameters = [*weights, *(rng.standard_normal(size) / 2 for size in LAYERS[1:])]
    x = rng.standard_normal((BATCH, LAYERS[0])) * (rng.random((BATCH, LAYERS[0])) < 0.7)
    y = rng.dirichlet(np.ones(LAYERS[-1]), BATCH)
    masks = [mask(KEY, l, range(BATCH), LAYERS[l], rate) for l, rate in enumerate(RATES)] if drops else ()
    f = Function((hidden, hidden, head[1]), head[0], np.full(BATCH, 1 / BATCH), masks, HUBER if head[0] == "huber" else 1)
    return parameters, x, y, f, f.gradients(parameters, x, y)


def network_of(parameters: list[np.ndarray], f: Function) -> Network:
    head = {"loss": f.loss, "output_activation": f.activations[-1], "huber_delta": f.huber_delta}
    return Network(LAYERS, f.activations[0], weights=parameters[:3], biases=parameters[3:], dtype="float64", **head)


def training(computation: str, parameters: list[np.ndarray], f: Function, x: Any, y: Any, **options: Any) -> Training:
    return Training(computation, network_of(parameters, f), x, y, huber_delta=f.huber_delta, **options)


def assert_near(found: np.ndarray, expected: np.ndarray, what: object) -> None:
    assert np.abs(found - expected).max() < 1e-6 * max(np.abs(expected).max(), 1e-9), what


@computations
@pytest.mark.parametrize(("hidden", "head"), NETWORKS, ids=str)
def test_a_step_follows_the_gradient(hidden: str, head: tuple[str, str], computation: str) -> None:
    """To 1e-6 of the largest element; and the losses to 1e-12."""
    parameters, x, y, f, gradients = problem(hidden, head)
    one = training(computation, parameters, f, x, y, momentum_kind="none", weight_decay=0.0)
    one.run(LR)
    for i, (p, after, g) in enumerate(zip(parameters, one.parameters(), gradients, strict=True)):
        assert_near((p - after) / LR, g, i)
    np.testing.assert_allclose(one.losses, f.losses(parameters, x, y), rtol=1e-12)


@computations
@pytest.mark.parametrize("hidden", FUNCTIONS)
def test_a_step_with_dropout_follows_the_gradient_of_what_is_left(hidden: str, computation: str) -> None:
    """Masks are those of tests/masks.py, of the input, as an array, as bytes or CSR, and of both hidden layers."""
    parameters, x, y, f, gradients = problem(hidden, ("softmax_ce", "identity"), drops=True)
    rates = {"input_dropout": RATES[0], "dropout": RATES[1:]}
    for form in (x, csr_array(x)):
        one = training(computation, parameters, f, form, y, momentum_kind="none", weight_decay=0.0, **rates)
        one.trainer.run(one.epoch(LR)._replace(dropout_key=KEY), 0, 1)
        for i, (p, after, g) in enumerate(zip(parameters, one.parameters(), gradients, strict=True)):
            assert_near((p - after) / LR, g, i)
        np.testing.assert_allclose(one.losses, f.losses(parameters, x, y), rtol=1e-12)


def moved(kind: str, g: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The step, over the learning rate, and the new velocity, as the sources of each kind of momentum write them."""
    if kind == "none":
        return g, v
    v = MOMENTUM * v + ((1 - MOMENTUM) * g if kind == "ema" else g)
    return (g + MOMENTUM * v if kind == "nesterov" else v), v


@computations
@pytest.mark.parametrize("kind", ["none", "ema", "heavy_ball", "nesterov"])
@pytest.mark.parametrize("head", HEADS, ids="-".join)
def test_momentum_and_penalties_are_added_to_the_gradient(head: tuple[str, str], kind: str, computation: str) -> None:
    """With and without L2 and L1, by the mean and by the sum, and clipped before the penalties."""
    parameters, x, y, f, mean = problem("tanh", head)
    rng, norm = np.random.default_rng(5), np.sqrt(sum((g**2).sum() for g in mean))
    for decay, l1, reduction, clip in product((0.0, DECAY), (0.0, 0.02), ("mean", "sum"), (None, norm / 3)):
        velocities = [] if kind == "none" else [rng.standard_normal(p.shape) for p in parameters]
        settings: dict[str, Any] = {"momentum_kind": kind, "momentum": MOMENTUM, "weight_decay": decay, "l1": l1}
        settings |= {"grad_reduction": reduction, "clip_norm": clip}
        one = training(computation, parameters, f, x, y, kept={"velocity": velocities} if velocities else None, **settings)
        one.run(LR)
        after, times = one.parameters(), BATCH if reduction == "sum" else 1
        shortened = 1 if clip is None else clip / (norm * times + 1e-6)
        for i, (p, g) in enumerate(zip(parameters, mean, strict=True)):
            g = g * times * shortened + (decay * p + l1 * np.sign(p) if p.ndim == 2 else 0)
            step, velocity = moved(kind, g, velocities[i] if velocities else g)
            assert_near((p - after[i]) / LR, step, (settings, i))
            if velocities:
                assert_near(after[6 + i], velocity, (settings, i))
        one.trainer.close()


@computations
def test_weights_of_samples_weigh_their_gradients(computation: str) -> None:
    parameters, x, y, f, _ = problem("silu", ("softmax_ce", "identity"))
    weights = np.array([0.5, 0.0, 2.0, 1.0, 3.5, 0.25])
    weighted = Function(f.activations, f.loss, weights / weights.sum())
    one = training(computation, parameters, f, x, y, momentum_kind="none", weight_decay=0.0)
    one.trainer.run(one.epoch(LR, weights=weights), 0, 1)
    for p, after, g in zip(parameters, one.parameters(), weighted.gradients(parameters, x, y), strict=True):
        assert_near((p - after) / LR, g, "weighted")


@computations
@pytest.mark.parametrize("loss", ["softmax_ce", "sigmoid_bce", "mse", "mae", "huber"])
def test_labels_are_smoothed_for_every_loss_of_classes(loss: str, computation: str) -> None:
    parameters, x, _, f, _ = problem("tanh", (loss, "identity"))
    labels, e = np.array([0, 1, 2, 2, 0, 1]), 0.3
    smoothed = (1 - e) * np.eye(3)[labels] + e / (2 if loss == "sigmoid_bce" else 3)
    one = training(computation, parameters, f, x, labels, momentum_kind="none", weight_decay=0.0, label_smoothing=e)
    one.run(LR)
    for p, after, g in zip(parameters, one.parameters(), f.gradients(parameters, x, smoothed), strict=True):
        assert_near((p - after) / LR, g, loss)


@computations
def test_the_gradient_and_the_parameters_share_one_layout(computation: str) -> None:
    """What `views` finds in `gradient` is the gradient, in `parameters` the parameters; and `place` puts others there."""
    parameters, x, y, f, gradients = problem("gelu", ("mse", "identity"))
    one = training(computation, parameters, f, x, y, keeps_gradient=True, momentum_kind="none", weight_decay=0.0)
    trainer, epoch = one.trainer, one.epoch(LR)

    def parts(flat: np.ndarray) -> list[np.ndarray]:
        views = trainer.views(flat)
        return [*views["weights"], *views["biases"]]

    for g, expected in zip(parts(trainer.gradient(epoch, 0)), gradients, strict=True):
        assert g.shape == expected.shape
        assert_near(g, expected, "gradient")
    flat = trainer.parameters()
    for p, expected in zip(parts(flat), parameters, strict=True):
        np.testing.assert_array_equal(p, expected)
    for p, g in zip(parts(flat), gradients, strict=True):
        p -= LR * g
    assert np.array_equal(one.parameters()[0], parameters[0])  # a copy
    trainer.place(flat)
    for p, after, g in zip(parameters, one.parameters(), gradients, strict=True):
        np.testing.assert_array_equal(after, p - LR * g)
    trainer.gradient(epoch, 0)
    np.testing.assert_allclose(one.losses, f.losses(one.parameters(), x, y), rtol=1e-12)
    again = training("numpy", one.parameters(), f, x, y, momentum_kind="none", weight_decay=0.0)
    trainer.apply(epoch, 0)
    again.run(LR)
    for a, b in zip(one.parameters(), again.parameters(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_the_functions_of_the_oracle_have_a_true_gradient() -> None:
    """One that is known: of the mean squared error of a linear layer."""
    rng = np.random.default_rng(0)
    x, y, w, b = rng.standard_normal((5, 3)), rng.standard_normal((5, 2)), rng.standard_normal((3, 2)), rng.standard_normal(2)
    f = Function(("identity",), "mse", np.full(5, 0.2))
    error = (x @ w + b - y) / 5
    found = f.gradients([w, b], x, y)
    np.testing.assert_allclose(found[0], x.T @ error, rtol=1e-8)
    np.testing.assert_allclose(found[1], error.sum(axis=0), rtol=1e-8)
