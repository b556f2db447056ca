"""Learning-rate schedules: one rate for each step of a training."""

from __future__ import annotations

import math

import numpy as np

from fastfc.errors import InvalidType, invalid
from fastfc.settings import Schedule

WARM_UP = 0.3  # share of the steps in which one_cycle rises


def learning_rates(schedule: Schedule, lr: float, steps: int, dtype: np.dtype) -> np.ndarray:
    """(steps,) learning rates: `lr` times the factor that the schedule has for each step.

    constant   1
    step       1, 0.1 after half of the steps, 0.01 after three quarters
    cosine     (1 + cos(pi t)) / 2, with t from 0 to 1 (Loshchilov and Hutter 2017, without restarts)
    one_cycle  up in a straight line over the first 30 % of the steps, then down to 0 (Smith 2018)
    callable   schedule(step, steps)

    Raises InvalidArgument if a callable gives what is not a finite number >= 0.
    """
    s = np.arange(steps)
    if callable(schedule):
        factors = np.array([_factor(schedule(int(i), steps), int(i)) for i in s])
    elif schedule == "step":
        factors = np.where(s < steps / 2, 1.0, np.where(s < steps * 3 / 4, 0.1, 0.01))
    elif schedule == "cosine":
        factors = (1 + np.cos(math.pi * s / steps)) / 2
    elif schedule == "one_cycle":
        top = max(1.0, WARM_UP * steps)
        factors = np.minimum((s + 1) / top, (steps - s) / max(steps - top, 1.0)).clip(max=1)
    else:
        factors = np.ones(steps)
    with np.errstate(over="ignore"):
        rates = (lr * factors).astype(dtype)
    if not np.isfinite(rates).all():
        raise invalid("lr", lr, f"a number that {dtype.name} can hold")
    return rates


def _factor(value: object, step: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise InvalidType(f"schedule: given {value!r} at step {step}, expected a number")
    if not (math.isfinite(value) and value >= 0):
        raise invalid("schedule", f"{value} at step {step}", "a finite number >= 0")
    return float(value)
