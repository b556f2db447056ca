"""optimizer="lbfgs": against scipy on a function written out here, and as a training like others."""

from __future__ import annotations

import importlib.util
import math
import time
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import fastfc
from fastfc import EarlyStopping
from fastfc.errors import DivergenceError, FastFCError
from tests.oracle import Function
from tests.small import BACKENDS, SMALL, blobs, digest, python

X, Y = blobs(90, features=6)
Y = np.where(np.random.default_rng(1).random(90) < 0.2, (Y + 1) % 3, Y)
LBFGS: dict[str, Any] = {"optimizer": "lbfgs", "hidden": (5,), "activation": "tanh", "dtype": "float64", "epochs": 40}
backends = pytest.mark.parametrize("backend", BACKENDS)


def packed(model: fastfc.Network) -> np.ndarray:
    return np.concatenate([p.ravel() for p in (*model.weights, *model.biases)])


def by_scipy(start: fastfc.Network, iterations: int, decay: float, weights: np.ndarray | None = None) -> list[np.ndarray]:
    """Parameters after each iteration, of the softmax's cross-entropy of a tanh network, whose gradient is worked out here."""
    shapes = [p.shape for p in (*start.weights, *start.biases)]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    share = np.full(90, 1 / 90) if weights is None else weights / weights.sum()

    def parts(x: np.ndarray) -> list[np.ndarray]:
        return [part.reshape(shape) for part, shape in zip(np.split(x, ends[:-1]), shapes, strict=True)]

    def f(x: np.ndarray) -> tuple[float, np.ndarray]:
        w1, w2, b1, b2 = parts(x)
        a = np.tanh(X @ w1 + b1)
        z = a @ w2 + b2
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        d2 = (p - np.eye(3)[Y]) * share[:, None]
        d1 = (d2 @ w2.T) * (1 - a * a)
        value = -share @ np.log(p[np.arange(90), Y]) + decay / 2 * ((w1**2).sum() + (w2**2).sum())
        return value, np.concatenate([
            (X.T @ d1 + decay * w1).ravel(), (a.T @ d2 + decay * w2).ravel(), d1.sum(axis=0), d2.sum(axis=0)
        ])  # fmt: skip

    seen: list[np.ndarray] = []
    minimize(f, packed(start), jac=True, method="L-BFGS-B", callback=lambda x: seen.append(x.copy()), options={"maxiter": iterations})
    return seen


@backends
@pytest.mark.parametrize("weighted", [False, True])
def test_iterations_are_scipys(backend: str, weighted: bool) -> None:
    start = fastfc.Network((6, 5, 3), activation="tanh", dtype="float64", seed=4)
    weights = np.random.default_rng(0).random(90) if weighted else None
    seen: list[np.ndarray] = []

    class Watch:
        def on_train_begin(self, result: fastfc.TrainResult) -> None:
            self.model = result.model

        def on_epoch_end(self, record: fastfc.EpochRecord) -> None:
            seen.append(packed(self.model))

    options = {**LBFGS, "epochs": 12, "weight_decay": 0.01}
    result = fastfc.train((X, Y), network=start, sample_weight=weights, callbacks=[Watch()], backend=backend, **options)
    expected = by_scipy(start, 12, 0.01, weights)
    assert len(seen) == len(expected) == 12 and result.state == {"steps": 12}
    for k, (ours, theirs) in enumerate(zip(seen, expected, strict=True)):
        np.testing.assert_allclose(ours, theirs, atol=1e-11 * 10 ** (k / 2), err_msg=str(k))
    last = result.history[-1]
    f = Function(("tanh", "identity"), "softmax_ce", np.full(90, 1 / 90) if weights is None else weights / weights.sum())
    model = result.model
    assert last.loss == pytest.approx(f.value([*model.weights, *model.biases], X, np.eye(3)[Y]), rel=1e-12)
    assert last.penalty == pytest.approx(0.005 * sum((w**2).sum() for w in model.weights), rel=1e-12)
    assert np.array_equal(packed(start), packed(fastfc.Network((6, 5, 3), activation="tanh", dtype="float64", seed=4)))


