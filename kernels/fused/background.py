"""Input with a background c other than 0: x = c + s with a sparse s, so that x W = s W + c 1 W.

1 W, the sum of all rows of W, is taken anew for each batch. The gradient x^T delta = s^T delta + c 1^T delta has one row for
all features, 1^T delta, beside that of s.
"""

from __future__ import annotations

from fastfc.kernels.fused.compiler.jit import ZERO, inline
from fastfc.kernels.fused.compiler.slots import call
from fastfc.kernels.fused.dense import TRANSPOSED, ZEROS


@inline
def add_rows(product, background, ones, matrix, out):
    """out (1, columns) = c 1^T matrix: of the rows of W in the forward pass, of delta for the gradient; ones (rows, 1).

    product  the kernel of `dense`
    """
    call(product, (ones, TRANSPOSED, ZERO, matrix.shape[0], matrix, ZEROS, out, out))
    for j in range(out.shape[1]):
        out[0, j] *= background
