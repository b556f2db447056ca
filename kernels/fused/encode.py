"""Input as the sparse first layer wants it: mostly zeros, in one byte where that is enough, or CSR.

Standardised images are not sparse, but their background has one value c: x = c + s with a sparse s, and x W = c (1 W) + s W.
So s is stored in the place of x, and the kernels keep 1 W, the sum of the rows of W, up to date.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from fastfc.kernels.fused.records import Csr

SAMPLED = 256  # rows whose values are looked at
ROWS = 4096  # converted at a time
LEVELS = 255


def is_mapped(X: np.ndarray) -> bool:
    """Whether X lies in a file: it may be larger than the memory."""
    base: object = X
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)


def canonical(X: Any) -> Any:
    """A scipy CSR matrix whose indices ascend within a row, none of them twice: X, or a copy."""
    found = type(X)((X.data, X.indices, X.indptr), shape=X.shape)  # which does not know yet whether it is
    if not found.has_canonical_format:
        found = found.copy()
        found.sum_duplicates()
    return found


def csr_of(X: Any) -> Csr:
    """The arrays of a scipy CSR matrix, as kernels take them."""
    indices, indptr = np.ascontiguousarray(X.indices, np.int32), np.ascontiguousarray(X.indptr, np.int64)
    return Csr(as_bytes(np.ascontiguousarray(X.data)), indices, indptr)


def as_bytes(array: np.ndarray) -> np.ndarray:
    """The same memory, as bytes in the place of numbers in a row."""
    return array.view(np.uint8) if array.shape[-1] else array.astype(np.uint8)


def encode(X: np.ndarray, background: float) -> tuple[np.ndarray, float]:
    """(codes, scale) with X = background + scale * codes, where codes (n, features) are zero where X is the background.

    Codes are uint8 if X is 8-bit data that someone has scaled and shifted: if background + scale * codes is X within the
    rounding of its dtype (4 units in the last place of the largest value). Otherwise they have X's dtype, and scale is 1.
    """
    step = _step(np.unique(X[:: max(1, len(X) // SAMPLED)]), background)
    tolerance = 4 * np.finfo(X.dtype).eps * max(abs(float(X.max())), abs(float(X.min())))
    codes = np.empty(X.shape, np.uint8)
    for start in range(0, len(X) if step else 0, ROWS):
        part = X[start : start + ROWS]
        levels = np.rint((part - background) / step)
        if levels.min() < 0 or levels.max() > LEVELS or np.abs(background + step * levels - part).max() > tolerance:
            step = 0
            break
        codes[start : start + ROWS] = levels
    if step:
        return codes, step
    return (X - X.dtype.type(background) if background else X), 1.0


def _step(values: np.ndarray, background: float) -> float:
    """The distance between neighbouring levels of 8-bit data, from the values seen; 0 if they are not such data."""
    if not 2 <= len(values) <= LEVELS + 1 or float(values[0]) != background:
        return 0
    count = np.rint((values[-1] - background) / np.diff(values).min())
    return float((values[-1] - background) / count) if 1 <= count <= LEVELS else 0
