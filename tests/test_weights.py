"""Weights of samples and classes: a weight of k is the sample k times, 0 is its absence, and bad ones are one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc.errors import FastFCError
from fastfc.training.evaluation import split
from tests.small import BACKENDS, blobs, digest
from tests.trainers import COMPUTATIONS, Training, assert_same

X, Y = blobs(24, features=6)
WHOLE: dict[str, Any] = {"hidden": (5,), "batch_size": None, "epochs": 3, "dtype": "float64", "shuffle": False}
WHOLE |= {"activation": "tanh", "lr": 0.1, "input_kernel": "dense"}
COUNTS = np.arange(24) % 4  # 0 to 3 times


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", ["softmax_ce", "mse"])
def test_a_weight_is_how_often_a_sample_is_there(loss: str, reduction: str, backend: str) -> None:
    settings = {**WHOLE, "loss": loss, "grad_reduction": reduction, "backend": backend}
    if reduction == "sum":
        settings["lr"] = 0.002
    weighted = fastfc.train((X, Y), sample_weight=COUNTS, **settings)
    repeated = fastfc.train((np.repeat(X, COUNTS, axis=0), np.repeat(Y, COUNTS)), **settings)
    assert_same(weighted.model.weights, repeated.model.weights, 1e-12)
    assert [r.loss for r in weighted.history] == pytest.approx([r.loss for r in repeated.history], rel=1e-12)


@pytest.mark.parametrize("computation", COMPUTATIONS)
def test_weights_of_one_change_nothing_and_small_batches_divide_by_their_own_sum(computation: str) -> None:
    network = fastfc.Network((6, 5, 3), activation="tanh", dtype="float64", seed=1)
    plain, ones, uneven = (Training(computation, network, X, Y, 8, momentum_kind="none", weight_decay=0.0) for _ in range(3))
    weights = np.random.default_rng(0).random(24)
    for one, each in ((plain, None), (ones, np.ones(24)), (uneven, weights)):
        one.trainer.run(one.epoch(0.1, weights=each), 0, 3)
    assert plain.digest() == ones.digest()
    by_hand = Training("numpy", network, X, Y, 8, momentum_kind="none", weight_decay=0.0)
    epoch = by_hand.epoch(0.1)
    scale = np.concatenate([weights[i : i + 8] / weights[i : i + 8].sum() for i in (0, 8, 16)])
    by_hand.trainer.run(epoch._replace(scale=scale), 0, 3)
    assert_same(uneven.parameters(), by_hand.parameters(), 1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_of_classes_are_those_of_their_samples(backend: str) -> None:
    settings = {**WHOLE, "batch_size": 7, "shuffle": True, "backend": backend}
    y = np.minimum(Y, 1)
    balanced = np.where(y == 0, 24 / (2 * (y == 0).sum()), 24 / (2 * (y == 1).sum()))
    one, other = (
        fastfc.train((X, y), class_weight="balanced", **settings),
        fastfc.train((X, y), sample_weight=balanced, **settings),
    )
    assert_same(one.model.weights, other.model.weights, 1e-12)
    one, other = (
        fastfc.train((X, y), class_weight={1: 3.0}, sample_weight=COUNTS, **settings),
        fastfc.train((X, y), sample_weight=COUNTS * np.where(y == 1, 3, 1), **settings),
    )
    assert_same(one.model.weights, other.model.weights, 1e-12)


MANY, LABELS = blobs(120, features=6)
LABELS = np.where(np.random.default_rng(1).random(120) < 0.3, (LABELS + 1) % 3, LABELS)
EACH = np.random.default_rng(2).integers(0, 4, 120).astype(float)
SHARE: dict[str, Any] = {**WHOLE, "batch_size": 16}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", ["softmax_ce", "mse"])
def test_a_share_for_validation_carries_its_weights(loss: str, backend: str) -> None:
    """Those of the samples, and not those of the classes, which are a matter of training; the test data have none."""
    regression, options = loss == "mse", {**SHARE, "loss": loss, "lr": 0.01, "backend": backend}
    y = MANY[:, 0] if regression else LABELS
    more = {} if regression else {"class_weight": {0: 5.0}}
    result = fastfc.train((MANY, y), (MANY, y), validation=0.25, sample_weight=EACH, **more, **options)
    _, held = split(0.25, None if regression else y, 120, seed=0)
    last, model = result.history[-1], result.model
    score = last.validation_r2 if regression else last.validation_accuracy
    assert (last.validation_loss, score) == pytest.approx(model.loss_and_accuracy(MANY[held], y[held], EACH[held]), rel=1e-12)
    assert last.validation_loss != pytest.approx(model.loss_and_accuracy(MANY[held], y[held])[0])
    assert last.test_loss == pytest.approx(model.loss_and_accuracy(MANY, y)[0])
    of_training = np.setdiff1d(np.arange(120), held)
    apart = fastfc.train(
        (MANY[of_training], y[of_training]),
        validation=(MANY[held], y[held], EACH[held]), sample_weight=EACH[of_training], **more, **options,
    )  # fmt: skip
    assert_same(model.weights, apart.model.weights, 1e-12)
    assert [r.validation_loss for r in result.history] == pytest.approx([r.validation_loss for r in apart.history], rel=1e-12)


def test_a_dataset_may_bring_its_weights() -> None:
    given = fastfc.Dataset(X, Y, sample_weight=COUNTS)
    models = [
        fastfc.train(given, backend="numpy", **WHOLE).model,
        fastfc.train((X, Y), sample_weight=COUNTS, backend="numpy", **WHOLE).model,
        fastfc.train(given, sample_weight=np.ones(24), backend="numpy", **WHOLE).model,
        fastfc.train((X, Y), backend="numpy", **WHOLE).model,
    ]
    assert digest(models[0]) == digest(models[1]) and digest(models[2]) == digest(models[3]) != digest(models[0])


def test_weights_that_are_all_0_on_one_side_of_a_split_are_refused() -> None:
    rows, held = split(0.25, Y, 24, seed=0)
    for zeros, what in ((rows, "sample_weight"), (held, "sample_weight of validation")):
        weights = np.ones(24)
        weights[zeros] = 0
        with pytest.raises(FastFCError, match=f"^{what}: given weights that are all 0, expected some that are not$"):
            fastfc.train((X, Y), validation=0.25, sample_weight=weights, backend="numpy", **WHOLE)
    with pytest.raises(FastFCError, match=r"^sample_weight: given weights that are all 0"):
        fastfc.train((X, Y), sample_weight=(Y == 0) * 1.0, class_weight={0: 0.0}, backend="numpy", **WHOLE)


BAD = {
    "few": ({"sample_weight": [1.0, 2.0]}, r"sample_weight: given shape \(2,\), expected \(24,\)"),
    "negative": ({"sample_weight": -np.ones(24)}, "sample_weight: given -1.0, expected numbers >= 0"),
    "zeros": ({"sample_weight": np.zeros(24)}, "sample_weight: given weights that are all 0"),
    "NaN": ({"sample_weight": np.full(24, np.nan)}, "sample_weight: given nan"),
    "words": ({"sample_weight": ["a"] * 24}, "sample_weight: given an array of <U1"),
    "a word": ({"class_weight": "fair"}, "class_weight: given 'fair', expected 'balanced'"),
    "no class": ({"class_weight": {7: 1.0}}, r"class_weight: given class 7, expected classes of the data: \[0, 1, 2\]"),
    "a negative class": ({"class_weight": {1: -1.0}}, "class_weight: given -1.0"),
    "classes all 0": ({"class_weight": {0: 0, 1: 0, 2: 0}}, "class_weight: given weights that are all 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_weights_are_one_line(name: str) -> None:
    given, message = BAD[name]
    with pytest.raises(FastFCError, match=f"^{message}") as caught:
        fastfc.train((X, Y), **given, **WHOLE)
    assert "\n" not in str(caught.value)
    with pytest.raises(FastFCError, match="class_weight: given targets of float64"):
        fastfc.train((X, Y / 2), class_weight="balanced", **{**WHOLE, "loss": "mse"})


def test_a_checkpoint_of_other_weights_is_refused(tmp_path: Any) -> None:
    options = {**WHOLE, "schedule": "constant", "backend": "numpy", "checkpoint": tmp_path}
    fastfc.train((X, Y), sample_weight=COUNTS, **options)
    with pytest.raises(FastFCError, match="other sample_weight"):
        fastfc.train((X, Y), **{**options, "epochs": 4})
