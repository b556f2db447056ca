"""The first rungs of the ladder: steps worked out by hand, and gradients against central differences."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest

from fastfc.network import Network
from tests.trainers import Training

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
    "absolute error": (  # y = 5, E = 2, dE/dy = 1, dE/dw = 3
        {"loss": "mae", "weights": [[[2]]], "biases": [[-1]]},
        {}, [[3.0]], [[3.0]], 0.1, [[[1.7]]], [[-1.1]], [2],
    ),
    "absolute error, two outputs, one of them right": (  # y = (1, 2), E = (1 + 0) / 2, dE/dy = (1/2, 0)
        {"loss": "mae", "weights": [[[1, 2]]]},
        {}, [[1.0]], [[0.0, 2.0]], 0.2, [[[0.9, 2]]], [[-0.1, 0]], [0.5],
    ),
    "huber, near and far": (  # d = (0.25, -3), E = (0.03125 + 0.5 (3 - 0.25)) / 2, dE/dy = (0.25, -0.5) / 2
        {"loss": "huber", "huber_delta": 0.5, "weights": [[[1, 2]]]},
        {}, [[1.0]], [[0.75, 5.0]], 0.4, [[[0.95, 2.1]]], [[-0.05, 0.1]], [0.703125],
    ),
    "huber of tanh": (  # y = 0.6, d = 0.5, E = 0.125, f' = 0.64
        {"loss": "huber", "output_activation": "tanh", "weights": [[[LN2]]]},
        {}, [[1.0]], [[0.1]], 0.5, [[[LN2 - 0.16]]], [[-0.16]], [0.125],
    ),
    "poisson": (  # z = ln 3, E = 3 - 2 ln 3, dE/dz = 3 - 2
        {"loss": "poisson", "weights": [[[LN3]]]},
        {}, [[1.0]], [[2.0]], 0.25, [[[LN3 - 0.25]]], [[-0.25]], [3 - 2 * LN3],
    ),
    "poisson, two outputs": (  # z = (0, ln 2), E = (1 - 0 + 2 - 4 ln 2) / 2, dE/dz = (1 - 0, 2 - 4) / 2
        {"loss": "poisson", "weights": [[[0, LN2]]]},
        {}, [[1.0]], [[0.0, 4.0]], 0.1, [[[-0.05, LN2 + 0.1]]], [[-0.05, 0.1]], [1.5 - 2 * LN2],
    ),
    "squared error of classes, smoothed": (  # targets (0.1, 0.9), y = (1, 2), d = (0.9, 1.1), E = (0.81 + 1.21) / 2
        {"loss": "mse", "weights": [[[1, 2]]]},
        {"label_smoothing": 0.2}, [[1.0]], [1], 0.1, [[[0.91, 1.89]]], [[-0.09, -0.11]], [1.01],
    ),
    "hidden leaky_relu": (  # z = -6, a = -0.06, y = -0.03, dE/dy = -2.06, da = -1.03, dz = -0.0103
        {"loss": "mse", "activation": "leaky_relu", "weights": [[[-2]], [[0.5]]]},
        {}, [[3.0]], [[1.0]], 0.1, [[[-1.99691]], [[0.48764]]], [[0.00103], [0.206]], [1.0609],
    ),
    "hidden elu": (  # z = -ln 2, a = -1/2, y = -2, dE/dy = -4: dw2 = 2, da = -16, dz = -16 / 2
        {"loss": "mse", "activation": "elu", "weights": [[[-LN2]], [[4]]]},
        {}, [[1.0]], [[0.0]], 0.01, [[[-LN2 + 0.08]], [[3.98]]], [[0.08], [0.04]], [4],
    ),
    "hidden softplus": (  # z = ln 3, a = ln 4, y = ln 4, dE/dy = 2, f' = 3/4
        {"loss": "mse", "activation": "softplus", "weights": [[[LN3]], [[1]]]},
        {}, [[1.0]], [[LN4 - 1]], 0.1, [[[LN3 - 0.15]], [[1 - 0.2 * LN4]]], [[-0.15], [-0.2]], [1],
    ),
    "hidden silu": (  # z = ln 3, s = 3/4, a = 3/4 ln 3, f' = 3/4 + 3/16 ln 3, dE/dy = 2
        {"loss": "mse", "activation": "silu", "weights": [[[LN3]], [[1]]]},
        {}, [[1.0]], [[0.75 * LN3 - 1]], 0.1,
        [[[LN3 - 0.15 - 0.0375 * LN3]], [[1 - 0.15 * LN3]]], [[-0.15 - 0.0375 * LN3], [-0.2]], [1],
    ),
    "hidden mish": (  # z = 0: t = tanh(ln 2) = 0.6, a = 0, f' = 0.6, dE/dy = 2 (0 - 1): da = -2, dz = -1.2
        {"loss": "mse", "activation": "mish", "weights": [[[0]], [[1]]]},
        {}, [[1.0]], [[1.0]], 0.1, [[[0.12]], [[1]]], [[0.12], [0.2]], [1],
    ),
    "hidden gelu": (  # z = 0: a = 0, f' = 1/2
        {"loss": "mse", "activation": "gelu", "weights": [[[0]], [[1]]]},
        {}, [[1.0]], [[1.0]], 0.1, [[[0.1]], [[1]]], [[0.1], [0.2]], [1],
    ),
    "weights with L1": (  # y = 5, dE/dy = 4; of w the gradient is 12 + 1, of b it is 4
        {"loss": "mse", "weights": [[[2]]], "biases": [[-1]]},
        {"l1": 1.0}, [[3.0]], [[3.0]], 0.1, [[[0.7]]], [[-1.4]], [4],
    ),
    "weights of both signs and 0 with L1": (  # the error is 0
        {"loss": "mse", "weights": [[[2, 0, -1]]]},
        {"l1": 0.5}, [[1.0]], [[2.0, 0.0, -1.0]], 0.1, [[[1.95, 0, -0.95]]], [[0, 0, 0]], [0],
    ),
    "clipped": (  # gradients 12 of w and 5 of b, norm 13 (y = 5.5, dE/dy = 5, x = 2.4), to 1.3
        {"loss": "mse", "weights": [[[2]]], "biases": [[0.7]]},
        {"clip_norm": 1.3 + 1e-7}, [[2.4]], [[3.0]], 0.5, [[[2 - 0.6]]], [[0.7 - 0.25]], [6.25],
    ),
    "short enough": (
        {"loss": "mse", "weights": [[[2]]], "biases": [[0.7]]},
        {"clip_norm": 13.1}, [[2.4]], [[3.0]], 0.1, [[[0.8]]], [[0.2]], [6.25],
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
    "none": (0.6025, -0.31),  # 0.75, -0.2; then dE/dy = 1.1, gradients 1.475 and 1.1
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
    np.testing.assert_allclose([p.item() for p in training.parameters()], TWO_STEPS[kind], rtol=1e-14)
