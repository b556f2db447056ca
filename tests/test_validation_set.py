"""Validation: which samples it takes, what each epoch says of them, and metrics of one's own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import fastfc
from fastfc.errors import DivergenceError, FastFCError, InvalidArgument, InvalidType
from fastfc.results import EpochRecord
from fastfc.training.evaluation import split
from fastfc.training.progress import epoch_line
from tests.small import BACKENDS, SMALL, blobs, digest, images
from tests.test_train import epochs_of

X, Y = blobs(120)
NUMBERS = np.sin(X[:, 0])


def macro_f1(y: Any, predicted: Any) -> float:
    hits = [2 * ((y == c) & (predicted == c)).sum() / ((y == c).sum() + (predicted == c).sum()) for c in np.unique(y)]
    return float(np.mean(hits))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_share_has_as_much_of_each_class(share: float) -> None:
    classes = np.repeat([0, 1, 2], [200, 60, 40])
    rows, held = split(share, classes, 300, seed=3)
    assert sorted([*rows, *held]) == list(range(300)) and (np.diff(rows) > 0).all() and (np.diff(held) > 0).all()
    assert np.bincount(classes[held]).tolist() == [200 * share, 60 * share, 40 * share]
    assert not np.array_equal(held, split(share, classes, 300, seed=4)[1])
    assert np.array_equal(held, split(share, classes, 300, seed=3)[1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("top", [None, 0.5])
def test_what_is_held_out_is_never_trained_on(
    backend: str, top: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, result = epochs_of(backend, monkeypatch, (X, Y), validation=0.2, top_loss_fraction=top, steps_per_call=9)
    _, held = split(0.2, Y, 120, seed=0)
    assert set(seen[0][0]) == set(range(120)) - set(held) and not set(seen[1][0]) & set(held)
    assert len(seen[1][0]) == (96 if top is None else 48)
    order, _, losses = seen[0]
    if top is not None:
        by_sample = dict(zip(order, losses, strict=True))  # of which some may be equal
        assert sorted(by_sample[k] for k in seen[1][0]) == sorted(losses)[-48:]
    loss, accuracy = result.model.loss_and_accuracy(X[held], Y[held])
    assert (result.history[-1].validation_loss, result.history[-1].validation_accuracy) == (loss, accuracy)
    assert result.history[-1].validation_r2 is None and result.history[-1].test_accuracy == result.test_accuracy


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_share_is_the_training_without_it_and_measured_on_it(backend: str) -> None:
    """In the order of the file, the steps are those on the other samples alone."""
    options: dict[str, Any] = {**SMALL, "backend": backend, "shuffle": False, "seed": 5}
    rows, held = split(0.2, Y, 120, seed=5)
    share = fastfc.train((X, Y), validation=0.2, **options)
    parts = fastfc.train((X[rows], Y[rows]), validation=(X[held], Y[held]), **options)
    alone = fastfc.train((X[rows], Y[rows]), **options)
    assert digest(share.model) == digest(parts.model) == digest(alone.model)
    losses = [[(r.loss, r.validation_loss, r.validation_accuracy) for r in s.history] for s in (share, parts)]
    assert losses[0] == losses[1] and alone.history[0].validation_loss is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_validation_set_changes_nothing_else(backend: str) -> None:
    pair, options = (X[:40], Y[:40]), {**SMALL, "backend": backend}
    plain = fastfc.train((X, Y), pair, **options)
    watched = fastfc.train((X, Y), pair, validation=pair, metrics={"f1": macro_f1}, **options)
    assert digest(plain.model) == digest(watched.model)
    for a, b in zip(plain.history, watched.history, strict=True):
        assert (b.validation_loss, b.validation_accuracy) == (b.test_loss, b.test_accuracy)
        none = {"validation_loss": None, "validation_accuracy": None, "metrics": {}}
        assert replace(b, seconds=a.seconds, **none) == a


FORMS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "images, shifted": (*images(), {"augment": 1}),
    "csr": (csr_matrix(np.where(X > 0.5, X, 0)), Y, {}),
    "one label": (X, Y % 2, {"loss": "sigmoid_bce"}),
    "several labels": (X, (X[:, :4] > 0).astype(float), {"loss": "sigmoid_bce"}),
    "shares of classes": (X, np.eye(3)[Y], {"label_smoothing": 0.1}),
    "batch 1": (X, Y, {"batch_size": 1, "lr": 0.01}),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_data_can_be_divided(name: str, backend: str) -> None:
    x, y, options = FORMS[name]
    result = fastfc.train((x, y), validation=0.2, backend=backend, **{**SMALL, **options})
    classes = None if name == "several labels" else y.argmax(axis=1) if name == "shares of classes" else y
    _, held = split(0.2, classes, x.shape[0], seed=0)
    expected = result.model.loss_and_accuracy(x[held], y[held])
    last = result.history[-1]
    assert (last.validation_loss, last.validation_accuracy) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_regression_is_measured_by_r2(backend: str) -> None:
    seen: list[Any] = []

    def error(y: Any, predicted: Any) -> float:
        seen.append((y, predicted))
        return float(np.abs(y - predicted).max())

    result = fastfc.train(
        (X, NUMBERS), validation=0.3, loss="mse", lr=0.05, metrics={"error": error}, backend=backend, **SMALL
    )
    _, held = split(0.3, None, 120, seed=0)
    last = result.history[-1]
    assert last.validation_r2 == result.model.score(X[held], NUMBERS[held]) and last.validation_accuracy is None
    y, predicted = seen[-1]
    assert np.array_equal(y, NUMBERS[held]) and np.array_equal(predicted, result.model.predict(X[held]))
    assert last.metrics == {"error": np.abs(y - predicted).max()} and len(seen) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_metrics_are_of_the_validation_set_or_else_of_the_test_set(backend: str) -> None:
    test, metrics = (X[:30], Y[:30]), {"f1": macro_f1, "share": lambda y, p: np.float32((y == p).mean())}
    tested = fastfc.train((X, Y), test, metrics=metrics, backend=backend, **SMALL)
    assert tested.history[-1].metrics["f1"] == macro_f1(Y[:30], tested.model.predict(X[:30]))
    both = fastfc.train((X, Y), test, validation=(X[30:], Y[30:]), metrics=metrics, backend=backend, **SMALL)
    last = both.history[-1]
    assert last.metrics["f1"] == macro_f1(Y[30:], both.model.predict(X[30:]))
    assert last.metrics["share"] == pytest.approx(last.validation_accuracy)
    assert json.loads(json.dumps(both.to_dict(), allow_nan=False))["history"][-1]["metrics"] == last.metrics


def test_one_forward_pass_an_epoch_serves_loss_score_and_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, outputs = [], fastfc.Network._outputs

    def counted(self: Any, given: Any, threads: Any = None) -> Any:
        seen.append(given.shape[0])
        return outputs(self, given, threads)

    monkeypatch.setattr(fastfc.Network, "_outputs", counted)
    fastfc.train((X, Y), validation=0.2, metrics={"f1": macro_f1, "again": macro_f1}, backend="numpy", **SMALL)
    assert seen == [1, 24, 24]  # one sample, to compile


LINE = EpochRecord(10, 0.0123, 0.0, 0.07, 0.98, 0.1, 0.059, None, 0.0712, 0.9791)


@pytest.mark.parametrize("epochs", [10, 100, 100_000])
def test_the_line_of_an_epoch_has_the_validation_in_80_columns(epochs: int) -> None:
    for record in (LINE, replace(LINE, test_loss=None, test_accuracy=None)):
        line = epoch_line(record, epochs)
        assert "loss 0.0123  validation loss 0.0712, accuracy 97.91 %" in line and len(line) < 80
        assert line.endswith("  0.059 s") == (epochs < 1000)


def test_a_loss_of_validation_that_is_not_finite_ends_the_training() -> None:
    far = np.full((3, 20), 1e308)
    with pytest.raises(DivergenceError, match=r"^validation loss: given (nan|inf) at the end of epoch 1"):
        fastfc.train((X, Y), validation=(far, Y[:3]), backend="numpy", **SMALL)


BAD: list[tuple[dict[str, Any], type[FastFCError], str]] = [
    ({"validation": 0}, InvalidArgument, "validation: given 0, expected a finite number > 0 and < 1"),
    ({"validation": 1.0}, InvalidArgument, "validation: given 1.0, expected a finite number > 0 and < 1"),
    ({"validation": float("nan")}, InvalidArgument, "validation: given nan, expected a finite number"),
    ({"validation": True}, InvalidType, r"validation: given bool, expected a share of the samples, or \(X, y\)"),
    ({"validation": "0.1"}, InvalidType, "validation: given str, expected a share"),
    ({"validation": (X, Y, Y, X)}, InvalidType, r"validation: given tuple of length 4, expected \(X, y\) or \(X, y, sample_w"),
    ({"validation": (X,)}, InvalidType, r"validation: given tuple of length 1, expected \(X, y\) or"),
    ({"validation": (X, Y, X)}, InvalidArgument, r"sample_weight of validation: given shape \(120, 20\), expected \(120,\)"),
    ({"validation": (X, Y, -Y)}, InvalidArgument, r"sample_weight of validation: given -2, expected numbers >= 0"),
    ({"validation": (X, Y, 0 * Y)}, InvalidArgument, r"sample_weight of validation: given weights that are all 0"),
    ({"validation": (X, 0 * Y)}, InvalidArgument, "validation: given no sample of class 1, expected some of each class"),
    ({"validation": (X[:, 1:], Y)}, InvalidArgument, "X of validation: given 19 features, expected 20"),
    ({"validation": (X, Y[:9])}, InvalidArgument, "y of validation: given 9 targets, expected 120, as many as samples"),
    ({"validation": (X, Y + 1)}, InvalidArgument, "y of validation: given label 3, expected labels from 0 to 2"),
    ({"validation": (X[:0], Y[:0])}, InvalidArgument, r"X of validation: given shape \(0, 20\), expected at least"),
    (
        {"validation": 0.01},
        InvalidArgument,
        "validation: given 0.01, which is 0 of 40 samples of class 0, expected a share with samples on both sides",
    ),
    ({"validation": 0.99}, InvalidArgument, "validation: given 0.99, which is 40 of 40 samples of class 0, expected"),
    ({"metrics": {"f1": macro_f1}}, InvalidArgument, "metrics: given f1, expected none without a validation set or"),
    ({"metrics": [macro_f1]}, InvalidType, "metrics: given list, expected a dict of functions by name"),
    ({"metrics": {"f1": 3}}, InvalidType, r"metrics: given 3 as 'f1', expected a function of \(y, predicted\)"),
    ({"metrics": {3: macro_f1}}, InvalidArgument, "metrics: given the name 3, expected another one"),
    ({"metrics": {"loss": macro_f1}}, InvalidArgument, "metrics: given the name 'loss', expected another one"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD, ids=lambda value: str(value)[:30])
def test_what_cannot_be_used_is_said_before_any_kernel(
    options: dict[str, Any], error: type[FastFCError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastfc.training.run, "load_backend", None)
    with pytest.raises(error, match=f"^{message}") as caught:
        fastfc.train((X, Y), backend="numpy", **{**SMALL, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", None, True])
def test_a_metric_gives_a_finite_number(value: Any) -> None:
    with pytest.raises(FastFCError, match=r"^metrics 'f1': given .*, expected a (finite )?number$"):
        fastfc.train((X, Y), validation=0.2, metrics={"f1": lambda y, p: value}, backend="numpy", **SMALL)
