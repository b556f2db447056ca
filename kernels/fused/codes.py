"""Kernels that see samples as they are stored: bytes to `epoch.run`, which is compiled once for all of their dtypes.

They are `Stored`: codes (rows, bytes of a sample), and the name of their dtype, which is compiled in.
"""

from __future__ import annotations

from fastfc.kernels.fused import batch, dropout, sparse
from fastfc.kernels.fused.compiler.jit import inline, kernel
from fastfc.kernels.fused.llvm.views import as_dtype, flat, view_rows


@inline
def numbers_of(stored):
    return as_dtype(stored.codes, stored.dtype)


@kernel
def load_csr(data, chosen, shifts, height, width, outside, stored):
    """The chosen rows of a CSR matrix, zeros included."""
    csr = data.csr
    batch.gather_csr(as_dtype(csr.data, stored.dtype), csr.indices, csr.indptr, chosen, numbers_of(stored))


@kernel
def load_shifted(data, chosen, shifts, height, width, outside, stored):
    """The chosen images, moved by shifts (chosen, 2)."""
    X = as_dtype(data.X, stored.dtype)
    batch.gather_shifted(X, chosen, height, width, shifts, numbers_of(stored), outside)


@kernel
def drop(stored, samples, key, rate, kept):
    """Dropout of the input: what is left out becomes 0, all else `kept` times as large, which is 1 for bytes."""
    x = numbers_of(stored)
    threshold, factor = dropout.threshold_of(rate), x.dtype.type(kept)
    for i in range(x.shape[0]):
        low, high = dropout.key_of(key, 0, samples[i])
        dropout.drop_row(flat(view_rows(x, i, i + 1)), low, high, threshold, factor)


@kernel
def multiply(stored, begin, end, scale, weights, init, out, work):
    """out (rows, fan_out) = init + scale * codes[:, begin:end] W[begin:end], begin and end in features."""
    sparse.multiply(numbers_of(stored), begin, end, scale, weights, init, out, work)


@kernel
def update(stored, scale, delta, gradient, weights, state, rule, work):
    """As `sparse.update`."""
    sparse.update(numbers_of(stored), scale, delta, gradient, weights, state, rule, work)
