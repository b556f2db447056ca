"""Initial weights and biases."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from fastfc.validation import check_init


def initialize(
    layers: tuple[int, ...], init: Any, dtype: np.dtype, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights (fan_in, fan_out) drawn as `init` says, and biases of 0, for layers (inputs, hidden ..., outputs).

    init is "he", N(0, 2 / fan_in) (He et al. 2015); "glorot", U(-a, a) with a = sqrt(6 / (fan_in + fan_out)) (Glorot and
    Bengio 2010); ("normal", sigma), N(0, sigma²); or ("uniform", a), U[-a, a). Numbers are drawn in float64 and rounded
    to `dtype`, so that both widths begin at the same point.
    """
    kind, size = check_init(init)
    weights = []
    for shape in pairwise(layers):
        if kind == "he":
            w = rng.standard_normal(shape) * np.sqrt(2 / shape[0])
        elif kind == "glorot":
            a = np.sqrt(6 / sum(shape))
            w = rng.uniform(-a, a, shape)
        elif kind == "normal":
            w = rng.standard_normal(shape) * size
        else:
            w = rng.uniform(-size, size, shape)
        weights.append(w.astype(dtype))
    return weights, [np.zeros(fan_out, dtype) for fan_out in layers[1:]]