@backends
def test_it_ends_where_the_gradient_vanishes(backend: str) -> None:
    data, options = (X, np.sin(X[:, 0])), {**LBFGS, "loss": "mse", "hidden": (), "epochs": 500, "backend": backend}
    result = fastfc.train(data, weight_decay=0.1, tolerance=1e-9, **options)
    ones = np.c_[X, np.ones(90)]
    ridge = np.diag([0.1 * 90 / 2] * 6 + [0.0])
    exact = np.linalg.solve(ones.T @ ones + ridge, ones.T @ data[1])
    np.testing.assert_allclose(packed(result.model), exact, atol=3e-5)  # by scipy's ftol
    assert result.stopped_early and not result.interrupted and len(result.history) < 100
    rough = fastfc.train(data, weight_decay=0.1, tolerance=0.1, **options)
    assert len(rough.history) < len(result.history) and abs(packed(rough.model) - exact).max() > 1e-3


@backends
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "sigmoid_bce"},
        {"loss": "mse", "outputs": 3, "output_activation": "sigmoid", "label_smoothing": 0.1},
        {"loss": "huber", "huber_delta": 0.5, "outputs": 3, "activation": "gelu"},
        {"grad_reduction": "sum", "hidden": (7, 4), "activation": ("mish", "selu")},
        {"label_smoothing": 0.2, "decay_per_batch": True, "weight_decay": 1.0},
    ],
    ids=str,
)
def test_the_loss_falls_in_every_iteration(backend: str, dtype: str, settings: dict[str, Any]) -> None:
    """With its penalty, from epoch to epoch: that is what a line search makes sure of."""
    options = {**LBFGS, "epochs": 15, "backend": backend, **settings, "dtype": dtype}
    history = fastfc.train((X, Y), **options).history
    times = 90 if settings.get("grad_reduction") == "sum" else 1
    values = np.array([times * r.loss + r.penalty for r in history])
    assert len(values) > 5 and (np.diff(values) <= 1e-6 * abs(values[0])).all() and values[-1] < values[0]


@backends
def test_a_weight_is_how_often_a_sample_is_there(backend: str) -> None:
    counts = np.arange(90) % 3
    options = {**LBFGS, "epochs": 8, "decay_per_batch": True, "weight_decay": 0.5, "backend": backend}
    weighted = fastfc.train((X, Y), sample_weight=counts, **options)
    repeated = fastfc.train((np.repeat(X, counts, axis=0), np.repeat(Y, counts)), **options)
    np.testing.assert_allclose(packed(weighted.model), packed(repeated.model), rtol=1e-8)
    assert weighted.history[-1].penalty == pytest.approx(repeated.history[-1].penalty, rel=1e-8)


@backends
def test_validation_stopping_and_callbacks_are_those_of_any_training(backend: str) -> None:
    seen: list[Any] = []
    options = {**LBFGS, "validation": 0.3, "weight_decay": 0.0, "backend": backend, "on_steps": lambda *a: seen.append(a)}
    result = fastfc.train((X, Y), (X, Y), early_stopping=EarlyStopping(patience=3), **options)
    losses = [record.validation_loss for record in result.history]
    best = int(np.argmin(losses)) + 1
    assert result.stopped_early and len(result.history) == best + 3 and result.best_epoch == best and result.is_restored
    assert result.record and result.test_accuracy == result.model.score(X, Y)
    assert {(n, samples) for _, n, samples, _ in seen} == {(63, 63)} and len(seen) >= len(result.history)
    assert [epoch for epoch, *_ in seen] == sorted(epoch for epoch, *_ in seen)
    ended = fastfc.train((X, Y), on_epoch=lambda record: record.epoch == 2, **{**LBFGS, "backend": backend})
    assert len(ended.history) == 2 and ended.stopped_early and ended.state == {"steps": 2}


