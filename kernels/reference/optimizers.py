"""The step of an optimiser: its formula, applied to whole arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfc.kernels.optimizers import FORMULAS


def step(parameters: np.ndarray, state: np.ndarray, gradient: np.ndarray, rule: np.ndarray, kind: Any) -> None:
    """Move parameters and their state along the gradient, in place, by the formula of a kind of optimiser.

    parameters, gradient (rows, columns); state (states, rows, columns); rule (numbers,) in the order of the kind's.
    """
    moved, new = FORMULAS[kind](parameters, tuple(state), gradient, kind(*rule))
    parameters[:] = moved
    for old, array in zip(state, new, strict=True):
        old[:] = array
