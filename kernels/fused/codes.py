"""Kernels that see samples as they are stored: bytes to `epoch.run`, which is compiled once for all of their dtypes.

dtype names that of the codes, and is compiled in; codes (rows, bytes of a sample).
"""

from __future__ import annotations

import numpy as np

from fastfc.kernels.fused import batch, dropout, sparse
from fastfc.kernels.fused.compiler.jit import kernel
from fastfc.kernels.fused.llvm.views import as_dtype, flat, view_rows


@kernel
def load_csr(data, chosen, shifts, height, width, outside, codes, dtype):
    """The chosen rows of a CSR matrix, zeros included."""
    csr = data.csr
    batch.gather_csr(as_dtype(csr.data, dtype), csr.indices, csr.indptr, chosen, as_dtype(codes, dtype))


@kernel
def load_shifted(data, chosen, shifts, height, width, outside, codes, dtype):
    """The chosen images, moved by shifts (chosen, 2)."""
    batch.gather_shifted(as_dtype(data.X, dtype), chosen, height, width, shifts, as_dtype(codes, dtype), outside)


@kernel
def drop(codes, samples, key, rate, kept, dtype):
    """Dropout of the input: what is left out becomes 0, all else `kept` times as large, which is 1 for bytes."""
    x = as_dtype(codes, dtype)
    threshold, zero, factor = dropout.threshold_of(rate), x.dtype.type(0), x.dtype.type(kept)
    for i in range(x.shape[0]):
        low, high = dropout.key_of(key, 0, samples[i])
        row = flat(view_rows(x, i, i + 1))
        for u in range(row.size):
            row[u] *= zero if dropout.draw(np.uint32(u), low, high) < threshold else factor


@kernel
def multiply(codes, begin, end, scale, weights, init, out, work, dtype):
    """out (rows, fan_out) = init + scale * codes[:, begin:end] W[begin:end], begin and end in features."""
    sparse.multiply(as_dtype(codes, dtype), begin, end, scale, weights, init, out, work)


@kernel
def update(codes, scale, delta, gradient, weights, state, rule, kind, work, dtype):
    """As `sparse.update`."""
    sparse.update(as_dtype(codes, dtype), scale, delta, gradient, weights, state, rule, kind, work)
