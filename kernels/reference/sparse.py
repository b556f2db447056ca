"""The first layer on input that is mostly zero. Zeros add nothing: the reference multiplies them all the same."""

from __future__ import annotations

import numpy as np

from fastfc.kernels.optimizers import Rule
from fastfc.kernels.reference import dense


def forward(
    codes: np.ndarray,
    scale: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
    work: object,
) -> None:
    """out (batch, fan_out) = scale * codes W + b;  codes (batch, fan_in) uint8 or floats, scale (1,).

    `work` is scratch memory of the fused kernel, and not used here.
    """
    dense.forward(codes * scale, weights, bias, out)


def update(
    codes: np.ndarray,
    scale: np.ndarray,
    delta: np.ndarray,
    gradient: np.ndarray,
    weights: np.ndarray,
    state: np.ndarray,
    rule: Rule,
    work: object,
) -> None:
    """One step of the weights along gradient + (scale * codes)^T delta, as in `dense.update`; `work` is not used here."""
    dense.update(codes * scale, delta, gradient, weights, state, rule)
