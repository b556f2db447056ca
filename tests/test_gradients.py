"""The first rungs of the ladder: steps worked out by hand, and gradients against central differences."""

from __future__ import annotations

import functools
from itertools import pairwise, product
from math import log
from typing import Any

import numpy as np
import pytest

from fastfc.network import Network
from tests.trainers import COMPUTATIONS, Training

LN2, LN3, LN4 = log(2), log(3), log(4)
NONE = {"momentum_kind": "none", "weight_decay": 0.0}

# name: (network, settings, X, y, learning rate, expected weights, biases and losses). Worked out by hand; the comments
# say how. Logits of ln 3 and 0 have a softmax of 3/4 and 1/4; sigmoid(ln 3) = 3/4, tanh(ln 2) = 0.6.
HAND: dict[str, tuple[Any, ...]] = {
    "softmax": (  # delta = p - y = (3/4, -3/4)
        {"loss": "softmax_ce", "weights": [[[LN3, 0]]]},
        {}, [[1.0]], [1], 0.4, [[[LN3 - 0.3, 0.3]]], [[-0.3, 0.3]], [LN4],
    ),
    "softmax, two inputs": (  # delta = (-1/2, 1/2), gradient x^T delta
        {"loss": "softmax_ce", "weights": [np.zeros((2, 2))]},
        {}, [[1.0, 2.0]], [0], 0.1, [[[0.05, -0.05], [0.1, -0.1]]], [[0.05, -0.05]], [LN2],
    ),
    "softmax, smoothed": (  # targets (0.1, 0.9), delta = (0.65, -0.65), loss = 0.1 ln 4/3 + 0.9 ln 4 = ln 4 - 0.1 ln 3
        {"loss": "softmax_ce", "weights": [[[LN3, 0]]]},
        {"label_smoothing": 0.2}, [[1.0]], [1], 0.2, [[[LN3 - 0.13, 0.13]]], [[-0.13, 0.13]], [LN4 - 0.1 * LN3],
    ),
    "sigmoid": (  # delta = 3/4 - 1
        {"loss": "sigmoid_bce", "weights": [[[LN3]]]},
        {}, [[1.0]], [1], 0.4, [[[LN3 + 0.1]]], [[0.1]], [LN4 - LN3],
    ),
    "sigmoid for each class": (  # targets (1, 0), delta = (-1/4, 1/2), losses ln 4/3 and ln 2
        {"loss": "sigmoid_bce", "weights": [[[LN3, 0]]]},
        {}, [[1.0]], [0], 0.4, [[[LN3 + 0.1, -0.2]]], [[0.1, -0.2]], [LN4 - LN3 + LN2],
    ),
    "sigmoid for each class, smoothed": (  # targets (0.9, 0.1), delta = (-0.15, 0.4), 0.9 ln 4/3 + 0.1 ln 4, and ln 2
        {"loss": "sigmoid_bce", "weights": [[[LN3, 0]]]},
        {"label_smoothing": 0.2}, [[1.0]], [0], 0.2, [[[LN3 + 0.03, -0.08]]], [[0.03, -0.08]], [LN4 - 0.9 * LN3 + LN2],
    ),
    "squared error": (  # y = 3 * 2 - 1 = 5, E = 2², dE/dy = 2 * 2, dE/dw = 12
        {"loss": "mse", "weights": [[[2]]], "biases": [[-1]]},
        {}, [[3.0]], [[3.0]], 0.1, [[[0.8]]], [[-1.4]], [4],
    ),
    "squared error, two outputs": (  # E = (1 + 4) / 2, dE/dy = 2/2 (1, -2)
        {"loss": "mse", "weights": [[[1, 2]]]},
        {}, [[1.0]], [[0.0, 4.0]], 0.1, [[[0.9, 2.2]]], [[-0.1, 0.2]], [2.5],
    ),
    "squared error of relu, at rest": (  # z = -5: y = 0, f' = 0
        {"loss": "mse", "output_activation": "relu", "weights": [[[-2]]], "biases": [[1]]},
        {}, [[3.0]], [[3.0]], 0.1, [[[-2]]], [[1]], [9],
    ),
    "squared error of sigmoid": (  # y = 3/4, dE/dy = 1, f' = 3/16
        {"loss": "mse", "output_activation": "sigmoid", "weights": [[[LN3]]]},
        {}, [[1.0]], [[0.25]], 0.8, [[[LN3 - 0.15]]], [[-0.15]], [0.25],
    ),
    "squared error of tanh": (  # y = 0.6, dE/dy = 1, f' = 0.64
        {"loss": "mse", "output_activation": "tanh", "weights": [[[LN2]]]},
        {}, [[1.0]], [[0.1]], 0.5, [[[LN2 - 0.32]]], [[-0.32]], [0.25],
    ),
    "hidden relu": (  # a = 6, y = 3, dE/dy = 4: dw2 = 24, da = 2 = dz, dw1 = 6
        {"loss": "mse", "activation": "relu", "weights": [[[2]], [[0.5]]]},
        {}, [[3.0]], [[1.0]], 0.01, [[[1.94]], [[0.26]]], [[-0.02], [-0.04]], [4],
    ),
    "hidden tanh": (  # a = 0.6, y = 3, dE/dy = 4: dw2 = 2.4, da = 20, dz = 20 * 0.64 = 12.8
        {"loss": "mse", "activation": "tanh", "weights": [[[LN2]], [[5]]]},
        {}, [[1.0]], [[1.0]], 0.01, [[[LN2 - 0.128]], [[4.976]]], [[-0.128], [-0.04]], [4],
    ),
    "hidden sigmoid": (  # a = 3/4, y = 3, dE/dy = 4: dw2 = 3, da = 16, dz = 16 * 3/16 = 3
        {"loss": "mse", "activation": "sigmoid", "weights": [[[LN3]], [[4]]]},
        {}, [[1.0]], [[1.0]], 0.01, [[[LN3 - 0.03]], [[3.97]]], [[-0.03], [-0.04]], [4],
    ),
    "bytes": (  # x = 51 / 255 = 0.2, y = 1, dE/dy = 2
        {"loss": "mse", "weights": [[[5]]]},
        {}, np.array([[51]], np.uint8), [[0.0]], 1.0, [[[4.6]]], [[-2]], [1],
    ),
    # Batches of 2 and 1. First y = (1, 2), dE/dy = (2, 4), sums 10 for w and 6 for b; then, by the mean, y = 1.2 and
    # dE/dy = 2.4, and by the sum y = 2.64 and dE/dy = 5.28.
    "mean, a smaller batch last": (
        {"loss": "mse", "weights": [[[1]]]},
        {"batch_size": 2}, [[1.0], [2.0], [3.0]], [[0.0]] * 3, 0.1, [[[-0.22]]], [[-0.54]], [1, 4, 1.44],
    ),
    "sum, a smaller batch last": (
        {"loss": "mse", "weights": [[[1]]]},
        {"batch_size": 2, "grad_reduction": "sum"},
        [[1.0], [2.0], [3.0]], [[0.0]] * 3, 0.01, [[[0.7416]]], [[-0.1128]], [1, 4, 6.9696],
    ),
}  # fmt: skip


