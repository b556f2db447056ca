"""The step of an optimiser: its formula, applied to whole arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfc.kernels.optimizers import FORMULAS


def step(parameters: np.ndarray, state: np.ndarray, gradient: np.ndarray, rule: Any) -> None:
    """Move parameters and their state along the gradient, in place, by the formula of the kind that `rule` is of.

    parameters, gradient (rows, columns); state (states, rows, columns).
    """
    moved, new = FORMULAS[type(rule)](parameters, tuple(state), gradient, rule)
    parameters[:] = moved
    for old, array in zip(state, new, strict=True):
        old[:] = array
