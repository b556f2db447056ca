"""A batch taken from the data set: rows in the order of the epoch, shifted where wanted, and their targets."""

from __future__ import annotations

import numpy as np


def gather(X: np.ndarray, order: np.ndarray, out: np.ndarray) -> None:
    """out[i] = X[order[i]];  X (n, features) and out (batch, features) of one dtype, order (batch,)."""
    np.take(X, order, axis=0, out=out)


def gather_shifted(
    X: np.ndarray, order: np.ndarray, height: int, width: int, shifts: np.ndarray, out: np.ndarray, fill: float = 0
) -> None:
    """out[i] = X[order[i]] moved down by shifts[i, 0] and right by shifts[i, 1] pixels; `fill` comes in from outside.

    Images are height * width features; shifts (batch, 2) integers, less than the image's size.
    """
    out[:] = fill
    for sample, (dy, dx), moved in zip(order, shifts.tolist(), out, strict=True):
        image = X[sample].reshape(height, width)
        seen = image[max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)]
        moved.reshape(height, width)[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = seen


def one_hot(labels: np.ndarray, order: np.ndarray, low: float, high: float, out: np.ndarray) -> None:
    """out (batch, outputs) = `high` at the label of sample order[i], `low` elsewhere; labels (n,) integers."""
    out[:] = low
    out[np.arange(len(order)), labels[order]] = high


def multiply_by(codes: np.ndarray, scale: np.ndarray, out: np.ndarray) -> None:
    """out (batch, features) = scale * codes; scale (1,)."""
    np.multiply(codes, scale, out=out)


def gather_csr(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, order: np.ndarray, out: np.ndarray) -> None:
    """out[i] = row order[i] of the CSR matrix (data, indices, indptr), zeros included; out (batch, features)."""
    out[:] = 0
    for row, target in zip(order, out, strict=True):
        stored = slice(indptr[row], indptr[row + 1])
        np.add.at(target, indices[stored], data[stored])
