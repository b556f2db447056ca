"""A batch taken from the data set: rows in the order of the epoch, shifted where wanted, and their targets."""

from __future__ import annotations

from fastfc.kernels.fused.jit import kernel
from fastfc.kernels.fused.parallel import flat


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
        row, dy, dx = order[i], shifts[i, 0], shifts[i, 1]
        left, right = max(dx, 0), width + min(dx, 0)
        for y in range(height):
            start, source = y * width, (y - dy) * width - dx
            if 0 <= y - dy < height:
                for x in range(left):
                    out[i, start + x] = outside
                for x in range(left, right):
                    out[i, start + x] = X[row, source + x]
                for x in range(right, width):
                    out[i, start + x] = outside
            else:
                for x in range(width):
                    out[i, start + x] = outside


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
