"""Learning-rate schedules: one rate for each step of a training."""

from __future__ import annotations

import math

import numpy as np

from fastfc.errors import InvalidType, invalid
from fastfc.results import EpochRecord
from fastfc.settings import Schedule
from fastfc.training.monitor import Monitor

WARM_UP = 0.3  # share of the steps in which one_cycle rises


def learning_rates(
    schedule: Schedule, lr: float, steps: int, dtype: np.dtype, warmup: int = 0, epoch: int = 1
) -> np.ndarray:
    """(steps,) learning rates: `lr` times the factor that the schedule has for each step.

    warmup  so many steps go up in a straight line to `lr` (Goyal et al. 2017); the schedule has the others
    epoch   steps of the first epoch

    With t from 0 to 1 over the steps:

    constant         1
    step             1, 0.1 after half of the steps, 0.01 after three quarters
    cosine           (1 + cos(pi t)) / 2 (Loshchilov and Hutter 2017, without restarts)
    cosine_restarts  the same three times, each twice as long as the one before (ibid., T_mult = 2)
    coslog4          (1 - cos(2 pi log2(1 + 15 t))) / 2: four rises and falls (Holzmüller et al. 2024)
    inverse_scaling  1 / sqrt(1 + e), with e epochs done, fractions included (scikit-learn's invscaling, which counts samples)
    one_cycle        up in a straight line over the first 30 % of the steps, then down to 0 (Smith 2018)
    plateau          1, until `Plateau` lowers it
    callable         schedule(step, steps)

    Raises InvalidArgument if a callable gives what is not a finite number >= 0.
    """
    rising = (np.arange(warmup) + 1) / max(warmup, 1)
    factors = np.concatenate([rising, _factors(schedule, steps - warmup, epoch)])
    with np.errstate(over="ignore"):
        rates = (lr * factors).astype(dtype)
    if not np.isfinite(rates).all():
        raise invalid("lr", lr, f"a number that {dtype.name} can hold")
    return rates


def _factors(schedule: Schedule, steps: int, epoch: int) -> np.ndarray:
    s = np.arange(steps)
    if callable(schedule):
        return np.array([_factor(schedule(int(i), steps), int(i)) for i in s])
    if schedule == "step":
        return np.where(s < steps / 2, 1.0, np.where(s < steps * 3 / 4, 0.1, 0.01))
    if schedule == "cosine":
        return (1 + np.cos(math.pi * s / steps)) / 2
    if schedule == "cosine_restarts":
        u = 7 * s / steps  # in lengths of the first cycle, of 1 + 2 + 4
        cycle = np.floor(np.log2(1 + u))
        return (1 + np.cos(math.pi * (u + 1 - 2**cycle) / 2**cycle)) / 2
    if schedule == "coslog4":
        return (1 - np.cos(2 * math.pi * np.log2(1 + 15 * s / steps))) / 2
    if schedule == "inverse_scaling":
        return 1 / np.sqrt(1 + s / epoch)
    if schedule == "one_cycle":
        top = max(1.0, WARM_UP * steps)
        return np.minimum((s + 1) / top, (steps - s) / max(steps - top, 1.0)).clip(max=1)
    return np.ones(steps)


def _factor(value: object, step: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise InvalidType(f"schedule: given {value!r} at step {step}, expected a number")
    if not (math.isfinite(value) and value >= 0):
        raise invalid("schedule", f"{value} at step {step}", "a finite number >= 0")
    return float(value)


class Plateau(Monitor):
    """Lowers the rates that are to come each time a loss has not fallen for some epochs (Keras' ReduceLROnPlateau)."""

    def __init__(self, monitor: str, factor: float, patience: int) -> None:
        self.monitor, self.min_delta, self.mode = monitor, 0.0, "min"
        self.factor, self.patience = factor, patience

    def lower(self, record: EpochRecord, rates: np.ndarray) -> None:
        """After an epoch: `rates` (steps left,) are multiplied in place by the factor, if it is time."""
        self.follow(record)
        if self.waited >= self.patience:
            rates *= self.factor
            self.waited = 0
