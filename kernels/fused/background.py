"""Input with a background c other than 0: x = c + s with a sparse s, so that x W + b = s W + (b + c 1 W).

1 W, the sum of all rows of W, is kept as sums over panels of PANEL rows: each belongs to the thread that updates these
rows, and all are added up in one order, so that the result does not depend on the number of threads. The gradient
x^T delta = s^T delta + c 1^T delta has one row for all features, 1^T delta, beside that of s.
"""

from __future__ import annotations

from fastfc.kernels.fused.dense import TRANSPOSED, multiply
from fastfc.kernels.fused.jit import inline
from fastfc.kernels.fused.parallel import fill, view_rows
from fastfc.kernels.fused.sparse import PANEL


@inline
def sum_panels(weights, lo, hi, ones, sums):
    """sums[p] = the sum of the rows of panel p of the weights, for the panels from row lo to row hi; ones (>= PANEL, 1)."""
    for i in range(lo, hi, PANEL):
        j = min(i + PANEL, hi)
        total = view_rows(sums, i // PANEL, i // PANEL + 1)
        fill(total, sums.dtype.type(0))
        multiply(view_rows(ones, 0, j - i), TRANSPOSED, view_rows(weights, i, j), total)


@inline
def folded_bias(bias, background, sums, out):
    """out (1, fan_out) = b + c 1 W."""
    for j in range(out.shape[1]):
        out[0, j] = sums[0, j]
    for p in range(1, sums.shape[0]):
        for j in range(out.shape[1]):
            out[0, j] += sums[p, j]
    for j in range(out.shape[1]):
        out[0, j] = bias[0, j] + background * out[0, j]


@inline
def background_gradient(delta, background, ones, out):
    """out (1, fan_out) = c 1^T delta; delta (batch, fan_out), ones (batch, 1)."""
    fill(out, out.dtype.type(0))
    multiply(ones, TRANSPOSED, delta, out)
    for j in range(out.shape[1]):
        out[0, j] *= background