def network_of(weights: Any, **description: Any) -> Network:
    arrays = [np.asarray(w, float) for w in weights]
    return Network([len(arrays[0]), *(w.shape[1] for w in arrays)], weights=arrays, dtype="float64", **description)


@pytest.mark.parametrize("computation", ["numpy", "numba dense"])
@pytest.mark.parametrize("name", HAND)
def test_a_step_is_as_worked_out_by_hand(name: str, computation: str) -> None:
    description, settings, X, y, lr, weights, biases, losses = HAND[name]
    training = Training(computation, network_of(**description), np.asarray(X), y, **NONE, **settings)
    training.run(lr)
    for ours, by_hand in zip(training.parameters(), [*weights, *biases], strict=False):
        np.testing.assert_allclose(ours, by_hand, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(training.losses, losses, rtol=1e-14)


# Two steps of y = w x + b with x = 1 and target 0 from w = 1, b = 0, at a learning rate of 0.1, with momentum 0.5 and L2
# of 0.5 on w alone. In the first step dE/dy = 2, so that the gradients are 2.5 and 2.
TWO_STEPS = {  # w, b, and their velocities
    "none": (0.6025, -0.31, 0, 0),  # 0.75, -0.2; then dE/dy = 1.1, gradients 1.475 and 1.1
    "ema": (0.713125, -0.2275, 1.61875, 1.275),  # v = 1.25, 1: 0.875, -0.1; then 1.55, gradients 1.9875 and 1.55
    "heavy_ball": (0.4775, -0.41, 2.725, 2.1),  # v = 2.5, 2: 0.75, -0.2; then 1.1, gradients 1.475 and 1.1
    "nesterov": (0.418125, -0.4475, 2.2125, 1.65),  # steps 3.75, 3: 0.625, -0.3; then 0.65, gradients 0.9625 and 0.65
}


@pytest.mark.parametrize("computation", ["numpy", "numba dense"])
@pytest.mark.parametrize("kind", TWO_STEPS)
def test_two_steps_with_momentum_and_l2_are_as_worked_out_by_hand(kind: str, computation: str) -> None:
    settings = {"momentum_kind": kind, "momentum": 0.5, "weight_decay": 0.5}
    training = Training(computation, network_of([[[1]]], loss="mse"), np.ones((1, 1)), [[0.0]], **settings)
    training.run(0.1)
    training.run(0.1)
    found = [p.item() for p in training.parameters()]
    np.testing.assert_allclose(found, TWO_STEPS[kind][: len(found)], rtol=1e-14)
    assert len(found) == 4 or kind == "none"


# Central differences. Nothing here is taken from the library but the network's parameters.
FUNCTIONS = {
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "identity": lambda z: z,
}
HEADS = [("softmax_ce", "identity"), ("sigmoid_bce", "identity"), *(("mse", name) for name in FUNCTIONS)]
LAYERS, BATCH, DECAY, MOMENTUM, LR = (17, 5, 4, 3), 6, 0.03, 0.8, 0.07


def mean_loss(parameters: list[np.ndarray], x: np.ndarray, y: np.ndarray, hidden: str, head: tuple[str, str]) -> float:
    """Mean over the samples of the loss; y (batch, 3), the shares of the classes."""
    weights, biases = parameters[: len(LAYERS) - 1], parameters[len(LAYERS) - 1 :]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        x = FUNCTIONS[hidden](x @ w + b)
    z = x @ weights[-1] + biases[-1]
    if head[0] == "softmax_ce":
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        return -(y * np.log(p)).sum() / len(x)
    if head[0] == "sigmoid_bce":
        s = 1 / (1 + np.exp(-z))
        return -(y * np.log(s) + (1 - y) * np.log(1 - s)).sum() / len(x)
    return ((FUNCTIONS[head[1]](z) - y) ** 2).mean()


@functools.cache
def problem(hidden: str, head: tuple[str, str]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, list[np.ndarray]]:
    """Parameters, x, y, and the gradient of the mean loss by central differences."""
    rng = np.random.default_rng(4)
    weights = [rng.standard_normal(shape) / np.sqrt(shape[0]) for shape in pairwise(LAYERS)]
    parameters = [*weights, *(rng.standard_normal(size) / 2 for size in LAYERS[1:])]
    x = rng.standard_normal((BATCH, LAYERS[0])) * (rng.random((BATCH, LAYERS[0])) < 0.7)
    y = rng.dirichlet(np.ones(LAYERS[-1]), BATCH)
    gradients = [np.empty_like(p) for p in parameters]
    for p, gradient in zip(parameters, gradients, strict=True):
        for i in np.ndindex(p.shape):
            kept, h = p[i], 1e-5
            p[i] = kept + h
            above = mean_loss(parameters, x, y, hidden, head)
            p[i] = kept - h
            gradient[i] = (above - mean_loss(parameters, x, y, hidden, head)) / (2 * h)
            p[i] = kept
    return parameters, x, y, gradients


def moved(kind: str, g: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The step, over the learning rate, and the new velocity, as the sources of each kind of momentum write them."""
    if kind == "none":
        return g, v
    v = MOMENTUM * v + ((1 - MOMENTUM) * g if kind == "ema" else g)
    return (g + MOMENTUM * v if kind == "nesterov" else v), v


@pytest.mark.parametrize("computation", COMPUTATIONS)
@pytest.mark.parametrize("head", HEADS, ids="-".join)
@pytest.mark.parametrize("hidden", FUNCTIONS)
def test_a_step_follows_the_gradient_by_central_differences(
    hidden: str, head: tuple[str, str], computation: str
) -> None:
    """To 1e-6 of the largest element, for every momentum, with and without L2, by the mean and by the sum."""
    parameters, x, y, gradients = problem(hidden, head)
    weights, biases = parameters[:3], parameters[3:]
    network = Network(LAYERS, hidden, head[0], head[1], weights=weights, biases=biases, dtype="float64")
    rng = np.random.default_rng(5)
    for kind, decay, reduction in product(TWO_STEPS, (0.0, DECAY), ("mean", "sum")):
        velocities = [rng.standard_normal(p.shape) for p in parameters]
        settings = {"momentum_kind": kind, "momentum": MOMENTUM, "weight_decay": decay, "grad_reduction": reduction}
        training = Training(computation, network, x, y, velocity=velocities if kind != "none" else (), **settings)
        training.run(LR)
        after = training.parameters()
        for i, (p, g, v) in enumerate(zip(parameters, gradients, velocities, strict=True)):
            g = g * (BATCH if reduction == "sum" else 1) + (decay * p if p.ndim == 2 else 0)
            step, velocity = moved(kind, g, v)
            assert np.abs((p - after[i]) / LR - step).max() < 1e-6 * np.abs(step).max(), (settings, i)
            if kind != "none":
                assert np.abs(after[6 + i] - velocity).max() <= 1e-6 * np.abs(velocity).max(), (settings, i)
        np.testing.assert_allclose(training.losses.mean(), mean_loss(parameters, x, y, hidden, head), rtol=1e-12)
