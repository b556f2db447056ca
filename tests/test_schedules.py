"""Learning rates: each schedule against its formula, step by step, and what a callable may give."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import numpy as np
import pytest

from fastfc.errors import FastFCError, InvalidArgument, InvalidType
from fastfc.training.schedules import learning_rates

F64 = np.dtype("float64")
FACTORS: dict[Any, Any] = {
    "constant": lambda s, n: 1,
    "step": lambda s, n: 1 if s < n / 2 else 0.1 if s < 3 * n / 4 else 0.01,
    "cosine": lambda s, n: (1 + cos(pi * s / n)) / 2,
}


@pytest.mark.parametrize("schedule", FACTORS)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 100])
def test_factors_are_those_of_the_formula(schedule: str, steps: int) -> None:
    expected = [0.3 * FACTORS[schedule](s, steps) for s in range(steps)]
    assert learning_rates(schedule, 0.3, steps, F64) == pytest.approx(expected, rel=1e-14)


def test_one_cycle_rises_for_three_tenths_and_falls_to_almost_nothing() -> None:
    rates = learning_rates("one_cycle", 2.0, 100, F64)
    assert rates[:30] == pytest.approx(2 * np.arange(1, 31) / 30)
    assert rates[30:] == pytest.approx(2 * np.arange(70, 0, -1) / 70)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 11])
def test_one_cycle_of_few_steps_stays_in_bounds(steps: int) -> None:
    rates = learning_rates("one_cycle", 0.5, steps, F64)
    assert rates.shape == (steps,) and (rates > 0).all() and 0.4 < rates.max() <= 0.5


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
