"""The step of an optimiser: its formula, applied to whole arrays."""

from __future__ import annotations

import numpy as np

from fastfc.kernels.optimizers import FORMULAS, Rule


def step(parameters: np.ndarray, state: np.ndarray, gradient: np.ndarray, rule: Rule) -> None:
    """Move parameters and their state along the gradient, in place, by the formula of the rule's kind.

    parameters, gradient (rows, columns); state (states, rows, columns).
    """
    moved, new = FORMULAS[rule.kind](parameters, tuple(state), gradient, rule.kind(*rule.numbers))
    parameters[:] = moved
    for old, array in zip(state, new, strict=True):
        old[:] = array


def clip(gradient: np.ndarray, most: float) -> None:
    """To a norm of at most `most` (Pascanu et al. 2013), in place, in the form of torch.nn.utils.clip_grad_norm_."""
    norm = np.sqrt(np.square(gradient, dtype=np.float64).sum())
    gradient *= min(1.0, float(most / (norm + 1e-6)))
