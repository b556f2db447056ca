"""Comparing backends: the table says what the trainings were, and sees where one differs."""

from __future__ import annotations

import json
import statistics
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc import compare
from fastfc.errors import InvalidArgument
from fastfc.kernels.reference import optimizers
from tests.small import SMALL, blobs

DATA = blobs(100)


def test_backends_agree_and_rows_are_those_of_the_trainings() -> None:
    c = compare(DATA, DATA, repeats=2, threads=1, seed=4, **SMALL)
    assert [row.backend for row in c.rows] == ["numpy", "numba"] == [r.backend for r in c.results]
    own, other = c.rows
    assert (own.ratio, own.loss_difference, own.weight_difference) == (1, 0, 0)
    assert other.ratio == own.seconds_an_epoch / other.seconds_an_epoch
    assert 0 < other.weight_difference < 1e-12 and other.loss_difference < 1e-12
    for row, result in zip(c.rows, c.results, strict=True):
        again = fastfc.train(DATA, DATA, backend=row.backend, threads=1, seed=4, **SMALL)
        assert np.array_equal(again.model.weights[0], result.model.weights[0])
        assert row.test_accuracy == again.test_accuracy and len(result.history) == 2


def test_seconds_are_the_median_over_epochs_of_all_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def remember(*arguments: Any, **options: Any) -> Any:
        result = fastfc.train(*arguments, **options)
        seen.extend(record.seconds for record in result.history)
        return result

    monkeypatch.setattr(import_module("fastfc.reports.compare"), "train", remember)
    c = compare(DATA, backends=["numpy"], repeats=3, **SMALL)
    assert len(seen) == 6 and c.rows[0].seconds_an_epoch == statistics.median(seen)
    assert c.rows[0].test_accuracy is None


def test_a_wrong_backend_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(parameters: Any, state: Any, gradient: Any, rule: Any) -> None:
        right(parameters, state, gradient * 1.001, rule)

    right = optimizers.step
    monkeypatch.setattr("fastfc.kernels.reference.epoch.step", step)
    row = compare(DATA, repeats=1, weight_decay=0.0, **SMALL).rows[1]
    assert row.loss_difference > 1e-8 and row.weight_difference > 1e-8


def test_it_is_written_as_a_table_and_as_json() -> None:
    c = compare(DATA, DATA, repeats=1, **SMALL)
    title, head, *rows = str(c).splitlines()
    assert title.startswith("arrays: 20-8-3, batch 32, float64, ") and head.split()[0] == "backend"
    assert [row.split()[0] for row in rows] == ["numpy", "numba"] and all(len(row) < 80 for row in (head, *rows))
    d = json.loads(json.dumps(c.to_dict(), allow_nan=False))
    assert d["rows"][1]["backend"] == "numba" and len(d["results"][0]["history"]) == 2


def test_a_loss_of_zero_can_be_compared() -> None:
    X, y = DATA
    row = compare((X, y * 0), outputs=1, repeats=1, **SMALL).rows[1]
    assert row.loss_difference == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backends": ()}, r"backends: given \(\), expected a sequence of names among numba, numpy"),
        ({"backends": "numba"}, "backends: given 'numba', expected a sequence of names"),
        ({"backends": ["numpy", "torch"]}, "backends: given 'torch', expected one of numba, numpy"),
        ({"repeats": 0}, "repeats: given 0, expected a whole number >= 1"),
        ({"epochs": 0}, "epochs: given 0, expected a whole number >= 1"),
        ({"lr": -1}, "lr: given -1, expected a finite number > 0"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{message}"):
        compare(DATA, **options)


def test_ctrl_c_ends_the_whole_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Any:
        return fastfc.train(*arguments, on_steps=stop, **options)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("fastfc.reports.compare"), "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(DATA, **SMALL)