@backends
def test_time_and_ctrl_c_end_it_with_the_last_iteration(backend: str) -> None:
    def stop(epoch: int, done: int, n: int, losses: list[float]) -> None:
        if epoch == 4:
            raise KeyboardInterrupt

    kept: list[str] = []

    class Keep:
        def on_train_begin(self, result: fastfc.TrainResult) -> None:
            self.model = result.model

        def on_epoch_end(self, record: fastfc.EpochRecord) -> None:
            kept.append(digest(self.model))

    pressed = fastfc.train((X, Y), on_steps=stop, callbacks=[Keep()], **{**LBFGS, "backend": backend})
    assert pressed.interrupted and not pressed.stopped_early and len(pressed.history) == 3
    assert digest(pressed.model) == kept[-1] and pressed.state == {"steps": 3}
    start = fastfc.Network((6, 5, 3), activation="tanh", dtype="float64", seed=4)
    late = fastfc.train((X, Y), network=start, max_seconds=1e-9, **{**LBFGS, "backend": backend})
    assert late.out_of_time and late.history == [] and digest(late.model) == digest(start)
    slow = fastfc.train((X, Y), on_epoch=lambda _: time.sleep(0.01), max_seconds=0.05, **{**LBFGS, "backend": backend})
    assert slow.out_of_time and 0 < len(slow.history) < 40


@backends
def test_a_network_that_is_as_good_as_can_be_stays(backend: str) -> None:
    start = fastfc.Network((6, 1), loss="mse", dtype="float64", init=("normal", 0), backend=backend)
    result = fastfc.train((X, np.zeros(90)), network=start, optimizer="lbfgs", backend=backend)
    assert result.history == [] and result.stopped_early and digest(result.model) == digest(start)
    assert result.record is None and result.state == {"steps": 0}


def test_a_loss_that_is_not_finite_at_the_start_is_divergence() -> None:
    start = fastfc.Network((6, 1), loss="poisson", weights=[np.full((6, 1), 1e5)], dtype="float64")
    with pytest.raises(DivergenceError, match=r"^loss: given inf in epoch 1, step 1 of 1.*smaller inputs may help$"):
        fastfc.train((abs(X), np.ones(90)), network=start, optimizer="lbfgs", backend="numpy")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"batch_size": 128}, "batch_size: given 128, expected None with optimizer 'lbfgs'"),
    ({"batch_size": 10}, "batch_size: given 10, expected None with optimizer 'lbfgs'"),
    ({"dropout": 0.1}, "dropout: given 0.1, expected 0.0 with optimizer 'lbfgs'"),
    ({"checkpoint": "folder"}, "checkpoint: given 'folder', expected None with optimizer 'lbfgs'"),
    ({"steps_per_call": 3}, "steps_per_call: given 3, expected None with optimizer 'lbfgs'"),
    ({"state": {"steps": 3}}, "state: given one, expected None with optimizer 'lbfgs', which begins anew"),
    ({"recipe": "000"}, "lr: given 0.01, expected 1.0 with optimizer 'lbfgs'"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=lambda value: str(value)[:30])
def test_what_it_has_no_use_for_is_refused(options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any kernel. What any setting is refused as: tests/test_settings.py."""
    monkeypatch.setattr(fastfc.training.run, "load_backend", None)
    network = fastfc.Network((6, 5, 3), activation="tanh", dtype="float64") if "state" in options else None
    with pytest.raises(FastFCError, match=f"^{message}") as caught:
        fastfc.train((X, Y), network=network, backend="numpy", **({"optimizer": "lbfgs"} if "recipe" in options else LBFGS), **options)
    assert "\n" not in str(caught.value)


def test_without_scipy_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "scipy" else find(name, *a))
    with pytest.raises(FastFCError, match=r"^optimizer: given 'lbfgs' without scipy, expected .*pip install 'fastfc\[lbfgs\]'$"):
        fastfc.train((X, Y), backend="numpy", **LBFGS)
    fastfc.train((X, Y), backend="numpy", **SMALL)


def test_scipy_is_imported_for_it_alone() -> None:
    code = """
import sys
import fastfc
from tests.small import blobs
for options in ({}, {"optimizer": "lbfgs"}):
    fastfc.train(blobs(30), backend="numpy", hidden=(4,), epochs=1, **options)
    print("scipy.optimize" in sys.modules)
"""
    assert python(code).split() == ["False", "True"]
