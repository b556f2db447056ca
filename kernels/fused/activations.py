"""Activation functions and their derivatives on matrices: loops over `elementary`, which the compiler turns into vectors."""

from __future__ import annotations

from fastfc.kernels.fused import elementary
from fastfc.kernels.fused.compiler.jit import kernel
from fastfc.kernels.fused.llvm.views import flat


@kernel
def activate(z, slopes, activation):
    """z (batch, units) becomes f(z), in place, and slopes (batch, units) f'(z), unless it has no rows; both C-contiguous."""
    x, s = flat(z), flat(slopes)
    if s.size > 0:
        for i in range(x.size):
            x[i], s[i] = elementary.value_and_slope(x[i], activation)
    else:
        for i in range(x.size):
            x[i] = elementary.value(x[i], activation)


@kernel
def chain(saved, delta, activation):
    """delta (batch, units) = dL/da becomes dL/dz, in place; saved = a = f(z); both C-contiguous."""
    a, d = flat(saved), flat(delta)
    for i in range(d.size):
        d[i] = elementary.chain(a[i], d[i], activation)


@kernel
def multiply(slopes, delta):
    """delta (batch, units) = dL/da becomes dL/dz, in place; slopes = f'(z); both C-contiguous."""
    s, d = flat(slopes), flat(delta)
    for i in range(d.size):
        d[i] *= s[i]
