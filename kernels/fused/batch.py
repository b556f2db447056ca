"""A batch taken from the data set: rows in the order of the epoch, shifted where wanted, and their targets."""

from __future__ import annotations

import numpy as np

from fastfc.kernels.fused.compiler.jit import kernel
from fastfc.kernels.fused.llvm.integers import larger, smaller
from fastfc.kernels.fused.llvm.views import flat


@kernel
def gather(X, order, out):
    """out[i] = X[order[i]];  X (n, features) and out (batch, >= features) of one dtype, order (batch,)."""
    for i in range(order.size):
        row = order[i]
        for j in range(X.shape[1]):
            out[i, j] = X[row, j]


@kernel
def gather_shifted(X, order, height, width, shifts, out, fill=0):
    """out[i] = X[order[i]] moved down by shifts[i, 0] and right by shifts[i, 1] pixels; `fill` comes in from outside.

    Images are height * width features; shifts (batch, 2) integers.
    """
    outside = out.dtype.type(fill)
    for i in range(order.size):
        row, dy, dx = order[i], np.int64(shifts[i, 0]), np.int64(shifts[i, 1])
        away = dy * width + dx  # the whole image as one row, then what has come round the edges
        first, last = larger(away, 0), height * width + smaller(away, 0)
        for j in range(first):
            out[i, j] = outside
        back = np.uint64(
            -away
        )  # unsigned indices are not checked for counting from the end, which would hinder vectors
        for j in range(first, last):
            out[i, np.uint64(j)] = X[row, np.uint64(j) + back]
        for j in range(last, height * width):
            out[i, j] = outside
        for y in range(height):
            for x in range(dx):
                out[i, y * width + x] = outside
            for x in range(width + smaller(dx, 0), width):
                out[i, y * width + x] = outside


@kernel
def one_hot(labels, order, low, high, out):
    """out (batch, outputs) = `high` at the label of sample order[i], `low` elsewhere; labels (n,) integers."""
    for i in range(order.size):
        for j in range(out.shape[1]):
            out[i, j] = low
        out[i, labels[order[i]]] = high


@kernel
def multiply_by(codes, scale, out):
    """out (batch, features) = scale * codes; both C-contiguous, scale (1,)."""
    x, c, factor = flat(out), flat(codes), scale[0]
    for i in range(x.size):
        x[i] = factor * c[i]


@kernel
def gather_csr(data, indices, indptr, order, out):
    """out[i] = row order[i] of the CSR matrix (data, indices, indptr), zeros included; out (batch, features)."""
    zero = out.dtype.type(0)
    for i in range(order.size):
        for j in range(out.shape[1]):
            out[i, j] = zero
        for p in range(indptr[order[i]], indptr[order[i] + 1]):
            out[i, indices[p]] += data[p]
