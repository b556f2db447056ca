"""Learning rates: each schedule against its formula, step by step, and what a callable may give."""

from __future__ import annotations

from dataclasses import replace
from math import cos, log2, pi
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc.errors import FastFCError, InvalidArgument, InvalidType
from fastfc.results import EpochRecord
from fastfc.training.schedules import Plateau, learning_rates
from tests.small import BACKENDS, SMALL, blobs

F64 = np.dtype("float64")
FACTORS: dict[Any, Any] = {
    "constant": lambda s, n: 1,
    "step": lambda s, n: 1 if s < n / 2 else 0.1 if s < 3 * n / 4 else 0.01,
    "cosine": lambda s, n: (1 + cos(pi * s / n)) / 2,
    "coslog4": lambda s, n: (1 - cos(2 * pi * log2(1 + 15 * s / n))) / 2,
    "inverse_scaling": lambda s, n: (1 + s) ** -0.5,  # epochs of one step
    "plateau": lambda s, n: 1,
    "cosine_restarts": lambda s, n: next(
        (1 + cos(pi * (s - begin * n / 7) / (length * n / 7))) / 2
        for begin, length in ((3, 4), (1, 2), (0, 1))
        if s >= begin * n / 7
    ),
}


@pytest.mark.parametrize("schedule", FACTORS)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 100])
def test_factors_are_those_of_the_formula(schedule: str, steps: int) -> None:
    expected = [0.3 * FACTORS[schedule](s, steps) for s in range(steps)]
    assert learning_rates(schedule, 0.3, steps, F64) == pytest.approx(expected, rel=1e-14, abs=1e-16)


def test_one_cycle_rises_for_three_tenths_and_falls_to_almost_nothing() -> None:
    rates = learning_rates("one_cycle", 2.0, 100, F64)
    assert rates[:30] == pytest.approx(2 * np.arange(1, 31) / 30)
    assert rates[30:] == pytest.approx(2 * np.arange(70, 0, -1) / 70)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 11])
def test_one_cycle_of_few_steps_stays_in_bounds(steps: int) -> None:
    rates = learning_rates("one_cycle", 0.5, steps, F64)
    assert rates.shape == (steps,) and (rates > 0).all() and 0.4 < rates.max() <= 0.5


def test_cosine_restarts_at_the_top_and_coslog4_ends_at_the_bottom() -> None:
    restarted = learning_rates("cosine_restarts", 1.0, 70, F64)
    assert [*np.flatnonzero(restarted == 1)] == [0, 10, 30] and (np.diff(restarted) > 0).sum() == 2
    four = learning_rates("coslog4", 1.0, 1500, F64)
    tops = np.flatnonzero((four[1:-1] > four[:-2]) & (four[1:-1] > four[2:])) + 1
    assert tops / 1500 == pytest.approx([(2 ** (k + 0.5) - 1) / 15 for k in range(4)], abs=1e-3)


def test_inverse_scaling_counts_epochs() -> None:
    rates = learning_rates("inverse_scaling", 0.4, 36, F64, epoch=12)
    assert rates[[0, 12, 24]] == pytest.approx([0.4, 0.4 / 2**0.5, 0.4 / 3**0.5]) and (np.diff(rates) < 0).all()
    assert np.array_equal(rates[:24], learning_rates("inverse_scaling", 0.4, 24, F64, epoch=12))


@pytest.mark.parametrize("schedule", [*FACTORS, "one_cycle"])
def test_warm_up_comes_before_any_schedule(schedule: str) -> None:
    rates = learning_rates(schedule, 0.5, 20, F64, warmup=4)
    assert rates[:4] == pytest.approx([0.125, 0.25, 0.375, 0.5])
    assert np.array_equal(rates[4:], learning_rates(schedule, 0.5, 16, F64))


def test_warm_up_is_of_epochs_or_a_share_of_the_steps() -> None:
    data, options = blobs(96), {**SMALL, "epochs": 5, "schedule": "constant", "lr": 0.3, "backend": "numpy"}
    for warmup, steps in ((2, 6), (2.0, 6), (0.4, 6), (0.01, 0), (1, 3), (0.99, 14)):
        seen: list[float] = []
        for epochs in range(1, 6):
            rates = learning_rates("constant", 0.3, 15, F64, warmup=steps)
            seen.append(rates[3 * epochs - 1])
        result = fastfc.train(data, warmup=warmup, **options)
        assert [record.lr for record in result.history] == seen


def test_a_plateau_lowers_what_is_to_come() -> None:
    plateau, rates = Plateau("loss", factor=0.5, patience=2), np.full(9, 8.0)
    empty = EpochRecord(0, 0.0, 0.0, None, None, 0.1, 0.0)
    for k, loss in enumerate([3, 2, 2, 2.5, 2, 2, 1, 1, 1], 1):  # not better for two epochs at the ends of 4, 6, 9
        plateau.lower(replace(empty, epoch=k, loss=loss), rates[k:])
    assert rates.tolist() == [8, 8, 8, 8, 4, 4, 2, 2, 2]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("validation", [None, 0.3])
def test_a_training_on_a_plateau_lowers_its_rate(backend: str, validation: float | None) -> None:
    """By the losses of its own history, of the validation set where there is one."""
    X, y = blobs(90)
    y = np.where(np.random.default_rng(1).random(90) < 0.4, (y + 1) % 3, y)
    options = {**SMALL, "epochs": 15, "lr": 1.0, "schedule": "plateau", "plateau_factor": 0.25, "plateau_patience": 2}
    history = fastfc.train((X, y), validation=validation, backend=backend, **options).history
    rate, best, waited, expected = 1.0, float("inf"), 0, []
    for record in history:
        expected.append(rate)
        loss = record.loss if validation is None else record.validation_loss
        assert loss is not None
        waited, best = (0, loss) if loss < best else (waited + 1, best)
        if waited == 2:
            rate, waited = rate / 4, 0
    assert [record.lr for record in history] == expected and len(set(expected)) > 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_callable_gets_each_step_and_their_number(dtype: str) -> None:
    seen: list[tuple[int, int]] = []

    def schedule(step: int, steps: int) -> Any:
        seen.append((step, steps))
        return np.float32(step / 4)

    rates = learning_rates(schedule, 0.5, 3, np.dtype(dtype))
    assert seen == [(0, 3), (1, 3), (2, 3)] and all(type(step) is int for step, _ in seen)
    assert rates.tolist() == [0, 0.125, 0.25] and rates.dtype == dtype


BAD: list[tuple[Any, type[FastFCError], str]] = [
    ("0.1", InvalidType, "schedule: given '0.1' at step 0, expected a number"),
    (None, InvalidType, "schedule: given None at step 0, expected a number"),
    (True, InvalidType, "schedule: given True at step 0, expected a number"),
    (-0.1, InvalidArgument, "schedule: given -0.1 at step 0, expected a finite number >= 0"),
    (float("nan"), InvalidArgument, "schedule: given nan at step 0, expected a finite number >= 0"),
    (float("inf"), InvalidArgument, "schedule: given inf at step 0, expected a finite number >= 0"),
]


@pytest.mark.parametrize(("value", "error", "message"), BAD, ids=str)
def test_what_a_callable_may_not_give(value: Any, error: type[FastFCError], message: str) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        learning_rates(lambda step, steps: value, 0.1, 3, F64)


def test_a_rate_beyond_float32_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^lr: given 1e\+39, expected a number that float32 can hold"):
        learning_rates("constant", 1e39, 3, np.dtype("float32"))
    assert learning_rates("constant", 1e39, 1, F64).tolist() == [1e39]
